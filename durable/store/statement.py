"""Statements and batches of them, as values.

A ``Query`` is a file of SQL together with the Struct of its rows. A ``Statement`` is a query with its parameters and
the way to read its answer. A ``Batch`` is a number of statements that share one round trip. None of them does any I/O,
and none of them contains the name of the schema: the connection puts that in.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Generic, LiteralString, TypeAlias, TypeVar, get_args

import msgspec

from durable.store.queries import query_text

T = TypeVar("T")
RowT = TypeVar("RowT")

Row: TypeAlias = tuple[Any, ...]
Rows: TypeAlias = Sequence[Row]
Requests: TypeAlias = "Generator[Request, Any, T]"
"""A running operation: it yields what it needs, is sent the answer, and returns its result."""

QUERIES: dict[str, Query[Any]] = {}
"""Every query that was declared, by its name."""


class NoRow(msgspec.Struct, frozen=True):
    """The row type of a statement that is run only for its effect and returns no rows."""


class Query(Generic[RowT]):
    """One file of ``queries/``, declared once, next to its only caller.

    ``row`` is a Struct whose fields are the columns of the result, by name and in order. A test prepares every query
    and compares the two, so a row can safely be read by position.

    Nothing that is sent back depends on a setting of the session, because the session may be the caller's. A
    ``datetime`` travels as the whole number of its microseconds since 1970 (not as text, which ``DateStyle`` and
    ``TimeZone`` shape), and a ``float`` as ``numeric`` (``extra_float_digits`` may round a float8).
    """

    __slots__ = ("_texts", "name", "row")

    def __init__(self, name: str, row: type[RowT]) -> None:
        if name in QUERIES:
            raise ValueError(f"the query {name} is declared twice")
        self.name = name
        self.row = row
        self._texts: dict[str, LiteralString] = {}
        QUERIES[name] = self

    def text(self, schema: str) -> LiteralString:
        """Returns the SQL for that schema."""
        known = self._texts.get(schema)
        if known is None:
            known = self._texts[schema] = query_text(self.name, schema)
        return known

    def structs(self, rows: Rows) -> list[RowT]:
        """Returns rows as the driver has returned them, as Structs."""
        row: Any = self.row
        conversions = _conversions(row)
        if not conversions:
            return [row(*columns) for columns in rows]
        found: list[RowT] = []
        for columns in rows:
            values = list(columns)
            for place, convert in conversions:
                if values[place] is not None:
                    values[place] = convert(values[place])
            found.append(row(*values))
        return found

    def statement(self, params: Mapping[str, Any], read: Callable[[Sequence[RowT]], T]) -> Statement[T]:
        """Returns this query with parameters. ``read`` makes the answer out of its rows."""
        return Statement(self, params, read)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


@cache
def _conversions(row: Any) -> list[tuple[int, Callable[[Any], Any]]]:
    """Returns how the columns at some places become what the fields of the row declare."""
    found: list[tuple[int, Callable[[Any], Any]]] = []
    for place, field in enumerate(msgspec.structs.fields(row)):
        kinds = set(get_args(field.type)) or {field.type}
        if datetime in kinds:
            found.append((place, _moment))
        elif float in kinds:
            found.append((place, float))
    return found


class Statement(msgspec.Struct, Generic[T], frozen=True):
    """A query with its parameters and the way to read its rows."""

    query: Query[Any]
    params: Mapping[str, Any]
    read: Callable[[Sequence[Any]], T]

    def answer(self, rows: Rows) -> T:
        """Returns the answer that the rows contain, which are passed as the driver returned them."""
        return self.read(self.query.structs(rows))

    def __repr__(self) -> str:
        # Without the parameters, because no payload may end up in a log.
        return f"Statement({self.query.name})"

    def __iter__(self) -> Requests[T]:
        (answer,) = yield from Batch((self,))
        return answer  # type: ignore[no-any-return]  # the only answer of this only statement


class Batch(msgspec.Struct, frozen=True):
    """Statements that share one round trip; ``yield from`` it returns their answers, in order."""

    statements: Sequence[Statement[Any]]

    @property
    def asked(self) -> Sequence[Statement[Any]]:
        """Every statement that is answered, in the order of the answers."""
        return self.statements

    def __iter__(self) -> Requests[list[Any]]:
        results: Sequence[Rows] = yield self
        return [statement.answer(rows) for statement, rows in zip(self.asked, results, strict=True)]


class Begin(Batch, frozen=True):
    """A batch that opens a transaction. Unless a ``Commit`` follows, the transaction is rolled back."""


class Commit(Batch, frozen=True):
    """The last batch of a transaction, or the whole transaction if none was begun. ``then`` runs after the commit, in
    the same round trip."""

    then: Sequence[Statement[Any]] = ()

    @property
    def asked(self) -> Sequence[Statement[Any]]:
        return [*self.statements, *self.then]


class Compute(msgspec.Struct, Generic[T], frozen=True):
    """A computation that takes long. If there is an event loop, it runs in a thread."""

    function: Callable[[], T]

    def __iter__(self) -> Requests[T]:
        result: T = yield self
        return result


Request: TypeAlias = Batch | Compute[Any]


def nothing(rows: Sequence[object]) -> None:
    """Reads the answer of a statement that is run only for its effect."""


def one(rows: Sequence[RowT]) -> RowT:
    """Reads the answer of a statement that returns exactly one row."""
    (row,) = rows
    return row


def first(rows: Sequence[RowT]) -> RowT | None:
    """Reads the answer of a statement that returns one row or none."""
    return rows[0] if rows else None


class RunId(msgspec.Struct, frozen=True, gc=False):
    """The row of statements that return the runs they are about."""

    run_id: str


def run_ids(rows: Sequence[RunId]) -> list[str]:
    """Reads the answer of such a statement."""
    return [row.run_id for row in rows]
