"""The worker, as an execution sees it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from durable.core.codec import Codec
from durable.core.commands import Execute
from durable.steps import Finished
from durable.store.records import Written

if TYPE_CHECKING:
    from durable.execution import Execution


class Host(Protocol):
    """What an execution needs of the worker around it."""

    codec: Codec

    def shard_count(self) -> int:
        """How many shard values each workflow has."""
        ...

    def run_step(self, execution: Execution, call: Execute) -> asyncio.Task[Finished]:
        """Starts a step."""
        ...

    def mark(self, execution: Execution) -> None:
        """Has the execution's record written."""
        ...

    def left(self, execution: Execution, written: Written | None) -> None:
        """The execution holds its run no more. ``written`` is ``None`` where it was taken from us."""
        ...
