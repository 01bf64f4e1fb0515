"""Types and values of every kind, and how they fare in the codec."""

from __future__ import annotations

import dataclasses
import socket
from datetime import datetime
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar

import msgspec
import pytest

from durable.core.codec.json_codec import JsonCodec
from durable.core.errors import SerializationError

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
