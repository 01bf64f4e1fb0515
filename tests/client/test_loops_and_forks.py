"""Clients that outlive an event loop, or the process that made them."""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from durable import AsyncClient, Client, DurableError
from tests.client.colours import finish, rows
from tests.client.workflows import greet


def opened(database: str) -> int:
    return int(rows(database, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'the client'")[0][0])


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Does what `asyncio.run` does, and cancels again what does not end: a task of psycopg's pool can lose a cancel
    that meets it while it takes back a connection, and `asyncio.run` would wait for it forever."""

    async def cleared() -> Any:
        try:
            return await asyncio.wait_for(main, 15)
        finally:
            while others := asyncio.all_tasks() - {asyncio.current_task()}:
                for task in others:
                    task.cancel()
                await asyncio.wait(others, timeout=1)

    return asyncio.run(cleared())


def test_an_async_client_begins_again_in_the_next_event_loop(database: str) -> None:
    client = AsyncClient(make_conninfo(database, application_name="the client"))

    async def use(name: str) -> Any:
        handle = await client.begin(greet, name)
        waiting = asyncio.create_task(handle.result())
        finish(database, handle.run_key.run_id)
        return await waiting

    for number in range(5):
        assert run(use(str(number))) == "done"
        assert opened(database) <= 3  # those of the loops before are closed

    async def close() -> None:
        await client.close()
        with pytest.raises(DurableError, match="closed"):
            await client.begin(greet, "late")

    run(close())


def test_two_event_loops_at_a_time_are_refused_at_once(database: str) -> None:
    client = AsyncClient(database)

    async def in_a_thread() -> None:
        with pytest.raises(DurableError, match="another event loop"):
            await client.begin(greet, "Bob")
        with pytest.raises(DurableError, match="another event loop"):
            await client.handle("greet_0:01920000-0000-7000-8000-000000000000").result()

    async def main() -> None:
        await client.begin(greet, "Ada")
        await asyncio.to_thread(lambda: asyncio.run(in_a_thread()))
        await client.begin(greet, "Cy")
        await client.close()

    run(main())


def test_the_pool_of_a_closed_loop_is_refused_at_once(database: str) -> None:
    pools: list[Any] = []
    clients: list[AsyncClient] = []

    async def first() -> None:
        pools.append(AsyncConnectionPool(database, min_size=1, open=False))
        await pools[0].open()
        clients.append(AsyncClient(pools[0]))
        await clients[0].begin(greet, "Ada")
        await pools[0].close()

    async def second() -> None:
        with pytest.raises(DurableError, match="another event loop"):
            await clients[0].begin(greet, "Bob")

    run(first())
    run(second())


def in_children(count: int, act: Callable[[], str]) -> list[str]:
    """What forked processes return, or how they fail."""
    readers: list[int] = []
    children: list[int] = []
    for _ in range(count):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                said = act()
            except BaseException:
                said = traceback.format_exc()
            os.write(writer, said.encode())
            os._exit(0)
        os.close(writer)
        readers.append(reader)
        children.append(child)
    answers = []
    for reader, child in zip(readers, children, strict=True):
        with open(reader, encoding="utf-8") as answer:
            answers.append(answer.read())
        os.waitpid(child, 0)
    return answers


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_children_of_a_process_that_used_its_client_open_connections_of_their_own(database: str) -> None:
    with Client(database) as client:
        client.begin(greet, "Ada")
        handle = client.begin(greet, "Bob")

        def begin() -> str:
            finish(database, handle.run_key.run_id)
            return f"{handle.result(timeout=10)} {client.begin(greet, 'Cy').run_key}"

        answers = in_children(4, begin)
        assert [answer[:14] for answer in answers] == ["done greet_0:0"] * 4
        assert len(set(answers)) == 4
        for _ in range(20):
            client.begin(greet, "Di")  # the parent's connections are whole
    assert rows(database, "SELECT count(*) FROM durable.runs") == [(2 + 4 + 20,)]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_children_of_a_process_that_used_its_async_client_open_connections_of_their_own(database: str) -> None:
    client = AsyncClient(database)

    async def use() -> str:
        handle = await client.begin(greet, "Ada")
        finish(database, handle.run_key.run_id)
        return f"{await handle.result(timeout=10)} {handle.run_key}"

    async def main() -> None:
        await use()
        answers = in_children(2, lambda: run(use()))
        assert [answer[:14] for answer in answers] == ["done greet_0:0"] * 2
        await use()
        await client.close()

    asyncio.run(asyncio.wait_for(main(), 30))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_pool_that_was_open_before_the_fork_is_refused_in_the_child(database: str) -> None:
    with ConnectionPool(database, min_size=1, open=True) as pool, Client(pool) as client:
        client.begin(greet, "Ada")

        def begin() -> str:
            try:
                client.begin(greet, "Bob")
            except DurableError as error:
                return str(error)
            return "begun"

        (answer,) = in_children(1, begin)
        assert "before the process was forked" in answer
        client.begin(greet, "Cy")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_pool_that_is_opened_after_the_fork_is_used(database: str) -> None:
    pool = ConnectionPool(database, min_size=1, open=False)
    client = Client(pool)

    def begin() -> str:
        with pool:
            return str(client.begin(greet, "Ada").run_key)

    assert [answer[:7] for answer in in_children(2, begin)] == ["greet_0"] * 2
