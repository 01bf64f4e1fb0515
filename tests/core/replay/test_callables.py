"""What may be passed as a step: anything that is called once and returns."""

from __future__ import annotations

import functools
import operator
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from durable import InvalidArgument
from durable.core.replay.signatures import signature_of


@dataclass
class Unhashable:
    number: int

    def __call__(self, other: int) -> int:
        return self.number + other


class Slotted:
    __slots__ = ()

    def __call__(self, number: int) -> int:
        return number


class Async:
    async def __call__(self, number: int) -> int:
        return number


class Service:
    def get(self, number: int) -> int:
        return number

    @classmethod
    def of(cls, number: int) -> int:
        return number


@functools.lru_cache
def cached(number: int) -> int:
    return number


@pytest.mark.parametrize(
    "function",
    [
        Unhashable(1),
        Slotted(),
        Service().get,
        Service.of,
        cached,
        functools.partial(operator.add, 1),
        functools.partial(Unhashable(1)),
        operator.itemgetter(0),
        operator.index,
        len,
        "{}".format,
        (1).__add__,
        int,
        lambda number: number,
    ],
    ids=lambda function: type(function).__name__,
)
def test_any_callable_has_a_signature(function: Callable[..., object]) -> None:
    assert signature_of(function) == signature_of(function)
    assert signature_of(function).is_async is False


def test_types_are_read_from_callable_objects() -> None:
    assert signature_of(Unhashable(1)).returns is int
    assert signature_of(Async()).is_async is True


def pages(number: int) -> Iterator[int]:
    yield number


async def async_pages(number: int) -> AsyncIterator[int]:
    yield number


@pytest.mark.parametrize("function", [pages, async_pages, functools.partial(pages, 1)])
def test_a_generator_is_refused_with_what_to_write(function: Any) -> None:
    with pytest.raises(InvalidArgument, match="return a list"):
        signature_of(function)


@pytest.mark.parametrize("function", [None, 7, "charge"])
def test_what_cannot_be_called_is_refused(function: Any) -> None:
    with pytest.raises(InvalidArgument, match="callable"):
        signature_of(function)
