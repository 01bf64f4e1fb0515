"""The worker, as an execution sees it."""

from __future__ import annotations

import asyncio
from typing import Protocol, TypeVar

from durable.core.codec.json_codec import Codec
from durable.core.replay.commands import Execute
from durable.store.records import Written
from durable.worker.run.step_calls import Finished

ExecutionT_contra = TypeVar("ExecutionT_contra", contravariant=True)


class Host(Protocol[ExecutionT_contra]):
    """What an execution needs of the worker around it. Generic over the execution, so that it need not import it."""

    codec: Codec

    def shard_count(self) -> int:
        """How many shard values each workflow has."""
        ...

    def run_step(self, execution: ExecutionT_contra, call: Execute) -> asyncio.Task[Finished]:
        """Starts a step."""
        ...

    def mark(self, execution: ExecutionT_contra) -> None:
        """Has the execution's record written."""
        ...

    def left(self, execution: ExecutionT_contra, written: Written | None) -> None:
        """The execution holds its run no more. ``written`` is ``None`` where it was taken from us."""
        ...
