"""A statement as a value, and the procedures made of them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Generic, LiteralString, TypeAlias, TypeVar

import msgspec

T = TypeVar("T")

Row: TypeAlias = tuple[Any, ...]
Op: TypeAlias = "Generator[Statement[Any], Sequence[Row], T]"
"""A procedure without I/O: yields the statements it needs, is sent their rows, returns its result."""


class Statement(msgspec.Struct, Generic[T], frozen=True):
    """SQL with its parameters and the way to read its rows."""

    sql: LiteralString
    params: Mapping[str, Any]
    read: Callable[[Sequence[Row]], T]

    def __repr__(self) -> str:
        # Not the parameters: payloads shall be in no log.
        return f"Statement({self.sql!r})"

    def __iter__(self) -> Op[T]:
        rows: Sequence[Row] = yield self
        return self.read(rows)


def nothing(rows: Sequence[Row]) -> None:
    """Reads a statement that returns nothing of interest."""
