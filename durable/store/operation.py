"""Operations: procedures without I/O, written once for clients and workers, sync and async.

An operation is a generator function decorated with ``@operation``. Each ``yield from`` of a statement or a batch is one
round trip. Calling the function runs nothing: it returns a value that can be run any number of times, because the
answer to a commit may be lost, and then the operation is run again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Generic, ParamSpec, Protocol, TypeVar, cast

from durable.store.statement import Request, Requests, T

P = ParamSpec("P")
T_co = TypeVar("T_co", covariant=True)


class Operation(Protocol[T_co]):
    """Something that can be run: an operation, a statement, or a batch."""

    def __iter__(self) -> Requests[T_co]:
        """Starts an independent run."""
        ...


class _Call(Generic[T]):
    __slots__ = ("_start",)

    def __init__(self, start: Callable[[], Requests[T]]) -> None:
        self._start = start

    def __iter__(self) -> Requests[T]:
        return self._start()


def operation(function: Callable[P, Requests[T]]) -> Callable[P, Operation[T]]:
    """Turns a generator function into an operation: calling it returns the call as a value."""

    @functools.wraps(function)
    def call(*arguments: P.args, **options: P.kwargs) -> Operation[T]:
        return _Call(functools.partial(function, *arguments, **options))

    return call


class Running(Generic[T]):
    """A run of an operation, as seen by the code that drives it. ``request`` is what the operation needs next, ``None``
    once it has ended; ``result`` is then what it returned."""

    __slots__ = ("_requests", "request", "result")

    def __init__(self, operation: Operation[T]) -> None:
        self._requests = iter(operation)
        self.request: Request | None = None
        self.result = cast(T, None)
        self._advance(self._requests.__next__)

    def answer(self, result: object) -> None:
        """Continues with the answer to the request."""
        self._advance(functools.partial(self._requests.send, result))

    def fail(self, error: BaseException) -> None:
        """Raises the error that came instead of an answer, at the point where the operation waits for it."""
        self._advance(functools.partial(self._requests.throw, error))

    def _advance(self, go_on: Callable[[], Request]) -> None:
        try:
            self.request = go_on()
        except StopIteration as end:
            self.request = None
            self.result = end.value
