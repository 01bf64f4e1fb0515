"""Errors cross processes: an executor, a task queue and ``copy`` make them again from what ``pickle`` keeps."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest

import durable
from durable import DurableError, ErrorInfo, RunKey
from durable.core import errors

CLASSES = [
    member
    for member in vars(errors).values()
    if isinstance(member, type) and issubclass(member, DurableError) and member.__module__ == errors.__name__
]
VALUES: dict[str, Any] = {
    "run_key": RunKey("job_0", "0198c0de-0000-7000-8000-000000000001"),
    "error": ErrorInfo("ValueError", "no"),
    "timeout": 1.5,
    "failures": [errors.StepFailed("a[1]", ErrorInfo("ValueError", "no"))],
}


def made(kind: type[Any]) -> Any:
    """One of that class, with something for each argument."""
    try:
        parameters = inspect.signature(kind).parameters.values()
    except ValueError:
        return kind("a message")
    given: list[Any] = []
    options: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.kind is parameter.VAR_POSITIONAL:
            given.append("a message")
        elif parameter.kind is parameter.KEYWORD_ONLY:
            if parameter.default is parameter.empty:
                options[parameter.name] = VALUES.get(parameter.name, parameter.name)
        elif parameter.kind is not parameter.VAR_KEYWORD:
            given.append(VALUES.get(parameter.name, parameter.name))
    return kind(*given, **options)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_is_the_same_after_pickling_and_copying(kind: type[Any]) -> None:
    error = made(kind)
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # our own
        assert type(again) is kind
        assert (str(again), repr(again.args), vars(again)) == (str(error), repr(error.args), vars(error))


def test_every_error_that_is_public_is_among_them() -> None:
    public = {
        member for member in vars(durable).values() if isinstance(member, type) and issubclass(member, DurableError)
    }
    assert public <= set(CLASSES)
