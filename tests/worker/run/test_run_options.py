"""What a run was given besides its input: seen by its code and its steps, and given on to its children."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from durable import (
    AsyncClient,
    Context,
    Every,
    InvalidArgument,
    RunFailed,
    RunRetryPolicy,
    Worker,
    current_step,
    workflow,
)
from durable.admin.migration import migrate
from tests.watching import rows, until
from tests.worker.flows import process_all

FAR = 3_000_000.0


def headers_in_thread() -> dict[str, str]:
    return current_step().headers


async def headers_of_step() -> dict[str, str]:
    return current_step().headers


async def headers_of_transaction(tx: psycopg.AsyncConnection[Any]) -> dict[str, str]:
    return current_step().headers


@workflow
async def telling(ctx: Context) -> list[dict[str, str]]:
    return [
        ctx.tags,
        ctx.headers,
        await ctx.execute("async", headers_of_step),
        await ctx.execute("thread", headers_in_thread),
        await ctx.transaction("transaction", headers_of_transaction),
    ]


@workflow
async def asking(ctx: Context) -> list[Any]:
    await ctx.sleep("nap", 0.02)
    first = await ctx.run_child("like me", telling)
    second = await ctx.run_child("with more", telling, tags={"b": "c"}, headers={"trace": "2", "new": "x"})
    handle = await ctx.start_child("later", telling, headers={})
    return [ctx.headers, first, second, await handle.result()]


async def test_code_and_every_kind_of_step_see_the_headers_and_children_inherit_them(bare_database: str) -> None:
    migrate(bare_database, shard_count=3)
    async with AsyncClient(bare_database) as client, Worker(bare_database, [asking, telling], max_resident=1):
        handle = await client.begin(asking, tags={"a": "b"}, headers={"trace": "1", "tenant": "t"})
        mine, first, second, third = await handle.result(timeout=20)
    assert mine == {"trace": "1", "tenant": "t"}
    assert first == [{}, *4 * [mine]]
    assert second == [{"b": "c"}, *4 * [{"trace": "2", "tenant": "t", "new": "x"}]]
    assert third == first


async def test_a_run_without_any_sees_none(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [telling]):
        assert await (await client.begin(telling)).result(timeout=20) == 5 * [{}]


async def test_what_code_does_to_its_headers_changes_nothing(database: str) -> None:
    @workflow
    async def changing(ctx: Context) -> dict[str, str]:
        ctx.headers["a"] = "changed"
        ctx.headers.clear()
        return await ctx.execute("async", headers_of_step)

    async with AsyncClient(database) as client, Worker(database, [changing]):
        handle = await client.begin(changing, headers={"a": "b"})
        assert await handle.result(timeout=20) == {"a": "b"}


async def test_a_run_of_a_schedule_sees_the_headers_of_the_schedule(database: str) -> None:
    worker = Worker(database, [telling])
    async with AsyncClient(database) as client:
        await client.schedule(telling, None, "s", Every(FAR), headers={"a": "b"}, tags={"c": "d"})
        run_key = await client.trigger_schedule("s")
        await process_all(worker)
        assert (await client.get_run_output(run_key))[:2] == [{"c": "d"}, {"a": "b"}]


async def test_a_child_begins_with_the_options_that_it_is_given(database: str) -> None:
    @workflow
    async def begetting(ctx: Context) -> None:
        await ctx.start_child("a", telling, priority=7, delay=3600, timeout=timedelta(minutes=1))
        await ctx.start_child("b", telling, at=await ctx.now("now") + timedelta(hours=2))
        await ctx.start_child("c", telling)

    stored = (
        "SELECT status, priority, tags, headers, round(extract(epoch FROM next_wake_at - created_at) / 3600)::int,"
        " deadline_at - next_wake_at FROM durable.runs WHERE parent_run_id IS NOT NULL"
        " ORDER BY next_wake_at NULLS LAST"
    )
    async with AsyncClient(database) as client, Worker(database, [begetting]):
        await (await client.begin(begetting)).result(timeout=20)
        assert await rows(database, stored) == [
            ("sleeping", 7, None, None, 1, timedelta(minutes=1)),
            ("sleeping", 0, None, None, 2, None),
            ("queued", 0, None, None, None, None),
        ]


async def test_a_delayed_child_starts_when_its_time_has_come(database: str) -> None:
    @workflow
    async def waiting(ctx: Context) -> list[Any]:
        return await ctx.run_child("later", telling, delay=0.3, tags={"a": "b"})

    async with AsyncClient(database) as client, Worker(database, [waiting, telling], max_poll_interval=60):
        handle = await client.begin(waiting)
        assert (await handle.result(timeout=20))[0] == {"a": "b"}
    took = await rows(database, "SELECT started_at - created_at >= '0.3 s' FROM durable.runs WHERE tags IS NOT NULL")
    assert took == [(True,)]


async def test_a_child_that_exceeds_its_timeout_is_cancelled_and_fails(database: str) -> None:
    seen: list[str] = []

    @workflow(timeout=FAR)
    async def lasting(ctx: Context) -> None:
        try:
            await ctx.sleep("long", FAR)
        finally:
            seen.append("cleaned up")

    @workflow
    async def impatient(ctx: Context) -> str:
        try:
            await ctx.run_child("c", lasting, timeout=0.2)
        except RunFailed as error:
            seen.append("was told")
            return error.error.type
        return "it ended in time"

    async with AsyncClient(database) as client, Worker(database, [impatient, lasting]):
        assert await (await client.begin(impatient)).result(timeout=20) == "RunTimeout"
    assert seen == ["cleaned up", "was told"]


@pytest.mark.parametrize("bad", [{"headers": {"a": 1}}, {"delay": -1}, {"timeout": 0}, {"priority": 1.5}, {"key": "k"}])
async def test_a_child_with_a_bad_option_is_refused_before_anything_is_stored(
    database: str, bad: dict[str, Any]
) -> None:
    @workflow
    async def careless(ctx: Context) -> str:
        try:
            await ctx.start_child("c", telling, **bad)
        except (InvalidArgument, TypeError) as error:
            return str(error)
        return "it was begun"

    async with AsyncClient(database) as client, Worker(database, [careless]):
        assert next(iter(bad)) in await (await client.begin(careless)).result(timeout=20)
    assert await rows(database, "SELECT count(*) FROM durable.runs") == [(1,)]


async def test_headers_that_are_too_large_with_the_inherited_ones_are_refused(database: str) -> None:
    @workflow
    async def hoarding(ctx: Context) -> str:
        try:
            await ctx.start_child("c", telling, headers={"own": "y" * 5000})
        except InvalidArgument as error:
            return str(error)
        return "it was begun"

    async with AsyncClient(database) as client, Worker(database, [hoarding]):
        handle = await client.begin(hoarding, headers={"a": "x" * 5000})
        refused = await handle.result(timeout=20)
    assert "headers must be" in refused
    assert "bytes with those that are inherited" in refused
    assert "xxx" not in refused


async def test_headers_that_were_written_by_hand_fail_only_the_code_that_reads_them(database: str) -> None:
    @workflow
    async def incurious(ctx: Context) -> str:
        await ctx.start_child("c", telling)
        return "fine"

    async with AsyncClient(database) as client, Worker(database, [incurious, telling]):
        handle = await client.begin(incurious, delay=0.3)
        await rows(database, """UPDATE durable.runs SET headers = '{"a": [1]}', tags = '{"a": 1}' RETURNING 1""")
        assert await handle.result(timeout=20) == "fine"
        failed = "SELECT error ->> 'type', error ->> 'message' FROM durable.runs WHERE status = 'failed'"
        ((kind, message),) = await until(lambda: rows(database, failed))
    assert kind == "DeserializationError"
    assert message.startswith("the headers of the run")


async def test_code_knows_whether_an_attempt_is_the_last(database: str) -> None:
    seen: list[tuple[int, int, bool]] = []

    @workflow(retry=RunRetryPolicy(max_attempts=2, backoff=0))
    async def failing(ctx: Context) -> None:
        seen.append((ctx.attempt, ctx.max_attempts, ctx.is_last_attempt))
        raise ConnectionError

    async with AsyncClient(database) as client, Worker(database, [failing]):
        handle = await client.begin(failing)
        with pytest.raises(RunFailed):
            await handle.result(timeout=20)
        await client.retry_run(handle.run_key)
        await until(lambda: len(seen) == 3)
    assert seen == [(1, 2, False), (2, 2, True), (3, 2, True)]
