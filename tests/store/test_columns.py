"""Columns of a batch arrive as they were sent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from durable.core.errors import SerializationError
from durable.store.columns import column

_TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
_MOMENTS = st.datetimes(
    min_value=datetime(1, 1, 2),
    max_value=datetime(9999, 12, 30),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(hours=11))]),
)


class Name(str):
    """Text of a class of its own."""

    __slots__ = ()


def _columns(elements: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(elements) | st.lists(elements | st.none())


_ARRAYS = st.one_of(
    st.tuples(st.just("text"), _columns(_TEXTS | _TEXTS.map(Name))),
    st.tuples(st.just("bigint"), _columns(st.integers(-(2**63), 2**63 - 1))),
    st.tuples(st.just("float8"), _columns(st.floats(allow_nan=False))),
    st.tuples(st.just("boolean"), _columns(st.booleans())),
    st.tuples(st.just("timestamptz"), _columns(_MOMENTS)),
    st.tuples(st.just("uuid"), _columns(st.uuids().map(str))),
    st.tuples(st.just("text"), st.lists(st.none())),
)


@pytest.fixture(scope="module")
def connection(server_dsn: str) -> Any:
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        yield connection


@settings(max_examples=300)
@example(("text", ["", "NULL", "null", None, '"', "\\", "{}", ",", " a ", "\n", "\x01", '\\"']))
@example(("text", ["", "NULL", '"', "\\", "{}", ",", " a ", "\n", "\x01", '\\"']))
@example(("float8", [float("inf"), float("-inf"), 1e-300, 0.1]))
@example(("text", [None, "\x7f", Name("x")]))
@given(array=_ARRAYS)
def test_every_column_comes_back_equal(connection: psycopg.Connection[Any], array: tuple[str, list[Any]]) -> None:
    kind, values = array
    row = connection.execute(f"SELECT %s::{kind}[]::text[], %s::{kind}[]".encode(), [column(values)] * 2).fetchone()
    assert row is not None
    assert _shown(row[0] if kind == "uuid" else row[1]) == _shown(values)


def _shown(values: Sequence[object]) -> list[str | None]:
    return [None if value is None else str(_in_utc(value)) for value in values]


def _in_utc(value: object) -> object:
    return value.astimezone(UTC) if isinstance(value, datetime) else value


@pytest.mark.parametrize("values", [["a", "b\0c"], ["\0"], ["a", None, "\0"]])
def test_text_that_postgres_cannot_hold_is_refused_and_displaces_no_other(values: Sequence[str | None]) -> None:
    with pytest.raises(SerializationError, match="NUL"):
        column(values)
