"""What cannot be stored or read is refused, with the path to the culprit."""

from __future__ import annotations

import collections
import math
import socket
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, Never, NoReturn
from uuid import UUID

import msgspec
import pytest

from durable.core.codec.json_codec import JsonCodec
from durable.core.errors import DeserializationError, InvalidArgument, SerializationError
from tests.core.codec.values import (
    Address,
    Box,
    Cat,
    Colour,
    Connected,
    Dog,
    Exploding,
    Item,
    Mixed,
    Mood,
    Opaque,
    Parcel,
    Point,
    T,
    Tree,
    codec,
    nested,
    refusal,
    roundtrip,
)


@pytest.mark.parametrize(
    ("value", "path", "reason"),
    [
        (math.nan, "$", "is nan, which JSON cannot hold"),
        ([1, None, math.inf], "$[2]", "is inf"),
        ({"items": [{}, {"price": -math.inf, "note": None}]}, "$.items[1].price", "is -inf"),
        ({"a": 2**70, "b": None, "c": math.nan}, "$.c", "is nan"),
        (Item("a", math.nan), "$.price", "is nan"),
        (Parcel(Decimal(1), datetime(2030, 1, 1), [Item("a", math.nan)]), "$.items[0].price", "is nan"),
        (Point(1, math.inf), "$.y", "is inf"),
        (Enum("Odd", {"ONE": math.nan}).ONE, "$", "is nan"),  # type: ignore[attr-defined]
        ({"odd key": object()}, '$["odd key"]', "is a object, which cannot be stored; supported types: msgspec.Struct"),
        ({5: object()}, "$[5]", "is a object"),
        ([threading.Lock()], "$[0]", "is a _thread.lock"),
        ({"a": (i for i in ())}, "$.a", "is a generator"),
        ([Opaque], "$[0]", "is a type"),
        (1j, "$", "is a complex"),
        (ValueError("x"), "$", "is a ValueError"),
        ({"x": "a\0b"}, "$.x", "contains NUL"),
        ({"a\0": 1}, '$["a\\u0000"]', "has a key that contains NUL"),
        (["\ud800"], "$[0]", "contains a lone surrogate"),
        ({"\ud800": 1}, '$["\\ud800"]', "has a key that contains a lone surrogate"),
        ({(1, 2): 3}, "$[(1, 2)]", "has a tuple as its key; supported key types: str"),
        ({"a": {None: 3}}, "$.a[None]", "has a NoneType as its key"),
        ({True: 3}, "$[True]", "has a bool as its key"),
        (
            {"a": [{1: "a", "1": "b"}]},
            "$.a[0]",
            "has two keys that are the same text in JSON, so that one would be lost",
        ),
        ({2.5: "a", "2.5": "b"}, "$", "has two keys that are the same text in JSON"),
        ({UUID(int=1): "a", str(UUID(int=1)): "b"}, "$", "has two keys that are the same text in JSON"),
        ([10**5000], "$[0]", "is an int that cannot be written"),
        (nested(201), "$" + "[0]" * 39, "is nested more than 200 levels deep"),
    ],
)
def test_a_refusal_leads_to_the_culprit(value: object, path: str, reason: str) -> None:
    error = refusal(value)

    assert error.what == "the output of step 'charge'"
    assert error.path.split("…")[0][: len(path)] == path
    assert error.reason.startswith(reason)


def test_a_value_that_contains_itself_is_refused_where_it_does() -> None:
    ring: list[Any] = []
    ring.append({"again": ring})
    knot: list[Any] = []
    knot.extend([knot, knot])
    struct: Box[Any] = Box(None)
    struct.content = [struct]

    assert (refusal(ring).path, refusal(ring).reason) == ("$[0].again", "contains itself")
    assert (refusal(knot).path, refusal(knot).reason) == ("$[0]", "contains itself")
    assert refusal(struct).path == "$.content[0]"


def test_the_same_value_in_two_places_is_no_ring() -> None:
    shared = [1]

    assert roundtrip([shared, shared], Any) == [[1], [1]]


@pytest.mark.parametrize("levels", [201, 900, 5_000, 100_000])
def test_values_are_stored_up_to_200_levels_deep(levels: int) -> None:
    assert roundtrip(nested(200), Any) == nested(200)
    assert "200 levels deep" in str(refusal(nested(levels)))


def test_many_shallow_members_are_not_deep() -> None:
    value = [{"a": [i], "b": '[{"\\'} for i in range(1000)]

    assert roundtrip(value, Any) == value


def test_size_is_limited_in_bytes_and_the_refusal_says_what_to_do() -> None:
    small = JsonCodec(max_bytes=10)

    assert small.encode("12345678", "it") == '"12345678"'
    with pytest.raises(SerializationError, match=r"takes 12 bytes, but the limit is 10; store it elsewhere and pass a"):
        small.encode("äääää", "it")
    with pytest.raises(SerializationError, match=r"the limit is 1048576"):
        codec.encode("x" * 1024 * 1024, "it")


