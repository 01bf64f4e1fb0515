"""A TCP proxy before Postgres that can refuse and cut connections."""

from __future__ import annotations

import asyncio
import os
from typing import Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo


class Proxy:
    """``conninfo`` leads through it, over loopback, to the server of the given one."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        options = conninfo_to_dict(dsn)
        self._host = str(options.get("host") or "localhost")
        self._port = int(str(options.get("port") or 5432))
        self._is_refusing = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.conninfo = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.conninfo = make_conninfo(self._dsn, host="127.0.0.1", hostaddr="127.0.0.1", port=port, sslmode="disable")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def refuse(self) -> None:
        """From now on connections are closed as soon as they come."""
        self._is_refusing = True

    def accept(self) -> None:
        """Ends the refusal."""
        self._is_refusing = False

    def cut(self) -> None:
        """Resets every connection there is."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_refusing:
            writer.transport.abort()
            return
        if self._host.startswith("/"):
            path = os.path.join(self._host, f".s.PGSQL.{self._port}")
            server_reader, server_writer = await asyncio.open_unix_connection(path)
        else:
            server_reader, server_writer = await asyncio.open_connection(self._host, self._port)
        self._writers |= {writer, server_writer}
        for source, target in ((reader, server_writer), (server_reader, writer)):
            task = asyncio.create_task(_pump(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    except OSError:
        pass  # cut
    finally:
        target.transport.abort()
