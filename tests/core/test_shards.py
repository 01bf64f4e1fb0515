from __future__ import annotations

import uuid
from collections import Counter
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uuid6 import uuid7

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


@pytest.mark.parametrize("shard_count", [1, 0, -5])
def test_53_without_shards_a_run_lives_on_the_first(shard_count: int) -> None:
    assert shard_value("checkout", "run-123", shard_count) == "checkout_0"


def test_53_a_shard_value_is_the_name_and_one_of_the_indices() -> None:
    for number in range(100):
        name, _, index = shard_value("my_checkout", f"run-{number}", 8).rpartition("_")
        assert name == "my_checkout"
        assert 0 <= int(index) < 8


def test_54_a_run_lives_on_one_shard_for_ever() -> None:
    assert {shard_value("checkout", "run-abc-123", 16) for _ in range(100)} == {"checkout_6"}


def test_55_runs_are_spread_over_all_shards() -> None:
    spread = Counter(shard_value("checkout", str(uuid7()), 8) for _ in range(1000))
    assert len(spread) == 8
    assert min(spread.values()) >= 50


@pytest.mark.parametrize(("shard_count", "indices"), [(1, [0]), (0, [0]), (-5, [0]), (4, [0, 1, 2, 3])])
def test_56_shard_values_are_listed_in_order(shard_count: int, indices: list[int]) -> None:
    assert shard_values("x", shard_count) == [f"x_{index}" for index in indices]


def test_57_every_run_lives_on_a_listed_shard() -> None:
    listed = shard_values("checkout", 32)
    assert {shard_value("checkout", str(uuid7()), 32) for _ in range(1000)} <= set(listed)


@pytest.mark.parametrize(
    ("run_id", "shard_count", "index"),
    [
        ("run-123", 8, 3),
        ("run-456", 8, 4),
        ("run-abc-123", 16, 6),
        (str(uuid.UUID(int=0)), 4, 1),
        (str(uuid.UUID(int=0)), 32, 17),
        ("0190a6f4-7c1e-7b3a-8f00-0123456789ab", 10, 1),
    ],
)
def test_57_the_ancestor_would_find_our_runs(run_id: str, shard_count: int, index: int) -> None:
    assert shard_value("checkout", run_id, shard_count) == f"checkout_{index}"
