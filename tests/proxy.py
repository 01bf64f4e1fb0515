"""A TCP proxy before Postgres that can refuse, cut, silence, delay and half-close connections."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

_COMMIT = b"COMMIT"
_READY = b"Z\x00\x00\x00\x05I"
"""Ready for the next, in no transaction."""


class Proxy:
    """``conninfo`` leads through it, over loopback, to the server of the given one."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        options = conninfo_to_dict(dsn)
        self._host = str(options.get("host") or "localhost")
        self._port = int(str(options.get("port") or 5432))
        self._is_refusing = False
        self._is_silent = False
        self._delay: Callable[[], float] | None = None
        self._rate: int | None = None
        self._lines: set[_Line] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.conninfo = ""
        self.swallowed = 0
        """Bytes that came in and never went out."""
        self.lost_replies = 0
        """Messages that were handed on and executed, and whose answer was not handed on."""
        self._replies_to_lose = 0
        self._answers_to_lose = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.conninfo = make_conninfo(self._dsn, host="127.0.0.1", hostaddr="127.0.0.1", port=port, sslmode="disable")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._lines)

    def refuse(self) -> None:
        """From now on connections are closed as soon as they come."""
        self._is_refusing = True

    def accept(self) -> None:
        """Ends the refusal."""
        self._is_refusing = False

    def cut(self) -> None:
        """Resets every connection there is."""
        for line in set(self._lines):
            line.reset()

    def cut_next_message(self) -> None:
        """Resets every connection there is in the middle of the next thing that the worker says."""
        for line in self._lines:
            line.is_to_be_cut = True

    def silence(self) -> None:
        """From now on nothing comes through, on old and new connections, and nobody is told."""
        self._is_silent = True
        for line in self._lines:
            line.is_silent = True

    def speak(self) -> None:
        """New connections come through. What was silenced stays so: what it swallowed will not come any more."""
        self._is_silent = False

    def forget(self) -> None:
        """Tells the server alone that what was silenced is over, as its keep-alive would."""
        for line in self._lines:
            if line.is_silent:
                line.reset_server()

    def close_half(self, *, to_server: bool) -> None:
        """Ends one direction of every connection there is; the other stays open, and silent."""
        for line in self._lines:
            line.close_half(to_server=to_server)

    def delay(self, mean: float, spread: float = 0.0) -> None:
        """Holds up everything by so many seconds; 0 ends it."""
        self._delay = (lambda: max(0.0, random.uniform(mean - spread, mean + spread))) if mean else None

    def throttle(self, bytes_a_second: int | None) -> None:
        """Lets so much through; ``None``: all."""
        self._rate = bytes_a_second

    def lose_reply_of_commit(self, count: int = 1) -> None:
        """Hands the next commits on, and resets their connections in place of the answer."""
        self._replies_to_lose += count

    def lose_next_answers(self, count: int = 1) -> None:
        """Lets the server do whatever is asked next outside a transaction, and resets the connection in place of the
        answer: what was written by then is durable."""
        self._answers_to_lose += count

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_refusing:
            writer.transport.abort()
            return
        try:
            if self._host.startswith("/"):
                path = os.path.join(self._host, f".s.PGSQL.{self._port}")
                server_reader, server_writer = await asyncio.open_unix_connection(path)
            else:
                server_reader, server_writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.transport.abort()  # as the server does where it is down
            return
        line = _Line(writer, server_writer, is_silent=self._is_silent)
        self._lines.add(line)
        pumps = [
            asyncio.create_task(self._pump(line, reader, server_writer, is_to_server=True)),
            asyncio.create_task(self._pump(line, server_reader, writer, is_to_server=False)),
        ]
        self._tasks.update(pumps)
        await asyncio.wait(pumps)
        self._tasks.difference_update(pumps)
        self._lines.discard(line)
        line.reset()

    async def _pump(
        self, line: _Line, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, is_to_server: bool
    ) -> None:
        try:
            while data := await source.read(65536):
                if line.is_silent:
                    self.swallowed += len(data)
                    continue
                if is_to_server:
                    if line.is_to_be_cut:
                        target.write(data[: len(data) // 2])
                        await target.drain()
                        self.swallowed += len(data) - len(data) // 2
                        line.reset()
                        return
                    if self._replies_to_lose and _COMMIT in data:
                        self._replies_to_lose -= 1
                        line.is_answer_lost = True
                elif line.is_answer_lost:
                    await self._lose_answer(line, source, data)
                    return
                elif data.endswith(_READY):
                    if self._answers_to_lose and line.has_begun:
                        self._answers_to_lose -= 1
                        self._lose(line, data)
                        return
                    line.has_begun = True
                if self._delay is not None:
                    await asyncio.sleep(self._delay())
                await self._hand_on(target, data)
            if not line.is_silent:
                line.reset()
        except OSError:
            line.reset()

    async def _lose_answer(self, line: _Line, source: asyncio.StreamReader, data: bytes) -> None:
        while _COMMIT not in data:  # its command tag: by then it is durable
            more = await source.read(65536)
            if not more:
                break
            data += more
        if _COMMIT in data:
            self._lose(line, data)
        else:
            line.reset()

    def _lose(self, line: _Line, data: bytes) -> None:
        self.lost_replies += 1
        self.swallowed += len(data)
        line.reset()

    async def _hand_on(self, target: asyncio.StreamWriter, data: bytes) -> None:
        while self._rate is not None and data:
            size = max(1, self._rate // 10)
            target.write(data[:size])
            data = data[size:]
            await target.drain()
            await asyncio.sleep(size / self._rate)
        if data:
            target.write(data)
            await target.drain()


class _Line:
    """One connection, from the worker to the server."""

    def __init__(self, worker: asyncio.StreamWriter, server: asyncio.StreamWriter, *, is_silent: bool) -> None:
        self._worker = worker
        self._server = server
        self.is_silent = is_silent
        self.is_to_be_cut = False
        self.is_answer_lost = False
        self.has_begun = False
        """Whether the server has accepted it."""

    def reset(self) -> None:
        self._reset(self._worker, self._server)

    def reset_server(self) -> None:
        self._reset(self._server)

    def _reset(self, *writers: asyncio.StreamWriter) -> None:
        for writer in writers:
            end = writer.get_extra_info("socket")
            if end is not None and end.family != socket.AF_UNIX and not writer.transport.is_closing():
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not an end
            writer.transport.abort()

    def close_half(self, *, to_server: bool) -> None:
        writer = self._server if to_server else self._worker
        self.is_silent = True
        if writer.can_write_eof() and not writer.transport.is_closing():
            with suppress(OSError):  # the far end has just closed all of it
                writer.write_eof()
