"""LISTEN: shortens the wait for what others commit. A notification is only a hint, so every listener also polls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Never

import psycopg
from psycopg import AsyncConnection, sql

from durable.postgres.connection import EngineConnection
from durable.postgres.silence import answering
from durable.store.sessions import is_pooled


class Channels:
    """The channels that a connection listens to. They may change at any time. ``gained`` is called with those that were
    added, once they are listened to."""

    def __init__(self, names: Iterable[str], gained: Callable[[frozenset[str]], None] = lambda _: None) -> None:
        self._wanted = frozenset(names)
        self.changed = asyncio.Event()
        self.gained = gained

    def want(self, names: Iterable[str]) -> None:
        """Listens to these channels from now on, and to no others."""
        self._wanted = frozenset(names)
        self.changed.set()

    def change_from(self, heard: frozenset[str]) -> tuple[frozenset[str], sql.Composed]:
        """Returns what is listened to after the change, and the statements that make it, which take effect together."""
        self.changed.clear()
        wanted = self._wanted
        changes = [sql.SQL("LISTEN {}").format(sql.Identifier(name)) for name in sorted(wanted - heard)]
        changes += [sql.SQL("UNLISTEN {}").format(sql.Identifier(name)) for name in sorted(heard - wanted)]
        return wanted, sql.SQL("; ").join(changes)


async def listen(
    connection: EngineConnection,
    channels: Channels,
    *,
    caught_up: Callable[[], None],
    notified: Callable[[str], None],
    heartbeat: float,
    patience: float,
) -> Never:
    """Listens until cancelled, or until the connection breaks, which raises its error. ``caught_up`` is called once the
    connection is listening, because what was announced before can only be found by asking; ``notified`` is called with
    the payload of each notification. Both are called in the event loop; what they raise ends the listening.

    A connection that brings nothing is asked for a sign of life every ``heartbeat`` seconds, and is hung up unless it
    answers within ``patience`` seconds. Raises ``psycopg.NotSupportedError`` behind a transaction pooler.
    """
    line = connection.psycopg
    if await connection.answer(is_pooled(line.info.backend_pid), patience):
        raise psycopg.NotSupportedError("a transaction pooler does not pass notifications on")
    line.add_notify_handler(lambda notice: notified(notice.payload))  # those that arrive during a statement
    heard, change = channels.change_from(frozenset())
    with answering(line, patience):
        await line.execute(change)
    caught_up()
    while True:
        is_alive = await _brings_something(line, channels.changed, notified, heartbeat)
        before, (heard, change) = heard, channels.change_from(heard)
        if heard != before or not is_alive:
            with answering(line, patience):
                await line.execute(change if heard != before else "SELECT 1")
        if heard - before:
            channels.gained(heard - before)


async def _brings_something(
    line: AsyncConnection[Any], interrupted: asyncio.Event, notified: Callable[[str], None], seconds: float
) -> bool:
    """Passes on for that many seconds, or until interrupted, what arrives. Returns whether it was interrupted or
    anything arrived.

    Reads the socket itself. Every worker of a fleet hears each announcement, and psycopg's generator takes three times
    as long for it, most of that for waiting again.
    """
    loop = asyncio.get_running_loop()
    broken: asyncio.Future[Never] = loop.create_future()
    encoding = line.info.encoding
    is_heard = False

    def read() -> None:
        nonlocal is_heard
        try:
            line.pgconn.consume_input()
            while (notice := line.pgconn.notifies()) is not None:
                is_heard = True
                notified(notice.extra.decode(encoding))
        except Exception as error:
            loop.remove_reader(socket)
            if not broken.done():
                broken.set_exception(error)

    # Not while a statement is executed: psycopg waits for the same socket then.
    socket = line.fileno()
    interruption = loop.create_task(interrupted.wait())
    ends: set[asyncio.Future[Any]] = {broken, interruption}
    loop.add_reader(socket, read)
    try:
        await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        loop.remove_reader(socket)
        interruption.cancel()
    return broken.result() if broken.done() else is_heard or interrupted.is_set()
