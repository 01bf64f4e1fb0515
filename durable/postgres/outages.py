"""Whether the database or the statement is at fault."""

from __future__ import annotations

import psycopg


def is_outage(error: BaseException) -> bool:
    """Whether the database, not the statement, is at fault: the same statement may well succeed later. So may one that
    met a serialization failure, a deadlock or a standby."""
    if not isinstance(error, psycopg.Error):
        return isinstance(error, OSError)
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return error.sqlstate[:2] in ("08", "53", "57", "58") or error.sqlstate in ("25006", "40001", "40P01")
