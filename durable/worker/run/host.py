"""The worker, as an execution sees it."""

from __future__ import annotations

import asyncio
from typing import Protocol, TypeVar

from durable.core.codec.json_codec import Codec
from durable.core.replay.commands import Drawn, Execute
from durable.core.replay.endings import Settle
from durable.store.records import Written
from durable.store.sequels import Sequel
from durable.worker.clock import Clock
from durable.worker.run.step_calls import Before, Ended, Finished

ExecutionT_contra = TypeVar("ExecutionT_contra", contravariant=True)


class Host(Protocol[ExecutionT_contra]):
    """Everything that an execution needs from the world; it touches nothing else. Generic over the execution, so that
    this module need not import it."""

    codec: Codec
    clock: Clock

    def draw(self, execution: ExecutionT_contra, call: Drawn) -> Finished:
        """Draws a fresh value for a call that has no memo."""
        ...

    def run_step(self, execution: ExecutionT_contra, call: Execute, before: Before) -> asyncio.Task[Ended]:
        """Makes a try of a step."""
        ...

    def sequel(self, execution: ExecutionT_contra, ending: Settle) -> Sequel | None:
        """Returns the run that begins if that one ends like that."""
        ...

    def mark(self, execution: ExecutionT_contra) -> None:
        """Has the execution's record written."""
        ...

    def left(self, execution: ExecutionT_contra, written: Written | None) -> None:
        """Called when the execution no longer holds its run. ``written`` is ``None`` if the run was taken from it."""
        ...
