"""A step cannot change what the workflow sees of its arguments."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.core.replay.isolation import isolated


@dataclass
class Basket:
    items: list[str] = field(default_factory=list[str])


@dataclass(frozen=True)
class Frozen:
    basket: Basket


class Order(msgspec.Struct):
    lines: list[Basket]


class FrozenOrder(msgspec.Struct, frozen=True):
    lines: list[Basket]


class Model(pydantic.BaseModel):
    lines: list[str]


class Client:
    """Not data: the step is to use this very object."""

    def __init__(self) -> None:
        self.calls: list[str] = []


@pytest.mark.parametrize(
    ("value", "change"),
    [
        ([1], lambda copy: copy.append(2)),
        ({"a": [1]}, lambda copy: copy["a"].append(2)),
        ({1}, lambda copy: copy.add(2)),
        (deque([[1]]), lambda copy: copy[0].append(2)),
        (bytearray(b"a"), lambda copy: copy.extend(b"b")),
        (([1],), lambda copy: copy[0].append(2)),
        (Basket(["a"]), lambda copy: copy.items.append("b")),
        (Frozen(Basket(["a"])), lambda copy: copy.basket.items.append("b")),
        (Order([Basket(["a"])]), lambda copy: copy.lines[0].items.append("b")),
        (FrozenOrder([Basket(["a"])]), lambda copy: copy.lines[0].items.append("b")),
        (Model(lines=["a"]), lambda copy: copy.lines.append("b")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_change_of_the_copy_does_not_reach_the_original(value: Any, change: Any) -> None:
    shown = repr(value)
    (copy,) = isolated((value,))
    assert copy == value
    assert type(copy) is type(value)
    change(copy)
    assert repr(value) == shown
    assert copy != value


def test_what_is_not_data_is_passed_on() -> None:
    client = Client()
    _, (passed,) = isolated(([1], [client]))
    assert passed is client


def test_one_object_in_two_places_stays_one_object() -> None:
    shared = [1]
    first, second = isolated((shared, {"again": shared}))
    assert first is second["again"]


def test_a_cycle_is_copied_as_a_cycle() -> None:
    cycle: list[Any] = [1]
    cycle.append(cycle)
    (copy,) = isolated((cycle,))
    assert copy[1] is copy
    assert copy is not cycle


DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(), inner)
        | st.tuples(inner, inner)
        | st.builds(Order, st.lists(inner))
    ),
    max_leaves=20,
)


@given(st.tuples(DATA, DATA))
def test_copies_are_equal(arguments: tuple[Any, Any]) -> None:
    assert isolated(arguments) == arguments
