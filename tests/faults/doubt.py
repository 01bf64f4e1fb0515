"""Answers that are lost: a statement is executed, its transaction is committed, and then the connection breaks.

The driver is wrapped from outside: its cursors tell which statement of the engine is sent, its transactions and
pipelines tell when all that it belongs to is done. What the engine gets is libpq's own error.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from random import Random
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
from psycopg import AsyncConnection, AsyncCursor

import durable.store.queries
from durable.postgres.silence import hang_up
from durable.store.queries import query_text

_FOLDER = Path(durable.store.queries.__file__).parent
_ALL = frozenset(path.relative_to(_FOLDER).with_suffix("").as_posix() for path in _FOLDER.rglob("*.sql"))
_OF_PRUNE = frozenset(name for name in _ALL if name.startswith("retention/"))
"""Asked by no worker and no client, but by whoever prunes; and he, if the answer was lost, prunes again."""
_OF_KEYS = ("begin_generation", "find_earlier", "find_newest_runs", "put_next")
_NOT_ASKED = frozenset(
    (
        *(
            name
            for name in _ALL
            if name.startswith(("diagnosis/", "publishing/", "requests/", "sequels/", "successors/"))
        ),
        *(f"generations/{name}" for name in _OF_KEYS),
        *(f"events/{name}" for name in ("request_reschedule", "request_resume")),
        *(
            f"flush/{name}"
            for name in (
                "gather_events",
                "record_published",
                "record_replies",
                "requeue_gathering_runs",
                "requeue_paused_runs",
            )
        ),
        *(f"routing/{name}" for name in ("lock_reschedules", "reschedule_runs")),
        "pauses/put_pause",
        "transaction_steps/forget_tries",
    )
)
"""Not covered yet: no run of the workload has a policy for its key, or another that follows its failure, sends events,
takes several at once or answers requests; nobody asks why one stands still, steers it, or pauses its workflow; and no
transaction of it fails by itself."""
STATEMENTS = tuple(sorted(_ALL - _OF_PRUNE - _NOT_ASKED))
_NAMES = {query_text(name, "durable"): name for name in STATEMENTS}

_Connection = AsyncConnection[Any]


class Doubt(msgspec.Struct, frozen=True):
    """How often the answer to each of these statements is lost in one process: at the first time that it is executed,
    and then after up to ``most_between`` others."""

    times: Mapping[str, int]
    seed: int
    most_between: int = 20


@contextmanager
def doubting(doubt: Doubt, note: Callable[[str], object]) -> Generator[None]:
    """Loses answers during the block. ``note`` is called with the statement's name once it is done, before its answer
    is lost."""
    loser = _Loser(doubt, note)
    execute, transaction, pipeline = AsyncCursor.execute, AsyncConnection.transaction, AsyncConnection.pipeline
    AsyncCursor.execute = _executing(execute, loser)  # type: ignore[method-assign]
    AsyncConnection.transaction = _within(transaction, loser)  # type: ignore[method-assign]
    AsyncConnection.pipeline = _within(pipeline, loser)  # type: ignore[method-assign]
    try:
        yield
    finally:
        AsyncCursor.execute = execute  # type: ignore[method-assign]
        AsyncConnection.transaction = transaction  # type: ignore[method-assign]
        AsyncConnection.pipeline = pipeline  # type: ignore[method-assign]


class _Loser:
    """``depth``: of the transactions and pipelines open on a connection. ``doomed``: whose answer it is to lose."""

    def __init__(self, doubt: Doubt, note: Callable[[str], object]) -> None:
        self._left = dict(doubt.times)
        self._between = dict.fromkeys(doubt.times, 0)
        self._most_between = doubt.most_between
        self._random = Random(doubt.seed)
        self._note = note
        self._depth: WeakKeyDictionary[_Connection, int] = WeakKeyDictionary()
        self._doomed: WeakKeyDictionary[_Connection, str] = WeakKeyDictionary()

    def executed(self, connection: _Connection, statement: object) -> None:
        name = _NAMES.get(statement) if isinstance(statement, str) else None
        if name is None or not self._left.get(name) or connection in self._doomed:
            return
        if self._between[name]:
            self._between[name] -= 1
            return
        self._doomed[connection] = name
        self._done(connection)

    def entered(self, connection: _Connection) -> None:
        self._depth[connection] = self._depth.get(connection, 0) + 1

    def left(self, connection: _Connection, *, is_well: bool) -> None:
        self._depth[connection] -= 1
        if is_well:
            self._done(connection)
        else:
            self._doomed.pop(connection, None)

    def _done(self, connection: _Connection) -> None:
        if self._depth.get(connection) or connection not in self._doomed:
            return
        name = self._doomed.pop(connection)
        self._left[name] -= 1
        self._between[name] = self._random.randint(0, self._most_between)
        self._note(name)
        hang_up(connection)
        while True:
            connection.pgconn.consume_input()  # until libpq finds that the line is dead, and raises


def _executing(original: Callable[..., Any], loser: _Loser) -> Callable[..., Any]:
    async def execute(cursor: AsyncCursor[Any], statement: object, *args: Any, **options: Any) -> Any:
        result = await original(cursor, statement, *args, **options)
        loser.executed(cursor.connection, statement)
        return result

    return execute


def _within(original: Callable[..., Any], loser: _Loser) -> Callable[..., Any]:
    @asynccontextmanager
    async def within(connection: _Connection, *args: Any, **options: Any) -> AsyncGenerator[Any]:
        loser.entered(connection)
        try:
            async with original(connection, *args, **options) as inner:
                yield inner
        except BaseException:
            loser.left(connection, is_well=False)
            raise
        loser.left(connection, is_well=True)

    return within
