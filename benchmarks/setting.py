"""What every benchmark is given, and what it returns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import psycopg

from durable.admin import migrate

SCHEMA = "durable_benchmark"


class Setting(msgspec.Struct, frozen=True):
    """A server on which schemas and databases may be created. ``is_once``: only one small round, to show that the
    benchmark still works. ``is_own``: the server serves nothing else, so its settings may be changed."""

    dsn: str
    rounds: int
    is_once: bool = False
    is_own: bool = False

    def size(self, full: int, once: int) -> int:
        """Returns how many of something to use: ``once`` for a single small round, otherwise ``full``."""
        return once if self.is_once else full


class Figure(msgspec.Struct, frozen=True):
    """One figure, with a value for each time it was measured. ``target`` is what it should be, at least or
    (``is_cost``) at most."""

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
        """Returns whether the target is reached, ``None`` if there is none."""
        if self.target is None:
            return None
        return self.median <= self.target if self.is_cost else self.median >= self.target


def quantiles(name: str, seconds: Sequence[float], targets: dict[int, float] | None = None) -> list[Figure]:
    """Returns p50, p95 and p99 in milliseconds; ``targets`` has the percentages as keys."""
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
    """Makes an empty schema, which is dropped afterwards, and yields a connection to look at it."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        migrate(dsn, schema=schema, shard_count=shard_count)
        try:
            yield connection
        finally:
            connection.execute(f"DROP SCHEMA {schema} CASCADE")
