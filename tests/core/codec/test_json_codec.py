"""What goes in comes out, equal and of the same type, or is refused with the path to the culprit."""

from __future__ import annotations

import collections
import json
import socket
import threading
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal, Never
from unittest.mock import MagicMock
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable.core.codec.json_codec import JsonCodec
from durable.core.errors import DeserializationError, SerializationError
from tests.core.codec.values import (
    Address,
    Box,
    Cat,
    Colour,
    Dog,
    Exploding,
    Hostile,
    Item,
    Mood,
    Opaque,
    Parcel,
    Point,
    Size,
    Tree,
    codec,
    nested,
    refusal,
    roundtrip,
)

# Laws

texts = st.text(st.characters(exclude_characters="\0", codec="utf-8"))
finite = st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
)
offsets = st.builds(lambda minutes: timezone(timedelta(minutes=minutes)), st.integers(-1439, 1439))
moments = st.datetimes(timezones=st.none() | offsets).map(lambda moment: moment.replace(fold=0))  # no text has a fold
typed = st.one_of(
    st.tuples(finite, st.just(float)),
    st.tuples(st.integers(), st.just(int)),
    st.tuples(st.booleans(), st.just(bool)),
    st.tuples(texts, st.just(str)),
    st.tuples(st.binary(), st.just(bytes)),
    st.tuples(moments, st.just(datetime)),
    st.tuples(st.dates(), st.just(date)),
    st.tuples(st.times().map(lambda moment: moment.replace(fold=0)), st.just(time)),
    st.tuples(st.timedeltas(), st.just(timedelta)),
    st.tuples(st.uuids(), st.just(UUID)),
    st.tuples(st.decimals(allow_nan=False), st.just(Decimal)),
    st.tuples(st.sampled_from(Colour), st.just(Colour)),
    st.tuples(st.sampled_from(Size), st.just(Size)),
    st.tuples(st.none() | st.integers() | texts | finite, st.just(int | str | float | None)),
    st.tuples(st.frozensets(st.integers()), st.just(frozenset[int])),
    st.tuples(st.tuples(st.integers(), texts), st.just(tuple[int, str])),
    st.tuples(st.dictionaries(st.integers(), finite), st.just(dict[int, float])),
    st.tuples(st.dictionaries(st.uuids(), st.binary()), st.just(dict[UUID, bytes])),
    st.tuples(st.builds(Point, st.integers(), finite), st.just(Point)),
    st.tuples(st.builds(Item, texts, finite, st.none() | texts), st.just(Item)),
    st.tuples(st.builds(Cat, st.integers()) | st.builds(Dog, st.lists(texts)), st.just(Cat | Dog)),
    st.tuples(
        st.builds(Parcel, st.decimals(allow_nan=False), moments, st.lists(st.builds(Item, texts, finite))),
        st.just(Parcel),
    ),
)


def same(one: Any, other: Any) -> bool:
    """Equal, type and sign of zero included, all the way down."""
    return repr(one) == repr(other) if not isinstance(one, frozenset) else one == other


@settings(deadline=None)
@given(plain)
def test_plain_values_come_back_equal_and_of_the_same_type(value: Any) -> None:
    assert same(roundtrip(value, Any), value)


@settings(max_examples=500, deadline=None)
@given(typed)
def test_typed_values_come_back_equal_and_of_the_same_type(case: tuple[Any, Any]) -> None:
    value, type = case

    codec.check_type(type, "it")
    result = roundtrip(value, type)

    assert result == value
    assert same(result, value)


@settings(deadline=None)
@given(plain)
def test_what_is_written_is_json_to_everybody_else(value: Any) -> None:
    assert same(json.loads(codec.encode(value, "it")), value)


anything = st.recursive(
    st.one_of(
        *(st.none(), st.integers(), st.floats(), st.text(st.characters()), st.binary(), st.complex_numbers()),
        st.sampled_from([object(), Opaque(), MagicMock(), MagicMock(spec=dict), len, int, socket, ..., range(3)]),
    ),
    lambda inner: st.one_of(
        st.lists(inner),
        st.tuples(inner, inner),
        st.builds(Box[Any], inner),
        st.dictionaries(st.text(st.characters()) | st.floats() | st.tuples(st.integers()), inner),
    ),
)


