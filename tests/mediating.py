"""What an operation asks for, heard or changed on its way: whoever drives it notices nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from durable.store.operation import Operation, Running, operation
from durable.store.statement import Batch, Request, Requests, T


@operation
def mediated(asked: Operation[T], ask: Callable[[Request], Requests[Any]]) -> Requests[T]:
    """The same operation; whatever it asks for is asked by ``ask``, which returns the answer."""
    running = Running(asked)
    while (request := running.request) is not None:
        try:
            answer = yield from ask(request)
        except Exception as error:
            running.fail(error)
        else:
            running.answer(answer)
    return running.result


def overheard(asked: Operation[T], answered: Callable[[Request], None]) -> Operation[T]:
    """The same operation; ``answered`` is called after each answer, before the operation has it."""

    def ask(request: Request) -> Requests[Any]:
        answer = yield request
        answered(request)
        return answer

    return mediated(asked, ask)


def names_of(request: Request) -> list[str]:
    """The statements that it asks."""
    return [statement.query.name for statement in request.asked] if isinstance(request, Batch) else []
