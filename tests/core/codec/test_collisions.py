"""Numbers with chosen hashes do not hold up the process."""

from __future__ import annotations

import json
import random
import time
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest

from durable.core.codec.json_codec import JsonCodec
from durable.core.errors import DeserializationError

codec = JsonCodec()
SAME = 2**61 - 1
"""Numbers that are so far apart have the same hash."""
COUNT = 30_000


class Seen(msgspec.Struct):
    names: list[str]
    numbers: set[int]


chosen = [7 + number * SAME for number in range(COUNT)]
as_uuids = [str(UUID(int=2**100 + number * SAME)) for number in range(20_000)]


@pytest.mark.parametrize(
    ("value", "type"),
    [
        (chosen, set[int]),
        (chosen, frozenset[int | str]),
        ({str(number): 0 for number in chosen}, dict[int, int]),
        ({"names": [], "numbers": chosen}, Seen),
        ([[number, 1] for number in chosen], set[tuple[int, int]]),
        (as_uuids, set[UUID]),
        ([uuid.replace("-", "") for uuid in as_uuids], set[UUID]),
        (dict.fromkeys(as_uuids, 0), dict[UUID, int]),
        ([str(number) for number in chosen], set[Decimal]),
    ],
    ids=str,
)
@pytest.mark.parametrize("is_escaped", [False, True])
def test_numbers_of_one_hash_are_refused_at_once(value: Any, type: Any, is_escaped: bool) -> None:  # noqa: FBT001
    text = json.dumps(value)
    if is_escaped:
        text = text.replace('"1', '"\\u0031').replace('"0', '"\\u0030')
    began = time.process_time()

    with pytest.raises(DeserializationError, match="chosen to have the same hash"):
        codec.decode(text, type, "it")

    assert time.process_time() - began < 1


@pytest.mark.parametrize("type", [set[int], dict[int, int], list[int], Any])
def test_other_numbers_are_read_however_many(type: Any) -> None:
    numbers = {random.getrandbits(64) for _ in range(COUNT)}
    value = {str(number): 0 for number in numbers} if type == dict[int, int] else list(numbers)

    assert len(codec.decode(json.dumps(value), type, "it")) == len(numbers)


def test_texts_are_no_numbers() -> None:
    texts = [str(number) for number in chosen]

    assert codec.decode(json.dumps(texts), set[str], "it") == set(texts)


@pytest.mark.parametrize("type", [set[int], dict[UUID, str], list[frozenset[Decimal]]])
def test_a_few_numbers_of_one_hash_do_no_harm(type: Any) -> None:
    assert not codec.decode("[]" if "dict" not in str(type) else "{}", type, "it")
    assert codec.decode(json.dumps(chosen[:100]), set[int], "it") == set(chosen[:100])