@settings(max_examples=500, deadline=None)
@given(anything)
def test_whatever_is_given_is_stored_or_refused(value: Any) -> None:
    try:
        text = codec.encode(value, "it")
    except SerializationError as error:
        assert error.path.startswith("$")
    else:
        codec.decode(text, Any, "it")


@pytest.mark.parametrize("index", range(4))
def test_an_object_that_fights_back_is_refused_all_the_same(index: int) -> None:
    hostile = Hostile()  # pytest cannot even name it
    values: list[Any] = [hostile, [hostile], {"a": hostile}, {hostile: 1}]

    refusal(values[index])


@settings(max_examples=300, deadline=None)
@given(
    st.text(st.characters()) | st.text('[]{}",:0123456789eE+-.\\untrfals ') | plain.map(json.dumps),
    st.sampled_from(
        [Any, int, float, str, datetime, UUID, Decimal, Item, Parcel, Address, Tree, Exploding, Opaque, Never]
    ),
)
def test_whatever_was_stored_is_read_or_refused(text: str, type: Any) -> None:
    try:
        codec.decode(text, type, "it")
    except DeserializationError as error:
        assert str(error).startswith("it: ")


@settings(deadline=None)
@given(st.lists(st.text('[]{}"\\\n,x', max_size=5), max_size=20), st.integers(150, 250))
def test_brackets_inside_strings_add_no_depth(strings: list[str], levels: int) -> None:
    innermost = nested(levels)
    value = [*strings, innermost, *strings]

    if levels + 1 > 200:
        assert "nested more than 200 levels" in str(refusal(value))
    else:
        assert roundtrip(value, Any) == value


# Fidelity


@pytest.mark.parametrize(
    "value", [1e16, -0.0, 0.1, 5e-324, 1.7976931348623157e308, 2**53 + 1, 2**64, -(2**63) - 1, 10**4299, "\u2028", True]
)
def test_numbers_and_text_at_the_edges_come_back_unchanged(value: Any) -> None:
    assert same(roundtrip(value, Any), value)
    assert same(roundtrip(value, type(value)), value)


def test_a_value_of_an_optional_object_or_generic_type_comes_back() -> None:
    assert roundtrip(None, Item | None) is None
    assert roundtrip({"a": [1, None]}, dict[str, object]) == {"a": [1, None]}
    assert roundtrip("x", object) == "x"
    assert roundtrip(Box(Point(1, 2.0)), Box[Point]) == Box(Point(1, 2.0))
    assert roundtrip({"street": "a", "number": 1}, Address) == {"street": "a", "number": 1}
    assert roundtrip(Tree(1, [Tree(2)]), Tree) == Tree(1, [Tree(2)])
    assert roundtrip({Colour.RED: 1}, dict[Colour, int]) == {Colour.RED: 1}


def test_without_a_declared_type_values_come_back_as_plain_json() -> None:
    assert roundtrip((1, {2}, Mood.GOOD, Item("a", 1.0)), Any) == [
        1,
        [2],
        "good",
        {"name": "a", "price": 1.0, "note": None},
    ]


def test_subclasses_of_builtins_are_stored_as_the_builtin() -> None:
    class Safe(str): ...

    class Metres(float): ...

    class Port(int): ...

    result = roundtrip([Safe("a"), Metres(1.5), Port(80), collections.OrderedDict(a=1)], Any)

    assert result == ["a", 1.5, 80, {"a": 1}]
    assert [type(member) for member in result] == [str, float, int, dict]


def test_an_annotation_without_a_hash_still_decodes() -> None:
    type = Annotated[int, ["unhashable"]]

    codec.check_type(type, "it")

    assert codec.decode("5", type, "it") == 5


# One codec


def test_classes_made_without_end_do_not_fill_the_memory() -> None:
    subject = JsonCodec()
    for index in range(5000):
        type = Literal[index]  # type: ignore[valid-type]
        subject.check_type(type, "it")
        subject.decode(str(index), type, "it")

    assert max(len(subject._judgments), len(subject._decoders)) <= 4096


def test_one_codec_serves_many_threads() -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for index in range(500):
                value = Item(str(index), float(index))
                assert codec.decode(codec.encode(value, "it"), Item, "it") == value
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not errors


def test_utc_stays_utc() -> None:
    assert roundtrip(datetime(2030, 1, 1, tzinfo=UTC), datetime).tzinfo is UTC
