"""The ancestor's scenarios 53 to 57 and 83: where runs live, and the schema as SQL."""

from __future__ import annotations

import uuid
from collections import Counter

import psycopg
import pytest
from uuid6 import uuid7

from durable.admin.migrate import migrate, schema_sql
from durable.core.shards import shard_value, shard_values


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


TABLES = ["events", "runs", "schedules", "settings", "steps", "waits", "workers"]


def test_83_the_schema_is_printed_under_any_name_and_needs_no_migration(bare_database: str) -> None:
    with psycopg.connect(bare_database, autocommit=True) as connection:
        connection.execute(schema_sql("Elsewhere").encode())
        assert migrate(bare_database, schema="Elsewhere") == []
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'Elsewhere' ORDER BY 1")
        assert set(TABLES) <= {name for (name,) in found.fetchall()}
