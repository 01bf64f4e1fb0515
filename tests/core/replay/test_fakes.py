"""Mocks that stand in for steps return what the real steps would."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from unittest.mock import AsyncMock, MagicMock, Mock, create_autospec

import msgspec
import pytest

from durable.core.replay.signatures import signature_of


@dataclass
class Receipt:
    total: int


class Order(msgspec.Struct):
    item: str


async def charge(order: Order) -> Receipt:
    return Receipt(1)


def charge_sync(order: Order) -> Receipt:
    return Receipt(1)


class Shop:
    async def charge(self, order: Order) -> Receipt:
        return Receipt(1)


def fail(order: Order) -> Receipt:
    raise ValueError(order)


@pytest.mark.parametrize(
    ("fake", "returns", "is_async"),
    [
        (create_autospec(charge), Receipt, True),
        (create_autospec(charge_sync), Receipt, False),
        (create_autospec(charge, return_value=Receipt(2)), Receipt, True),
        (AsyncMock(return_value=Receipt(2)), Receipt, True),
        (AsyncMock(spec=charge, return_value=Receipt(2)), Receipt, True),
        (Mock(spec=charge_sync, return_value=Receipt(2)), Receipt, False),
        (create_autospec(Shop, instance=True).charge, Any, True),
        (AsyncMock(wraps=charge), Receipt, True),
        (AsyncMock(side_effect=charge), Receipt, True),
        (MagicMock(side_effect=fail), Receipt, False),
        (MagicMock(return_value=3), int, False),
        (AsyncMock(return_value=[Receipt(1), Receipt(2)]), list[Receipt], True),
        (AsyncMock(return_value={"a": [Receipt(1)]}), dict[str, list[Receipt]], True),
        (AsyncMock(return_value=(Order("a"), 2)), tuple[Order, int], True),
        (AsyncMock(return_value=[1, "a"]), list[Any], True),
        (AsyncMock(return_value=None), type(None), True),
        (AsyncMock(return_value=[]), list, True),
        (AsyncMock(side_effect=[Receipt(1)]), Any, True),
        (AsyncMock(side_effect=ValueError), Any, True),
        (AsyncMock(), Any, True),
    ],
    ids=map(str, range(20)),
)
def test_a_mock_returns_what_it_imitates_or_was_given(fake: Any, returns: Any, is_async: bool) -> None:  # noqa: FBT001
    signature = signature_of(fake)

    assert signature.returns == returns
    assert signature.is_async == is_async


def test_another_value_counts() -> None:
    fake = AsyncMock(return_value=1)
    assert signature_of(fake).returns is int
    fake.return_value = Receipt(1)
    assert signature_of(fake).returns is Receipt


def test_a_function_that_bears_something_named_mock_is_no_mock() -> None:
    def step() -> int:
        return 1

    step.mock = "a string"  # type: ignore[attr-defined]
    assert signature_of(step).returns is int
