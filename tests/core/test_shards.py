from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.core.shards import fnv1a32, shard_value, shard_values


@pytest.mark.parametrize(("text", "digest"), [("", 0x811C9DC5), ("a", 0xE40C292C), ("foobar", 0xBF9CF968)])
def test_the_hash_is_fnv_1a_as_published(text: str, digest: int) -> None:
    assert fnv1a32(text) == digest


@pytest.mark.parametrize(
    ("run_id", "shard_count", "index"),
    [
        ("run-123", 8, 3),
        ("run-456", 8, 4),
        ("run-abc-123", 16, 6),
        (str(UUID(int=0)), 4, 1),
        (str(UUID(int=0)), 32, 17),
        ("0190a6f4-7c1e-7b3a-8f00-0123456789ab", 10, 1),
    ],
)
def test_a_run_lives_on_the_shard_that_every_implementation_computes(run_id: str, shard_count: int, index: int) -> None:
    assert shard_value("checkout", run_id, shard_count) == f"checkout_{index}"


def test_the_shard_values_are_numbered_from_zero() -> None:
    assert shard_values("a_b", 3) == ["a_b_0", "a_b_1", "a_b_2"]


@given(st.text(st.characters(codec="utf-8")), st.integers(1, 100))
def test_every_run_lives_on_one_of_the_shard_values(run_id: str, shard_count: int) -> None:
    assert shard_value("w", run_id, shard_count) in shard_values("w", shard_count)


@given(st.text(st.characters(codec="utf-8")))
def test_without_shards_every_run_lives_on_the_first(run_id: str) -> None:
    assert shard_value("w", run_id, 1) == "w_0"
