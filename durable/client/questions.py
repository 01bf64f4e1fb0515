"""What a client waits for: the end of a run, or the answer to a request."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol, Self, TypeVar

import msgspec

from durable.client.requests import Answered, Asked, Reply, RequestOperations, Unanswered
from durable.core.errors import DurableError, RequestTimeout, ResultTimeout, RunNotFound
from durable.core.runs import TERMINAL, RunKey
from durable.store.inspection import RunOutcome
from durable.store.operation import Operation, operation
from durable.store.statement import Requests

FoundT = TypeVar("FoundT")


class Question(Protocol[FoundT]):
    """Equal questions have the same answer."""

    @property
    def run_key(self) -> RunKey:
        """The run that it is about."""
        ...

    @property
    def ids(self) -> tuple[str, ...]:
        """What is announced when the answer may be there."""
        ...

    def look(
        self, operations: RequestOperations, questions: Collection[Self]
    ) -> Operation[Mapping[Self, FoundT | DurableError]]:
        """Returns how things stand with questions of this kind, using few statements; an error, if it ends the
        wait."""
        ...

    def is_answered(self, found: FoundT) -> bool:
        """Returns whether that is the answer."""
        ...

    def late(self, timeout: float, found: FoundT, *, is_served: bool | None) -> DurableError:
        """Returns the error for a wait that took too long. ``is_served``: a living worker has the workflow."""
        ...


class EndOf(msgspec.Struct, frozen=True):
    """How does that run end?"""

    run_key: RunKey

    @property
    def ids(self) -> tuple[str, ...]:
        return (self.run_key.run_id,)

    def look(
        self, operations: RequestOperations, questions: Collection[EndOf]
    ) -> Operation[Mapping[EndOf, RunOutcome | DurableError]]:
        return _ends(operations, questions)

    def is_answered(self, found: RunOutcome) -> bool:
        return found.status in TERMINAL

    def late(self, timeout: float, found: RunOutcome, *, is_served: bool | None) -> DurableError:
        return ResultTimeout(self.run_key, timeout, found.status, is_served=is_served)


@operation
def _ends(
    operations: RequestOperations, questions: Collection[EndOf]
) -> Requests[Mapping[EndOf, RunOutcome | DurableError]]:
    outcomes = yield from operations.outcomes({one.run_key for one in questions})
    return {one: outcomes.get(one.run_key) or RunNotFound(one.run_key) for one in questions}


class ReplyTo(msgspec.Struct, frozen=True):
    """What is the answer to that request?"""

    asked: Asked

    @property
    def run_key(self) -> RunKey:
        return self.asked.run_key

    @property
    def ids(self) -> tuple[str, ...]:
        return self.asked.request_id, self.asked.run_key.run_id

    def look(
        self, operations: RequestOperations, questions: Collection[ReplyTo]
    ) -> Operation[Mapping[ReplyTo, Answered | Unanswered | DurableError]]:
        return _replies(operations, questions)

    def is_answered(self, found: Answered | Unanswered) -> bool:
        return isinstance(found, Answered)

    def late(self, timeout: float, found: Answered | Unanswered, *, is_served: bool | None) -> DurableError:
        asked = self.asked
        status = found.status if isinstance(found, Unanswered) else "answered"
        return RequestTimeout(asked.run_key, asked.name, asked.key, timeout, status, is_served=is_served)


@operation
def _replies(operations: RequestOperations, questions: Collection[ReplyTo]) -> Requests[Mapping[ReplyTo, Reply]]:
    replies = yield from operations.replies([one.asked for one in questions])
    return {one: replies[one.asked] for one in questions}


AnyQuestion = Question[Any]