@pytest.mark.parametrize("bad", [0, -1, True, 1.5, None])
def test_a_limit_is_a_whole_number_of_bytes(bad: Any) -> None:
    with pytest.raises(InvalidArgument, match="max_bytes must be "):
        JsonCodec(max_bytes=bad)


@pytest.mark.parametrize("text", ["null", "\\u0000", "nullify \\u0000", "[" * 500, '"' * 300 + "[" * 500, "\\" * 999])
def test_text_that_only_looks_suspicious_is_stored(text: str) -> None:
    assert roundtrip([text, None], Any) == [text, None]


@pytest.mark.parametrize(
    ("text", "type", "reason"),
    [
        ("", Any, "truncated"),
        ("nope", Any, "malformed"),
        ("NaN", Any, "malformed"),
        ("1 2", Any, "trailing"),
        ("1e5000", Any, "out of range"),
        ("1" * 5000, Any, "out of range"),
        ("1" * 5000, int, "out of range"),
        ('"\\ud800"', Any, ""),
        ("[" * 100_000, Any, "RecursionError"),
        ("[" * 201 + "]" * 201, Any, "nested more than 200 levels"),
        ('{"a":' * 201 + "1" + "}" * 201, Any, "nested more than 200 levels"),
        ('{"name":"a","price":"b"}', Item, r"Expected `float`, got `str` - at `\$.price`"),
        ("{}", Item, "missing required field `name`"),
        ("1.5", int, "Expected `int`, got `float`"),
        ('"green"', Colour, "Invalid enum value"),
        ('{"fuse":1}', Exploding, "KeyError$"),
        ("1", Opaque, "Opaque"),
        ("1", "Unresolved", "not supported"),
        ("1", Never, "not supported"),
    ],
)
def test_a_text_that_does_not_fit_is_refused_with_the_reason(text: str, type: Any, reason: str) -> None:
    with pytest.raises(DeserializationError, match=f"(?s)^the input: .*{reason}"):
        codec.decode(text, type, "the input")


@pytest.mark.parametrize(
    "type",
    [
        *(Any, object, None, int, Item, Parcel, Address, Point, Tree, Box[int], Box, T, Colour, Mood, Never, NoReturn),
        *(Cat | Dog, Item | None, dict[str, Any], dict[Colour, int], list[dict[str, object]], Literal[1, "a"], bytes),
        *(
            set[int],
            dict[int | float, str],
            dict[int | None, str],
            tuple[int, ...],
            tuple[()],
            dict[Literal["a"], int],
            msgspec.Raw,
            bytearray,
            collections.abc.Mapping,
        ),
    ],
)
def test_a_type_of_which_values_can_be_stored_is_fine(type: Any) -> None:
    codec.check_type(type, "it")
    codec.check_type(type, "it")


@pytest.mark.parametrize(
    ("type", "path", "reason"),
    [
        (socket.socket, "$", "is declared as socket.socket, which cannot be stored; supported types: "),
        (Iterator[int], "$", "is declared as collections.abc.Iterator"),
        (Generator[int, None, None], "$", "is declared as collections.abc.Generator"),
        (AsyncIterator[int], "$", "is declared as collections.abc.AsyncIterator"),
        (Exception, "$", "is declared as Exception"),
        (complex, "$", "is declared as complex"),
        (list[Opaque], "$[]", f"is declared as {Opaque.__module__}.Opaque"),
        (Connected, "$.parts[1].inner[…][]", "is declared as socket.socket"),
        (Parcel | socket.socket, "$", "is declared as "),
        (Item | Address, "$", "is declared as "),
        (str | UUID, "$", "is declared as str | uuid.UUID, which cannot be read back: Type unions may not contain"),
        (dict[tuple[int, int], str], "$", "is declared as a dict whose keys are tuple, which JSON cannot hold"),
        (dict[Item, str], "$", f"is declared as a dict whose keys are {Item.__module__}.Item"),
        (
            dict[str | int, str],
            "$",
            "is declared as a dict whose keys are str or int: all keys are text in JSON, so that",
        ),
        (list[dict[int | UUID, str]], "$[]", "is declared as a dict whose keys are int or uuid: all keys are text"),
        (dict[Literal["1", 1], str], "$", "is declared as a dict whose keys are literal"),
        (Mixed, "$", "is declared as <enum 'Mixed'>, which cannot be read back: Enums must contain either"),
        ("Unresolved", "$", "is declared as 'Unresolved', which cannot be read back"),
        (threading.Lock, "$", "is declared as "),
    ],
)
def test_a_type_of_which_no_value_can_be_stored_is_refused_before_any_effect(type: Any, path: str, reason: str) -> None:
    with pytest.raises(SerializationError) as caught:
        codec.check_type(type, "the output of step 'charge'")

    assert caught.value.path == path
    assert caught.value.reason.startswith(reason)
