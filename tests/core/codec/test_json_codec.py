"""What goes in comes out, equal and of the same type, or is refused with the path to the culprit."""

from __future__ import annotations

import collections
import dataclasses
import json
import math
import socket
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Generic, Literal, NamedTuple, Never, NoReturn, TypedDict, TypeVar
from unittest.mock import MagicMock
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable.core.codec.json_codec import JsonCodec
from durable.core.errors import DeserializationError, InvalidArgument, SerializationError

codec = JsonCodec()
T = TypeVar("T")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Size(IntEnum):
    SMALL = 1
    LARGE = 2


class Mood(StrEnum):
    GOOD = "good"


class Point(NamedTuple):
    x: int
    y: float


class Address(TypedDict):
    street: str
    number: int


class Item(msgspec.Struct):
    name: str
    price: float
    note: str | None = None


@dataclasses.dataclass
class Parcel:
    weight: Decimal
    sent_at: datetime
    items: list[Item] = dataclasses.field(default_factory=list[Item])


class Cat(msgspec.Struct, tag=True):
    lives: int


class Dog(msgspec.Struct, tag=True):
    tricks: list[str]


class Tree(msgspec.Struct):
    value: int
    children: list[Tree] = []


class Box(msgspec.Struct, Generic[T]):
    content: T


class Exploding(msgspec.Struct):
    fuse: int

    def __post_init__(self) -> None:
        raise KeyError("boom")


class Socketed(msgspec.Struct):
    name: str
    inner: dict[str, list[socket.socket | None]]


class Connected(msgspec.Struct):
    parts: tuple[int, Socketed]


class Mixed(Enum):
    ONE = 1
    TWO = "two"


class Opaque: ...


class Hostile:
    @property
    def __class__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("do not look")

    def __repr__(self) -> str:
        raise RuntimeError("do not print")


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


def roundtrip(value: object, type: Any) -> Any:
    return codec.decode(codec.encode(value, "it"), type, "it")


def refusal(value: object) -> SerializationError:
    with pytest.raises(SerializationError) as caught:
        codec.encode(value, "the output of step 'charge'")
    str(caught.value).encode()  # can itself be stored
    assert "\0" not in str(caught.value)
    return caught.value


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


# Refused values


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
        ({"odd key": object()}, '$["odd key"]', "is a object, which cannot be stored; supported are msgspec.Struct"),
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
        ({(1, 2): 3}, "$[(1, 2)]", "has a tuple for its key; keys are str"),
        ({"a": {None: 3}}, "$.a[None]", "has a NoneType for its key"),
        ({True: 3}, "$[True]", "has a bool for its key"),
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
    with pytest.raises(SerializationError, match=r"takes 12 bytes, the limit is 10; store it elsewhere and pass a ref"):
        small.encode("äääää", "it")
    with pytest.raises(SerializationError, match=r"the limit is 1048576"):
        codec.encode("x" * 1024 * 1024, "it")


@pytest.mark.parametrize("bad", [0, -1, True, 1.5, None])
def test_a_limit_is_a_whole_number_of_bytes(bad: Any) -> None:
    with pytest.raises(InvalidArgument, match="max_bytes="):
        JsonCodec(max_bytes=bad)


@pytest.mark.parametrize("text", ["null", "\\u0000", "nullify \\u0000", "[" * 500, '"' * 300 + "[" * 500, "\\" * 999])
def test_text_that_only_looks_suspicious_is_stored(text: str) -> None:
    assert roundtrip([text, None], Any) == [text, None]


# Refused texts


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
        ("[" * 100_000, Any, "recursion"),
        ("[" * 201 + "]" * 201, Any, "nested more than 200 levels"),
        ('{"a":' * 201 + "1" + "}" * 201, Any, "nested more than 200 levels"),
        ('{"name":"a","price":"b"}', Item, r"Expected `float`, got `str` - at `\$.price`"),
        ("{}", Item, "missing required field `name`"),
        ("1.5", int, "Expected `int`, got `float`"),
        ('"green"', Colour, "Invalid enum value"),
        ('{"fuse":1}', Exploding, "KeyError: 'boom'"),
        ("1", Opaque, "Opaque"),
        ("1", "Unresolved", "not supported"),
        ("1", Never, "not supported"),
    ],
)
def test_a_text_that_does_not_fit_is_refused_with_the_reason(text: str, type: Any, reason: str) -> None:
    with pytest.raises(DeserializationError, match=f"(?s)^the input: .*{reason}"):
        codec.decode(text, type, "the input")


# Declared types


@pytest.mark.parametrize(
    "type",
    [
        *(Any, object, None, int, Item, Parcel, Address, Point, Tree, Box[int], Box, T, Colour, Mood, Never, NoReturn),
        *(Cat | Dog, Item | None, dict[str, Any], dict[Colour, int], list[dict[str, object]], Literal[1, "a"], bytes),
        *(
            set[int],
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
        (socket.socket, "$", "is declared as socket.socket, which cannot be stored; supported are"),
        (Iterator[int], "$", "is declared as collections.abc.Iterator"),
        (Generator[int, None, None], "$", "is declared as collections.abc.Generator"),
        (AsyncIterator[int], "$", "is declared as collections.abc.AsyncIterator"),
        (Exception, "$", "is declared as Exception"),
        (complex, "$", "is declared as complex"),
        (list[Opaque], "$[]", f"is declared as {__name__}.Opaque"),
        (Connected, "$.parts[1].inner[…][]", "is declared as socket.socket"),
        (Parcel | socket.socket, "$", "is declared as "),
        (Item | Address, "$", "is declared as "),
        (str | UUID, "$", "is declared as str | uuid.UUID, which cannot be read back: Type unions may not contain"),
        (dict[tuple[int, int], str], "$", "is declared as a dict whose keys are tuple, which JSON cannot hold"),
        (dict[Item, str], "$", f"is declared as a dict whose keys are {__name__}.Item"),
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


def test_classes_made_without_end_do_not_fill_the_memory() -> None:
    subject = JsonCodec()
    for index in range(5000):
        type = Literal[index]  # type: ignore[valid-type]
        subject.check_type(type, "it")
        subject.decode(str(index), type, "it")

    assert max(len(subject._checked), len(subject._decoders)) <= 4096


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
