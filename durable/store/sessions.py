"""What the server knows about the connections to it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from durable.store.columns import column
from durable.store.operation import operation
from durable.store.statement import Query, Requests, Statement, first, nothing, one


class Backend(msgspec.Struct, frozen=True):
    """One end of a connection as the server sees it. ``since`` changes with every statement."""

    state: str | None
    is_reading: bool | None
    since: str | None


class _ProcessId(msgspec.Struct, frozen=True):
    process_id: int


class _Locked(msgspec.Struct, frozen=True):
    is_locked: bool


class Session(msgspec.Struct, frozen=True):
    """A session as the server sees it. ``is_marked`` is false if the mark could not be had, and behind a pooler.
    ``is_distributed``: the database is that of a Citus cluster."""

    process_id: int
    settings_made: int
    is_marked: bool
    is_distributed: bool


class _Limit(msgspec.Struct, frozen=True):
    lock_timeout: str


class _Terminated(msgspec.Struct, frozen=True):
    is_terminated: bool


_BACKEND_PID = Query("sessions/backend_pid", _ProcessId)
_HOLD_LOCK = Query("sessions/hold_lock", _Locked)
_LIMIT_LOCKS = Query("sessions/limit_locks", _Limit)
_SHARE_LOCK = Query("sessions/share_lock", Session)
_END_SESSIONS = Query("sessions/end_sessions", _Terminated)
_END_BACKEND = Query("sessions/end_backend", _Terminated)
_LOOK_AT_BACKEND = Query("sessions/look_at_backend", Backend)


@operation
def is_pooled(process_id: int) -> Requests[bool]:
    """Returns whether a connection that was told this process id leads to a different one, that is, to a pooler that
    lends out a server connection for each transaction. Nothing that belongs to a session lasts there."""
    backend = yield from _BACKEND_PID.statement({}, one)
    return backend.process_id != process_id


def hold_lock(key: int) -> Statement[bool]:
    """Takes the session lock with that key (63 bits), by which other workers can tell that this one is alive. Answers
    whether it was free."""
    return _HOLD_LOCK.statement({"key": key}, lambda rows: one(rows).is_locked)


def share_lock(key: int, process_id: int, settings: Mapping[str, str]) -> Statement[Session]:
    """Marks a session as belonging to the worker with that key (63 bits), by a lock that its sessions share, and makes
    settings for as long as it lasts. Does nothing behind a transaction pooler, that is, if the session is not the one
    with that process id, which the connection was told."""
    low = (key & 0xFFFFFFFF) - (1 << 32 if key & 0x80000000 else 0)
    return _SHARE_LOCK.statement(
        {
            "high": key >> 32,
            "low": low,
            "process_id": process_id,
            "names": column(list(settings)),
            "values": column(list(settings.values())),
        },
        one,
    )


def limit_locks(seconds: float) -> Statement[None]:
    """Lets no later statement of the transaction wait longer than that for a lock."""
    return _LIMIT_LOCKS.statement({"milliseconds": str(round(seconds * 1000))}, nothing)


def end_sessions(key: int) -> Statement[None]:
    """Ends the sessions of the worker with that key: a worker that hangs may block others with a transaction that it
    has open."""
    return _END_SESSIONS.statement({"key": key}, nothing)


def end_backend(process_id: int) -> Statement[None]:
    """Ends a session."""
    return _END_BACKEND.statement({"pid": process_id}, nothing)


def look_at_backend(process_id: int) -> Statement[Backend | None]:
    """Reads how the server describes a connection; ``None`` if the server no longer has it."""
    return _LOOK_AT_BACKEND.statement({"pid": process_id}, first)
