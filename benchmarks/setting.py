"""What every benchmark is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import psycopg

from durable.admin.migrate import migrate

SCHEMA = "durable_benchmark"


class Setting(msgspec.Struct, frozen=True):
    """A server on which schemas and databases may be created. ``is_once``: one small round that only shows that the
    benchmark still runs. ``is_own``: the server serves nothing else, and may be set up."""

    dsn: str
    rounds: int
    is_once: bool = False
    is_own: bool = False

    def size(self, full: int, once: int) -> int:
        """How many of something."""
        return once if self.is_once else full


class Figure(msgspec.Struct, frozen=True):
    """One figure, as often as it was measured. ``target``: what it is to be, at least or (``is_cost``) at most."""

    name: str
    unit: str
    values: list[float]
    target: float | None = None
    is_cost: bool = False

    @property
    def median(self) -> float:
        return sorted(self.values)[len(self.values) // 2]

    @property
    def spread(self) -> tuple[float, float]:
        return min(self.values), max(self.values)

    @property
    def is_reached(self) -> bool | None:
        """``None`` without a target."""
        if self.target is None:
            return None
        return self.median <= self.target if self.is_cost else self.median >= self.target


def quantiles(name: str, seconds: Sequence[float], targets: dict[int, float] | None = None) -> list[Figure]:
    """p50, p95 and p99 in milliseconds; ``targets`` by percentage."""
    rising = sorted(seconds)
    return [
        Figure(
            f"{name}, p{share}",
            "ms",
            [rising[min(len(rising) * share // 100, len(rising) - 1)] * 1000],
            (targets or {}).get(share),
            is_cost=True,
        )
        for share in (50, 95, 99)
    ]


@contextmanager
def fresh_schema(dsn: str, *, schema: str = SCHEMA, shard_count: int = 1) -> Iterator[psycopg.Connection[Any]]:
    """An empty schema of our own, dropped afterwards, and a connection to look at it."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        migrate(dsn, schema=schema, shard_count=shard_count)
        try:
            yield connection
        finally:
            connection.execute(f"DROP SCHEMA {schema} CASCADE")
