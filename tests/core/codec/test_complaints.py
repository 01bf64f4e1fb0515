"""What is said about a text that does not fit shows the path and the rule, and never the value."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest

from durable.core.codec.json_codec import JsonCodec
from durable.core.errors import DeserializationError
from durable.core.replay.history import ChildEnd

pydantic = pytest.importorskip("pydantic", minversion="2.11")
pydantic_core = pytest.importorskip("pydantic_core")

codec = JsonCodec()
SECRET = "hunter2"


class Colour(enum.Enum):
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


class Missing(enum.Enum):
    RED = "red"

    @classmethod
    def _missing_(cls, value: object) -> Any:
        raise ValueError(f"no colour {value}")


class Cat(msgspec.Struct, tag=True):
    lives: int


class Dog(msgspec.Struct, tag=True):
    tricks: int


class Closed(msgspec.Struct, forbid_unknown_fields=True):
    pet: Cat | Dog | None = None
    colour: Colour | None = None


class Picky(msgspec.Struct):
    name: str

    def __post_init__(self) -> None:
        raise ValueError(f"{self.name} will not do")


@dataclass
class Shelf:
    picky: list[Picky]


class Tame(pydantic.BaseModel):
    kind: Literal["tame"]


class Wild(pydantic.BaseModel):
    kind: Literal["wild"]


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    number: int = 0
    colour: Colour = Colour.RED
    animal: Annotated[Tame | Wild, pydantic.Field(discriminator="kind")] | None = None
    tags: dict[str, int] = pydantic.Field(default_factory=dict)
    id: UUID | None = None
    data: pydantic.Base64Bytes | None = None
    checked: str = ""
    asserted: str = ""
    custom: str = ""

    @pydantic.field_validator("checked")
    @classmethod
    def _check(cls, value: str) -> str:
        raise ValueError(f"{value} will not do")

    @pydantic.field_validator("asserted")
    @classmethod
    def _assert(cls, value: str) -> str:
        raise AssertionError(f"not {value}")

    @pydantic.field_validator("custom")
    @classmethod
    def _custom(cls, value: str) -> str:
        raise pydantic_core.PydanticCustomError("my_rule", "not {value}", {"value": value})


@pytest.mark.parametrize(
    ("text", "type", "shown"),
    [
        ('"hunter2"', Colour, "Invalid enum value"),
        ('{"colour":"hunter2"}', Closed, "Invalid enum value - at `$.colour`"),
        ('["a","hunter2"]', list[Literal["a"]], "Invalid enum value - at `$[1]`"),
        ('"hunter2"', Literal["a"], "Invalid enum value"),
        ("472004", Literal[1], "Invalid enum value"),
        ("472004", Number, "Invalid enum value"),
        ('"hunter2"', Missing, "Invalid enum value"),
        ('"hunter2\' - at `$.a"', Colour, "Invalid enum value"),
        ('{"type":"hunter2"}', Cat | Dog, "Invalid tag - at `$.type`"),
        ('{"pet":{"type":"hunter2"}}', Closed, "Invalid tag - at `$.pet.type`"),
        ('{"hunter2":1}', Closed, "Object contains an unknown field"),
        ('{"hunter2":"x"}', dict[str, int], "Expected `int`, got `str` - at `$[...]`"),
        ('{"hunter2":"x"}', dict[int, int], "Expected `int`, got `str` - at `key` in `$`"),
        ('{"name":"hunter2"}', Picky, "ValueError"),
        ('{"picky":[{"name":"hunter2"}]}', Shelf, "ValueError - at `$.picky[0]`"),
        ('"hunter2"', UUID, "Invalid UUID"),
        ('"hunter2"', datetime, "Invalid RFC3339"),
        ('"hunter2"', Decimal, "Invalid decimal string"),
        ('hunter2"', str, "malformed"),
        ('{"number":"hunter2"}', Model, "1 validation error for Model: number: Input should be a valid integer"),
        ('{"colour":"hunter2"}', Model, "colour: Input should be 'red'"),
        ('{"animal":{"kind":"hunter2"}}', Model, "animal: union_tag_invalid"),
        ('{"tags":{"hunter2":"x"}}', Model, "tags.[…]: Input should be a valid integer"),
        ('{"hunter2":1}', Model, "[…]: Extra inputs are not permitted"),
        ('{"id":"hunter2"}', Model, "id: uuid_parsing"),
        ('{"data":"hunter2"}', Model, "data: "),
        ('{"checked":"hunter2"}', Model, "checked: value_error"),
        ('{"asserted":"hunter2"}', Model, "asserted: assertion_error"),
        ('{"custom":"hunter2"}', Model, "custom: my_rule"),
        ('[{"checked":"hunter2"}]', list[Model], "checked: value_error - at `$[0]`"),
        ('{"kind":"hunter2"}', Tame | Wild, "Tame.kind: Input should be 'tame'"),
    ],
)
def test_the_value_is_never_repeated(text: str, type: Any, shown: str) -> None:
    with pytest.raises(DeserializationError) as caught:
        codec.decode(text, type, "it")

    assert shown in caught.value.reason
    assert SECRET not in str(caught.value)
    assert "472004" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_the_end_of_a_child_is_not_repeated_either() -> None:
    with pytest.raises(DeserializationError, match="Invalid enum value") as caught:
        ChildEnd.parse('{"status":"hunter2"}', "it")

    assert SECRET not in str(caught.value)
