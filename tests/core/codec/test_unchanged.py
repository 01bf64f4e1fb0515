"""What would not come back equal is refused before it is stored; most types rule it out, and nothing is compared."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.core.codec.json_codec import JsonCodec, encode_as
from durable.core.errors import LossyType, SerializationError

pydantic = pytest.importorskip("pydantic", minversion="2.11")

codec = JsonCodec()


class Credentials(pydantic.BaseModel):
    user: str
    password: pydantic.SecretStr


class Raw(pydantic.BaseModel):
    key: pydantic.SecretBytes


class Pin(pydantic.BaseModel):
    pin: pydantic.Secret[int]


class Hidden(pydantic.BaseModel):
    token: str = pydantic.Field(default="", exclude=True)


class Vault(pydantic.BaseModel):
    shelves: dict[str, list[Credentials | None]]


class Told(pydantic.BaseModel):
    password: pydantic.SecretStr

    @pydantic.field_serializer("password", when_used="json")
    def _tell(self, password: Any) -> str:
        return str(password.get_secret_value())


class Initial(pydantic.BaseModel):
    name: Annotated[str, pydantic.PlainSerializer(lambda name: name[:1])]


class Hashed(pydantic.BaseModel):
    password: str

    @pydantic.field_validator("password")
    @classmethod
    def _hash(cls, password: str) -> str:
        return password[::-1]


class Counted(pydantic.BaseModel):
    name: str
    _uses: int = pydantic.PrivateAttr(default=0)
    _lock: Any = pydantic.PrivateAttr(default_factory=object)


class Mixed(pydantic.BaseModel):
    found: dict[str | int, str] = pydantic.Field(default_factory=dict)
    anything: Any = None


class Filed(pydantic.BaseModel):
    path: Path


class Pet(pydantic.BaseModel):
    name: str


class Dog(Pet):
    tricks: list[str] = pydantic.Field(default_factory=list)


class Home(pydantic.BaseModel):
    pet: Pet


class Colour(Enum):
    RED = "red"


class Plain(pydantic.BaseModel):
    name: str = pydantic.Field(pattern="^a", alias="theName")
    at: datetime | None = None
    price: Annotated[Decimal, pydantic.Field(gt=0)] = Decimal(1)
    colour: Colour = Colour.RED
    kind: Literal["plain"] = "plain"
    parts: list[tuple[int, str]] = pydantic.Field(default_factory=list)
    inner: list[Plain] = pydantic.Field(default_factory=list)


class Animal(msgspec.Struct):
    name: str


class Cat(Animal):
    lives: int = 9


class Owner(msgspec.Struct):
    animals: list[Animal]


@dataclasses.dataclass
class Doubled:
    number: int

    def __post_init__(self) -> None:
        self.number *= 2


counted = Counted(name="a")
counted._uses = 3


SECRET = "is a SecretStr, of which pydantic writes only asterisks; give the field a serializer that writes it"
EXCLUDED = "is declared with exclude=True, so that pydantic leaves it out"


@pytest.mark.parametrize(
    ("type", "path", "reason"),
    [
        (Credentials, "$.password", SECRET),
        (Raw, "$.key", "is a SecretBytes"),
        (Pin, "$.pin", "is a Secret, "),
        (Hidden, "$.token", EXCLUDED),
        (Vault, "$.shelves[…][].password", SECRET),
        (list[Credentials], "$[].password", SECRET),
        (Credentials | Pet, "$.password", SECRET),
        (dict[str, Hidden | None], "$[…].token", EXCLUDED),
    ],
)
def test_a_type_that_always_loses_a_part_is_refused_before_any_effect(type: Any, path: str, reason: str) -> None:
    with pytest.raises(LossyType) as caught:
        codec.check_type(type, "it")

    assert caught.value.path == path
    assert caught.value.reason.startswith(reason)


@pytest.mark.parametrize(
    ("value", "path", "reason"),
    [
        ([Credentials(user="ada", password="hunter2")], "$[0].password", SECRET),
        ({"pin": Pin(pin=pydantic.Secret(1234))}, "$.pin.pin", "is a Secret"),
        (Hidden(token="hunter2"), "$.token", EXCLUDED),
        (Initial(name="hunter2"), "$.name", "is a str that would come back with another value"),
        (Hashed(password="hunter2"), "$.password", "is a str that would come back with another value"),
        (counted, "$._uses", "is a int that would come back with another value"),
        ([Mixed(found={1: "a", "1": "b"})], "$[0].found", "has 2 members, of which only 1 would come back"),
        (Mixed(anything=pydantic.SecretStr("hunter2")), "$.anything", "is a SecretStr, of which pydantic writes only"),
        (Mixed(anything=[Hidden(token="hunter2")]), "$.anything", "is a list"),
        (Home(pet=Dog(name="a", tricks=["sit"])), "$.pet", f"is a {__name__}.Dog, but would come back as a "),
    ],
    ids=lambda case: type(case).__name__,
)
def test_a_model_that_would_come_back_different_is_refused(value: object, path: str, reason: str) -> None:
    with pytest.raises(SerializationError) as caught:
        codec.encode(value, "it")

    assert caught.value.path.startswith(path)
    assert caught.value.reason.startswith(reason) or path == "$.anything"
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "type", "path"),
    [
        (Cat("a"), Animal, "$"),
        (Owner([Animal("a"), Cat("b")]), Owner, "$.animals[1]"),
        ({"one": [Owner([Cat("b")])]}, dict[str, list[Owner]], "$.one[0].animals[0]"),
        (Dog(name="a"), Pet, "$"),
        (Doubled(1), Doubled, "$.number"),
    ],
)
def test_what_its_declared_type_would_not_give_back_is_refused(value: object, type: Any, path: str) -> None:
    with pytest.raises(SerializationError) as caught:
        encode_as(codec, value, type, "it")

    assert caught.value.path == path


@pytest.mark.parametrize(
    ("value", "type"),
    [
        (Told(password="hunter2"), Told),
        (Filed(path=Path("/tmp")), Filed),
        (Counted(name="a"), Counted),
        (Mixed(found={1: "a", "b": "c"}, anything={"at": datetime(2030, 1, 1), "pair": (1, 2)}), Mixed),
        (Home(pet=Pet(name="a")), Home),
        (Animal("a"), Animal),
        (Owner([Animal("a")]), Owner),
        (Doubled(0), Doubled),
        ((1, 2), list[int]),
        ({Colour.RED}, Any),
        (Animal("a"), Any),
        (1, float),
        ("text", int),
    ],
    ids=repr,
)
def test_what_comes_back_equal_is_stored(value: object, type: Any) -> None:
    codec.check_type(type, "it")

    encode_as(codec, value, type, "it")


def test_the_serializer_that_tells_a_secret_brings_it_back() -> None:
    told = Told(password="hunter2")

    assert codec.decode(codec.encode(told, "it"), Told, "it") == told


@pytest.mark.parametrize(
    "type",
    [int, str, Any, dict[str, list[int]], set[int], Plain, list[Plain] | None, datetime, Colour, tuple[int, ...]],
)
def test_most_types_rule_a_change_out(type: Any) -> None:
    assert not codec.may_change(type)


def test_a_subclass_that_is_made_later_counts() -> None:
    class Base(msgspec.Struct):
        a: int

    assert not codec.may_change(list[Base])

    class Derived(Base):
        b: int

    assert codec.may_change(list[Base])
    with pytest.raises(SerializationError, match=r"it: \$\[0\] is a .*Derived, but would come back as a .*Base"):
        encode_as(codec, [Derived(1, 2)], list[Base], "it")


keys = st.integers(-3, 3) | st.sampled_from(["1", "-2", "1.0", "a"]) | st.sampled_from([1.5, -2.5])


@given(st.dictionaries(keys, st.integers()))
def test_no_key_of_a_dict_is_lost(value: dict[Any, int]) -> None:
    texts = [str(key) for key in value]
    try:
        text = codec.encode(value, "it")
    except SerializationError:
        assert len(set(texts)) < len(texts)
    else:
        assert codec.decode(text, Any, "it") == dict(zip(texts, value.values(), strict=True))
