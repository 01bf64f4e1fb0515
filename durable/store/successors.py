"""What happens once a run with a key has ended: runs that follow it start, and what it has not read goes to another.

Everything is decided under the lock of the run that has ended, by statements that see what was committed before the
lock was taken. Entries that are committed later are unrouted, and so bring a worker here once more.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import datetime

import msgspec

from durable.core.codec.json_codec import Codec
from durable.core.generations import Bequest, Follower, read_next
from durable.core.keyed_ids import keyed_run_id
from durable.store.channels import announce_runs
from durable.store.columns import column
from durable.store.events import load_events
from durable.store.moved_payloads import moved_bequest, replace_payloads
from durable.store.operation import operation
from durable.store.routing import MAX_SEEN
from durable.store.sessions import limit_locks
from durable.store.statement import Batch, Begin, Commit, NoRow, Query, Requests, RunId, Statement, nothing, run_ids

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Predecessor(msgspec.Struct, frozen=True):
    """A run that has ended, with something left to happen then; locked. ``key`` is ``None`` if somebody wrote that into
    the inbox of a run without a key. ``is_for_events``: it was begun for events that the run before it had not read."""

    run_id: str
    workflow_name: str
    key: str | None
    generation: int
    is_for_events: bool
    priority: int
    tags: str | None
    headers: str | None

    @property
    def successor_id(self) -> str | None:
        """The id of the next run of its key."""
        if self.key is None:
            return None
        return keyed_run_id(self.workflow_name, self.key, self.generation + 1)


class Next(msgspec.Struct, frozen=True):
    """An entry that says what is to happen, about the run or event whose id is its name. ``is_unread``: that event is
    in the inbox of the run that has ended. ``is_moved``: the entry was moved there from an earlier run. ``has_read``:
    the run has read any event."""

    run_id: str
    event_id: str
    name: str
    payload: str
    created_at: datetime
    is_unread: bool
    is_moved: bool
    has_read: bool


class _RunRow(msgspec.Struct, frozen=True):
    run_id: str
    follows: str | None
    created_at: datetime


class SuccessorsRefused(Exception):
    """What was to happen after the ends of these runs could not be written. ``error`` is what the database said; the
    transaction was rolled back."""

    def __init__(self, run_ids: Sequence[str], error: Exception) -> None:
        super().__init__(run_ids, error)
        self.run_ids = run_ids
        self.error = error


class Succeeded(msgspec.Struct, frozen=True):
    """What was done: the ids of the runs that have started or were begun, and those that left events unread which no
    run will read."""

    started: tuple[str, ...] = ()
    futile: tuple[str, ...] = ()
    is_any: bool = False


class _Plan(msgspec.Struct):
    """What will be written."""

    closed: list[Next] = []
    followers: list[tuple[str, Follower, datetime | None]] = []
    successors: list[tuple[Predecessor, str, Bequest, datetime | None]] = []
    moves: list[tuple[str, str]] = []
    moved: list[Next] = []
    futile: list[str] = []


_LOCK_ENDED = Query("successors/lock_ended", Predecessor)
_LOAD_NEXT = Query("successors/load_next", Next)
_FIND_RUNS = Query("successors/find_runs", _RunRow)
_LOCK_FOLLOWERS = Query("successors/lock_followers", RunId)
_START_FOLLOWERS = Query("successors/start_followers", RunId)
_BEGIN_SUCCESSORS = Query("successors/begin_successors", NoRow)
_CLOSE_NEXT = Query("successors/close_next", NoRow)
_MOVE_EVENTS = Query("successors/move_events", NoRow)
_REOPEN_NEXT = Query("successors/reopen_next", RunId)


@operation
def succeed(
    shard_value: str, limit: int, *, left_out: Sequence[str] = (), lock_seconds: float, codec: Codec | None = None
) -> Requests[Succeeded]:
    """Lets happen what is to happen after the ends of up to ``limit`` runs, but not of those in ``left_out``.

    An insert waits for a client that has begun the same generation and not committed yet, at most ``lock_seconds``.
    ``codec`` is that of the workflow if it binds what it writes to the run that it is for.
    """
    ended: list[Predecessor]
    _, ended = yield from Begin([limit_locks(lock_seconds), lock_ended(shard_value, limit, left_out)])
    by_id = {run.run_id: run for run in ended}
    (rows,) = yield from Batch([load_next(shard_value, list(by_id))])
    names = [row.name for row in rows if _UUID.fullmatch(row.name)]
    wanted = [*names, *(run.successor_id for run in ended if run.successor_id is not None)]
    known: dict[str, _RunRow]
    known, locked = yield from Batch([_find_runs(shard_value, wanted), _lock_followers(shard_value, names)])
    plan = _planned(by_id, rows, known, set(locked))
    replaced: list[Statement[None]] = []
    if codec is not None and plan.moves:
        successors = dict(plan.moves)
        (events,) = yield from Batch([load_events(shard_value, list(successors))])
        plan.successors = [
            (run, run_id, moved_bequest(codec, bequest, run.run_id, run_id), wake_at)
            for run, run_id, bequest, wake_at in plan.successors
        ]
        entries = [(row.run_id, row.event_id, row.payload) for row in rows]
        replaced = [replace_payloads(shard_value, codec, successors, events, entries)]
    started = (*(run_id for run_id, _, _ in plan.followers), *(run_id for _, run_id, _, _ in plan.successors))
    try:
        yield from Commit(
            [*_writes(shard_value, plan), *replaced], then=[announce_runs(shard_value)] if started else ()
        )
    except Exception as error:
        raise SuccessorsRefused([run.run_id for run, _, _, _ in plan.successors], error) from error
    return Succeeded(started, tuple(plan.futile), is_any=bool(plan.closed or plan.moves))


def _planned(ended: dict[str, Predecessor], rows: Sequence[Next], known: dict[str, _RunRow], locked: set[str]) -> _Plan:
    plan = _Plan([], [], [], [], [], [])
    waiting: set[str] = set()
    unread: dict[str, list[tuple[Next, Bequest]]] = {}
    for row in rows:
        told = read_next(row.payload)
        follower = known.get(row.name)
        if follower is not None and follower.follows == row.run_id:
            if row.name not in locked:
                waiting.add(row.run_id)  # somebody has locked it
                continue
            start = told if isinstance(told, Follower) else Follower()
            plan.followers.append((row.name, start, start.wake_at(follower.created_at)))
            locked.discard(row.name)
        elif isinstance(told, Bequest) and row.is_unread:
            unread.setdefault(row.run_id, []).append((row, told))
            continue
        plan.closed.append(row)
    for run_id, left in unread.items():
        if run_id not in waiting:
            _plan_successor(plan, ended[run_id], left, known)
    return plan


def _plan_successor(
    plan: _Plan, run: Predecessor, left: Sequence[tuple[Next, Bequest]], known: Collection[str]
) -> None:
    successor_id = run.successor_id
    if successor_id is not None and successor_id not in known:
        wanted = [(row, bequest) for row, bequest in left if not _is_futile(run, row, bequest)]
        if wanted:
            row, bequest = wanted[0]
            plan.successors.append((run, successor_id, bequest, bequest.wake_at(row.created_at)))
        else:
            successor_id = None
            plan.futile.append(run.run_id)
    if successor_id is None:
        plan.closed.extend(row for row, _ in left)
    else:
        plan.moves.append((run.run_id, successor_id))
        plan.moved.extend(row for row, _ in left)


def _is_futile(run: Predecessor, row: Next, bequest: Bequest) -> bool:
    """Returns whether one more run would be no more likely to read the event: this one was begun for it, and has read
    nothing at all. Otherwise, a workflow that fails at once would be begun again and again without end."""
    return not row.has_read and (bequest.is_own or (row.is_moved and run.is_for_events))


def _writes(shard_value: str, plan: _Plan) -> list[Statement[None]]:
    followers, successors = plan.followers, plan.successors
    return [
        _START_FOLLOWERS.statement(
            {
                "shard_value": shard_value,
                "run_ids": column([run_id for run_id, _, _ in followers]),
                "wakes": column([wake_at for _, _, wake_at in followers]),
                "timeouts": column([follower.timeout for _, follower, _ in followers]),
            },
            nothing,
        ),
        _BEGIN_SUCCESSORS.statement(
            {
                "shard_value": shard_value,
                "run_ids": column([run_id for _, run_id, _, _ in successors]),
                "workflow_names": column([run.workflow_name for run, _, _, _ in successors]),
                "versions": column([bequest.version for _, _, bequest, _ in successors]),
                "priorities": column([run.priority for run, _, _, _ in successors]),
                "wakes": column([wake_at for _, _, _, wake_at in successors]),
                "timeouts": column([bequest.timeout for _, _, bequest, _ in successors]),
                "keys": column([run.key for run, _, _, _ in successors]),
                "tags": column([run.tags for run, _, _, _ in successors]),
                "headers": column([run.headers for run, _, _, _ in successors]),
                "inputs": column([bytes(bequest.input).decode() for _, _, bequest, _ in successors]),
                "generations": column([run.generation + 1 for run, _, _, _ in successors]),
            },
            nothing,
        ),
        _CLOSE_NEXT.statement(
            {
                "shard_value": shard_value,
                "run_ids": column([row.run_id for row in plan.closed]),
                "event_ids": column([row.event_id for row in plan.closed]),
            },
            nothing,
        ),
        _MOVE_EVENTS.statement(
            {
                "shard_value": shard_value,
                "run_ids": column([run_id for run_id, _ in plan.moves]),
                "successor_ids": column([successor_id for _, successor_id in plan.moves]),
                "next_ids": column([row.event_id for row in plan.moved]),
            },
            nothing,
        ),
    ]


def lock_ended(shard_value: str, limit: int, left_out: Sequence[str] = ()) -> Statement[list[Predecessor]]:
    """The first statement of ``succeed``."""
    params = {"shard_value": shard_value, "limit": limit, "seen": MAX_SEEN, "left_out": column(left_out)}
    return _LOCK_ENDED.statement(params, list)


def load_next(shard_value: str, ended: Sequence[str]) -> Statement[list[Next]]:
    """Reads what is to happen after the ends of these runs, oldest first."""
    return _LOAD_NEXT.statement({"shard_value": shard_value, "run_ids": column(ended)}, list)


def _find_runs(shard_value: str, runs: Sequence[str]) -> Statement[dict[str, _RunRow]]:
    params = {"shard_value": shard_value, "run_ids": column(runs)}
    return _FIND_RUNS.statement(params, lambda rows: {row.run_id: row for row in rows})


def _lock_followers(shard_value: str, runs: Sequence[str]) -> Statement[list[str]]:
    return _LOCK_FOLLOWERS.statement({"shard_value": shard_value, "run_ids": column(runs)}, run_ids)


def reopen_next(shard_value: str, ended: Sequence[str]) -> Statement[list[str]]:
    """Has a worker look at what is to happen after the ends of these runs; belongs into the transaction that ends them.
    Answers for which of them there is anything."""
    return _REOPEN_NEXT.statement({"shard_value": shard_value, "run_ids": column(ended)}, run_ids)
