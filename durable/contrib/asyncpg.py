"""Connections of asyncpg, including those that its pools lend."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from functools import cache
from importlib import import_module
from typing import Any, LiteralString, cast
from uuid import UUID

from durable.core.errors import NotInTransaction
from durable.postgres.transactions import AsyncExecute, Execute
from durable.store.statement import Rows

# asyncpg has no type annotations; what is known about its types is declared in postgres/transactions.py.
_asyncpg: Any = import_module("asyncpg")

_PLACEHOLDER = re.compile(r"%\((?P<name>\w+)\)s(?P<cast>::\w+(?:\[\])?)?|%%")


def sync_execute(_: object) -> Execute | None:
    """Returns ``None``: asyncpg has no sync connections."""
    return None


def async_execute(tx: Any) -> AsyncExecute | None:
    """Returns how to run a statement on a ``Connection``, including one that a pool lends. The
    function raises ``NotInTransaction``."""
    if not isinstance(tx, _asyncpg.Connection | _asyncpg.pool.PoolConnectionProxy):
        return None

    async def execute(sql: LiteralString, params: Mapping[str, Any]) -> Rows:
        if not tx.is_in_transaction():
            raise NotInTransaction("asyncpg.Connection", "`async with connection.transaction():`")
        text, names, cast_names = _translated(sql)
        values = [_text(params[name]) if name in cast_names else params[name] for name in names]
        return [tuple(record) for record in await tx.fetch(text, *values, record_class=_asyncpg.Record)]

    return execute


@cache
def _translated(sql: str) -> tuple[str, tuple[str, ...], frozenset[str]]:
    """Returns the SQL with numbered parameters, their names in that order, and which of them are sent as text.

    The ones sent as text are those that the SQL casts: the server parses them, as with psycopg. asyncpg would encode
    them with the caller's codecs, and if one is set for json, a quoted string would be stored.
    """
    numbers: dict[str, int] = {}
    casts: dict[str, str] = {}
    for match in _PLACEHOLDER.finditer(sql):
        if name := match["name"]:
            numbers.setdefault(name, len(numbers) + 1)
            if match["cast"]:
                casts.setdefault(name, match["cast"])

    def numbered(match: re.Match[str]) -> str:
        name = match["name"]
        if name is None:
            return "%"
        cast = match["cast"] or casts.get(name)
        if cast is None:
            return f"${numbers[name]}"
        return f"${numbers[name]}::text{'[]' if cast.endswith('[]') else ''}{cast}"

    return _PLACEHOLDER.sub(numbered, sql), tuple(numbers), frozenset(casts)


def _text(value: object) -> object:
    """Returns what Postgres reads as that value, whatever type it is cast to."""
    match value:
        case None | str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float() | Decimal() | UUID():
            return str(value)
        case date():
            return value.isoformat()
        case timedelta():
            return f"{value // timedelta(microseconds=1)} microseconds"
        case bytes():
            return f"\\x{value.hex()}"
        case list() | tuple():
            return [_text(item) for item in cast(Sequence[object], value)]
        case _:
            raise TypeError(f"a parameter of type {type(value).__qualname__} cannot be sent by asyncpg")
