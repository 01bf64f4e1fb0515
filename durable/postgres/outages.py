"""Tells whether the database, another transaction or the statement is at fault."""

from __future__ import annotations

import psycopg


def is_outage(error: BaseException) -> bool:
    """Returns whether the database is at fault instead of the statement, so that the same statement may well succeed
    later. This includes a serialization failure, a deadlock and a standby."""
    if not isinstance(error, psycopg.Error):
        return isinstance(error, OSError)
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return error.sqlstate[:2] in ("08", "53", "57", "58") or error.sqlstate in ("25006", "40001", "40P01")


def reason_of(error: BaseException) -> str:
    """Returns what the error says, without the details that Postgres adds: they repeat the row, payloads included."""
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return str(error) if primary is None else primary


def is_blocked(error: BaseException) -> bool:
    """Returns whether a statement has waited for a lock for as long as it may. Another transaction holds the lock, for
    an unknown time; the row that the statement concerns is not at fault."""
    return isinstance(error, psycopg.errors.LockNotAvailable)
