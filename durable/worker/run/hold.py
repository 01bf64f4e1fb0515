"""A cancel of the run that its code does not see yet, because children that it awaits must clean up first."""

from __future__ import annotations

from collections.abc import Iterable

from durable.core.replay.commands import Execute
from durable.core.replay.history import Cancel
from durable.core.runs import RunKey
from durable.store.records import Event
from durable.worker.run.inbox import Inbox
from durable.worker.run.step_calls import Finished


class Hold:
    """From the moment at which a cancel arrives. Nothing is handed to the code meanwhile, and no step starts; those
    under way go on, and what they return is recorded and kept in ``finished``. The requests stay unmet until the code
    is cancelled, so that whoever claims the run next holds the cancel again."""

    __slots__ = ("_left", "cancel", "finished", "requests")

    def __init__(self, cancel: Cancel) -> None:
        self.cancel = cancel
        self.requests: dict[str, Event] = {}
        self.finished: list[tuple[Execute, Finished]] = []
        self._left: list[RunKey] | None = None

    @property
    def has_begun(self) -> bool:
        """Whether it is known which children it waits for."""
        return self._left is not None

    def begin(self, children: Iterable[RunKey]) -> None:
        """Waits for the ends of these children."""
        self._left = list(children)

    def is_over(self, inbox: Inbox) -> bool:
        """Returns whether all of them are in the inbox."""
        while self._left and inbox.has_end(self._left[-1].run_id):
            self._left.pop()
        return not self._left

    def awaits(self, inbox: Inbox) -> list[RunKey]:
        """Returns the children whose ends are not in the inbox."""
        return [child for child in self._left or () if not inbox.has_end(child.run_id)]
