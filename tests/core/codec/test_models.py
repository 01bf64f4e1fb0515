"""pydantic models go in and come out like any other value; without them pydantic is never imported."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest

from durable.core.codec.json_codec import JsonCodec
from durable.core.errors import DeserializationError, SerializationError

pydantic = pytest.importorskip("pydantic", minversion="2.11")

codec = JsonCodec()


class Line(pydantic.BaseModel):
    name: str
    price: float = 1.0
    anything: Any = None


class Order(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)

    id: UUID
    at: datetime
    total: Decimal
    within: timedelta
    pair: tuple[int, str]
    lines: list[Line]


class Renamed(pydantic.BaseModel):
    both: int = pydantic.Field(alias="theBoth")
    out: int = pydantic.Field(serialization_alias="theOut")
    into: int = pydantic.Field(validation_alias="theInto")

    @pydantic.computed_field
    def double(self) -> int:
        return 2 * self.both


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"
    tricks: int


class Shipment(msgspec.Struct):
    line: Line
    spare: Line | None = None


@dataclass
class Cart:
    lines: dict[str, list[Line]]


line = Line(name="a", price=2.5, anything=[1, None])
order = Order(
    id=UUID(int=1),
    at=datetime(2030, 1, 1),
    total=Decimal("1.50"),
    within=timedelta(days=1),
    pair=(1, "b"),
    lines=[line],
)


@pytest.mark.parametrize(
    ("value", "type"),
    [
        (line, Line),
        (order, Order),
        (Renamed(theBoth=1, out=2, theInto=3), Renamed),
        ([line, line], list[Line]),
        ({"a": line}, dict[str, Line]),
        (None, Line | None),
        (Shipment(line), Shipment),
        (Cart({"a": [line]}), Cart),
        (Dog(tricks=1), Cat | Dog),
        ([Cat(lives=9), Dog(tricks=1)], list[Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]]),
        (pydantic.RootModel[list[int]]([1, 2]), pydantic.RootModel[list[int]]),
    ],
    ids=repr,
)
def test_a_model_comes_back_equal_wherever_it_stands(value: Any, type: Any) -> None:
    codec.check_type(type, "it")

    result = codec.decode(codec.encode(value, "it"), type, "it")

    assert result == value
    assert result.__class__ is value.__class__


def test_a_model_is_read_by_its_aliases_too() -> None:
    text = '{"theBoth":1,"out":2,"theInto":3}'

    assert codec.decode(text, Renamed, "it") == Renamed(theBoth=1, out=2, theInto=3)


@pytest.mark.parametrize(
    ("value", "path", "reason"),
    [
        (Line(name="a", price=math.nan), "$.price", "is nan"),
        ({"lines": [line, Line(name="a\0")]}, "$.lines[1].name", "contains NUL"),
        ([Line(name="a", anything=object())], "$[0]", f"is a {__name__}.Line that pydantic cannot dump: "),
        (Line(name="a", anything="\ud800"), "$.anything", "contains a lone surrogate"),
    ],
)
def test_what_cannot_be_stored_of_a_model_is_named(value: object, path: str, reason: str) -> None:
    with pytest.raises(SerializationError) as caught:
        codec.encode(value, "it")

    assert caught.value.path == path
    assert caught.value.reason.startswith(reason)


@pytest.mark.parametrize(("text", "type"), [("{}", Line), ('[{"name":1}]', list[Line]), ('{"kind":"cow"}', Cat | Dog)])
def test_a_text_that_does_not_fit_a_model_is_refused(text: str, type: Any) -> None:
    with pytest.raises(DeserializationError, match="validation error"):
        codec.decode(text, type, "it")


def test_a_union_of_a_model_and_a_lock_is_refused_before_any_effect() -> None:
    class Opaque: ...

    with pytest.raises(SerializationError, match="cannot be read back"):
        codec.check_type(Line | Opaque, "it")


def test_pydantic_is_not_imported_for_other_values() -> None:
    code = (
        "import sys; from durable.core.codec.json_codec import JsonCodec; c = JsonCodec()\n"
        "c.check_type(dict[str, object], 'it'); c.decode(c.encode({'a': None}, 'it'), dict[str, object], 'it')\n"
        "try: c.encode(object(), 'it')\n"
        "except TypeError: pass\n"
        "assert 'pydantic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
