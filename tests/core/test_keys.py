from __future__ import annotations

from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.core.errors import InvalidArgument
from durable.core.keys import check_key


@pytest.mark.parametrize("key", ["a", "charge-123", " ", "ä", "a\nb", "x" * 200, "ä" * 100, "\N{ROCKET}" * 50])
def test_a_key_of_up_to_200_bytes_is_itself(key: str) -> None:
    assert check_key("step_key", key) == key


@pytest.mark.parametrize(
    "key", ["", "x" * 201, "ä" * 101, "\N{ROCKET}" * 51, "a\0b", "\0", "ä\0", "\ud800", "a\udfff", b"a", 1, None, ["a"]]
)
def test_any_other_key_is_refused_by_the_name_of_the_argument(key: Any) -> None:
    with pytest.raises(InvalidArgument, match="wait_key must be .*at most 200 bytes") as caught:
        check_key("wait_key", key)

    assert caught.value.argument == "wait_key"


def test_a_member_of_an_enum_becomes_its_text() -> None:
    class Step(str, Enum):  # noqa: UP042  # StrEnum prints as its value already
        CHARGE = "charge"

    key = check_key("step_key", Step.CHARGE)

    assert type(key) is str
    assert f"{key}" == "charge"


@given(st.text(st.characters(), max_size=250))
def test_a_key_is_accepted_exactly_when_postgres_and_its_index_can_hold_it(key: str) -> None:
    encoded = key.encode("utf-8", "surrogatepass")
    is_sound = 0 < len(encoded) <= 200 and "\0" not in key and not any("\ud800" <= c <= "\udfff" for c in key)

    try:
        assert check_key("key", key) == key
        assert is_sound
    except InvalidArgument:
        assert not is_sound
