"""What begins when a run has failed: exactly one run for each end, in the transaction that ends it."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import msgspec
import psycopg
import pytest

from durable import (
    AsyncClient,
    AsyncHandle,
    Context,
    FailedRun,
    InvalidArgument,
    JsonCodec,
    OnFailure,
    RunFailed,
    RunKey,
    RunRetryPolicy,
    Worker,
    workflow,
)
from durable.admin.migration import migrate
from durable.postgres.pipeline import run
from durable.store.claims import claim_runs, claim_suspects
from durable.store.takeovers import take_over
from durable.worker import takeover as takeover_module
from durable.worker.sequels import Sequels
from tests.watching import reached, rows, until
from tests.worker.flows import process_all

SEQUELS = (
    "SELECT input -> 'run_key' ->> 'run_id', input ->> 'status', input -> 'error' ->> 'type' FROM durable.runs"
    " WHERE workflow_name = 'apologize' ORDER BY created_at, run_id"
)


class Order(msgspec.Struct):
    number: int


@workflow(timeout=3600, version=4)
async def apologize(ctx: Context, failed: FailedRun[Order]) -> tuple[FailedRun[Order], dict[str, str], dict[str, str]]:
    return failed, ctx.tags, ctx.headers


@workflow(on_failure=apologize)
async def ship(ctx: Context, order: Order) -> int:
    if order.number < 0:
        raise ConnectionError("no ship")
    if order.number == 0:
        await ctx.wait_for_event("wait", "never")
    return order.number


@workflow(on_failure=OnFailure(apologize, cancelled=True))
async def guarded(ctx: Context, order: Order) -> None:
    if order.number < 0:
        raise ConnectionError("no guard")
    await ctx.wait_for_event("wait", "never")


async def sequels(dsn: str) -> list[tuple[Any, ...]]:
    return await rows(dsn, SEQUELS)


async def test_it_is_told_which_run_failed_with_what_and_inherits_tags_and_headers(bare_database: str) -> None:
    migrate(bare_database, shard_count=3)
    async with AsyncClient(bare_database) as client, Worker(bare_database, [ship, apologize]):
        handle = await client.begin(ship, Order(-1), tags={"a": "b"}, headers={"c": "d"}, key="k", priority=3)
        with pytest.raises(RunFailed):
            await handle.result(timeout=20)
        # It was begun in the same transaction.
        begun = await rows(
            bare_database,
            "SELECT workflow_name_shard, run_id::text, version, key, parent_run_id, deadline_at - created_at = '1 h'"
            " FROM durable.runs WHERE workflow_name = 'apologize'",
        )
        ((shard, run_id, *rest),) = begun
        told = client.handle(RunKey(shard, run_id), apologize)
        failed, tags, headers = await told.result(timeout=20)
    assert rest == [4, None, None, True]
    assert (failed.run_key, failed.workflow_name, failed.status, failed.input) == (
        handle.run_key,
        "ship",
        "failed",
        Order(-1),
    )
    assert (failed.error.type, failed.error.message) == ("ConnectionError", "no ship")
    assert "no ship" in (failed.error.traceback or "")
    assert (tags, headers) == ({"a": "b"}, {"c": "d"})


async def test_a_run_that_succeeds_or_is_cancelled_has_no_sequel_unless_that_was_asked_for(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [ship]):
        assert await (await client.begin(ship, Order(1))).result(timeout=20) == 1
        waiting = await client.begin(ship, Order(0))
        await reached(client, waiting.run_key, "waiting_event")
        await waiting.cancel()
        await reached(client, waiting.run_key, "cancelled")
        early = await client.begin(ship, Order(0), delay=3600)
        await early.terminate()
        await reached(client, early.run_key, "cancelled")
    assert await sequels(database) == []


@pytest.mark.parametrize("how", ["cancel", "terminate"])
@pytest.mark.parametrize("when", ["asleep from the beginning", "parked", "executing"])
async def test_with_cancelled_it_begins_when_the_run_was_cancelled_at_any_time(
    database: str, how: str, when: str
) -> None:
    started = asyncio.Event()

    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    @workflow(on_failure=OnFailure(apologize, cancelled=True))
    async def hanging(ctx: Context, order: Order) -> None:
        await ctx.execute("hang", hang)

    async with AsyncClient(database) as client, Worker(database, [guarded, hanging, apologize]):
        handle: AsyncHandle[None]
        match when:
            case "executing":
                handle = await client.begin(hanging, Order(7))
                await asyncio.wait_for(started.wait(), 20)
            case "parked":
                handle = await client.begin(guarded, Order(7))
                await reached(client, handle.run_key, "waiting_event")
            case _:
                handle = await client.begin(guarded, Order(7), delay=3600)
        await (handle.cancel("enough") if how == "cancel" else handle.terminate("enough"))
        await reached(client, handle.run_key, "cancelled")
        assert await sequels(database) == [(handle.run_key.run_id, "cancelled", "RunCancelled")]
        ((text,),) = await until(
            lambda: rows(
                database,
                "SELECT output::text FROM durable.runs WHERE workflow_name = 'apologize' AND status = 'completed'",
            )
        )
    failed = msgspec.json.decode(text)[0]
    assert (failed["input"], failed["error"]["message"]) == ({"number": 7}, "enough")


async def test_a_deadline_counts_as_a_failure(database: str) -> None:
    @workflow(on_failure=apologize, timeout=0.2)
    async def slow(ctx: Context, order: Order) -> None:
        await ctx.wait_for_event("wait", "never")

    async with AsyncClient(database) as client, Worker(database, [slow]):
        handle = await client.begin(slow, Order(1))
        with pytest.raises(RunFailed):
            await handle.result(timeout=20)
    assert await sequels(database) == [(handle.run_key.run_id, "failed", "RunTimeout")]


async def test_what_a_run_cannot_record_counts_as_a_failure(database: str) -> None:
    class Broken(JsonCodec):
        def encode(self, value: object, what: str) -> str:
            return "no JSON" if value == "broken" else super().encode(value, what)

    async def broken() -> Any:
        return "broken"

    @workflow(on_failure=apologize)
    async def writing(ctx: Context, order: Order) -> None:
        await ctx.execute("broken", broken)

    async with AsyncClient(database) as client, Worker(database, [writing], codec=Broken()):
        handle = await client.begin(writing, Order(1))
        with pytest.raises(RunFailed):
            await handle.result(timeout=20)
    assert await sequels(database) == [(handle.run_key.run_id, "failed", "InvalidTextRepresentation")]


async def test_only_the_last_attempt_has_a_sequel_and_each_retry_by_hand_has_one_more(database: str) -> None:
    @workflow(on_failure=apologize, retry=RunRetryPolicy(max_attempts=3, backoff=0))
    async def failing(ctx: Context, order: Order) -> None:
        raise ConnectionError

    async with AsyncClient(database) as client, Worker(database, [failing]):
        handle = await client.begin(failing, Order(1))
        with pytest.raises(RunFailed):
            await handle.result(timeout=20)
        told = (handle.run_key.run_id, "failed", "ConnectionError")
        assert await sequels(database) == [told]
        await client.retry_run(handle.run_key)
        await until(lambda: has(database, [told, told]))


async def has(dsn: str, expected: list[tuple[Any, ...]]) -> bool:
    return await sequels(dsn) == expected


async def test_a_run_that_never_started_and_is_cancelled_twice_has_two(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [guarded], max_poll_interval=0.1):
        handle = await client.begin(guarded, Order(1), delay=3600)
        await handle.cancel()
        await reached(client, handle.run_key, "cancelled")
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
            # Retried, and cancelled again before any worker has claimed it.
            await connection.execute(
                "UPDATE durable.runs SET status = 'sleeping', next_wake_at = now() + interval '1 h',"
                " completed_at = NULL WHERE run_id = %s",
                (handle.run_key.run_id,),
            )
        await handle.cancel()
        await until(lambda: has(database, 2 * [(handle.run_key.run_id, "cancelled", "RunCancelled")]))


async def crash(dsn: str, shard_value: str, handler: Sequels, *, times: int, max_strikes: int) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        for number in range(times):  # two workers claim it and die with it, then others that try it alone
            worker_id = str(uuid.uuid4())
            claim = claim_suspects(shard_value, worker_id, 10, "alone") if number >= 2 else None
            await run(connection, "durable", claim or claim_runs(shard_value, worker_id, 10))
            await run(
                connection,
                "durable",
                take_over(
                    shard_value,
                    worker_id,
                    10,
                    max_strikes=max_strikes,
                    sequel_of=handler.after_failure(shard_value),
                ),
            )
            await connection.execute("UPDATE durable.runs SET next_wake_at = now() WHERE status = 'sleeping'")


async def test_a_crash_loop_counts_as_a_failure(database: str) -> None:
    handler = Sequels([ship], JsonCodec(), lambda: 1)
    async with AsyncClient(database) as client:
        handle = await client.begin(ship, Order(0))
        await crash(database, "ship_0", handler, times=4, max_strikes=3)
        assert await sequels(database) == []
        await crash(database, "ship_0", handler, times=3, max_strikes=3)
    assert await sequels(database) == [(handle.run_key.run_id, "failed", "CrashLoop")]


async def test_a_crash_loop_counted_by_a_worker_without_the_workflow_ends_at_the_next_claim(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @workflow
    async def unrelated(ctx: Context) -> None: ...

    monkeypatch.setattr(takeover_module, "_ORPHANS_SECONDS", 0.2)
    dead = str(uuid.uuid4())
    async with AsyncClient(database) as client:
        handle = await client.begin(ship, Order(0))
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
            await run(connection, "durable", claim_runs("ship_0", dead, 10))
            await connection.execute(
                "UPDATE durable.runs SET strikes = 6, lone_strikes = 4, isolation = 'trial', memos_at_takeover = 5"
            )
            await connection.execute(
                "INSERT INTO durable.workers"
                " (worker_id, lock_key, hostname, process_id, workflows, lease, heartbeat_at)"
                " VALUES (%s, 1, 'gone', 1, '{ship}', 1, now() - interval '1 hour')",
                (dead,),
            )
        async with Worker(database, [unrelated], lease=0.6):
            await reached(client, handle.run_key, "sleeping")
        assert await sequels(database) == []
        await rows(database, "UPDATE durable.runs SET next_wake_at = now() RETURNING 1")
        async with Worker(database, [ship]):
            with pytest.raises(RunFailed, match="CrashLoop"):
                await handle.result(timeout=20)
    assert await sequels(database) == [(handle.run_key.run_id, "failed", "CrashLoop")]


async def test_a_child_that_fails_has_its_sequel_and_tells_its_parent(database: str) -> None:
    @workflow
    async def parent(ctx: Context) -> str:
        try:
            await ctx.run_child("c", ship, Order(-1), headers={"a": "b"})
        except RunFailed as error:
            return error.error.type
        return "it was shipped"

    async with AsyncClient(database) as client, Worker(database, [parent, ship, apologize]):
        assert await (await client.begin(parent)).result(timeout=20) == "ConnectionError"
        (told,) = await sequels(database)
        assert told[1:] == ("failed", "ConnectionError")
    assert await rows(database, "SELECT headers FROM durable.runs WHERE workflow_name = 'apologize'") == [({"a": "b"},)]


class Reversed(JsonCodec):
    def encode(self, value: object, what: str) -> str:
        return super().encode(super().encode(value, what)[::-1], what)

    def decode(self, text: str, type: Any, what: str) -> Any:
        return super().decode(super().decode(text, str, what)[::-1], type, what)


async def test_the_input_is_decoded_and_encoded_by_the_codecs_of_the_two_workflows(database: str) -> None:
    @workflow(codec=Reversed())
    async def told(ctx: Context, failed: FailedRun[Order]) -> int:
        assert failed.input is not None
        return failed.input.number

    @workflow(codec=Reversed(), on_failure=told)
    async def secret(ctx: Context, order: Order) -> None:
        raise ConnectionError

    async with AsyncClient(database) as client, Worker(database, [secret, told]):
        await client.begin(secret, Order(12345))
        found = (
            "SELECT input::text, output::text FROM durable.runs WHERE workflow_name = 'told' AND status = 'completed'"
        )
        ((input, output),) = await until(lambda: rows(database, found))
    assert "12345" not in input
    assert output == '"54321"'


@pytest.mark.parametrize("why", ["of another type", "too large", "refused by the codec"])
async def test_an_input_that_cannot_be_passed_on_is_left_out(database: str, why: str) -> None:
    class Picky(JsonCodec):
        def encode(self, value: object, what: str) -> str:
            if isinstance(value, FailedRun) and why == "refused by the codec":
                raise ZeroDivisionError
            return super().encode(value, what)

    @workflow
    async def told(ctx: Context, failed: FailedRun[Order]) -> bool:
        return failed.input is None

    @workflow(on_failure=told)
    async def failing(ctx: Context, text: str) -> None:
        raise ConnectionError

    async with AsyncClient(database) as client, Worker(database, [failing, told], codec=Picky()):
        await client.begin(failing, "x" * (1024 * 1024 - 2) if why == "too large" else "x")
        found = "SELECT output::text FROM durable.runs WHERE workflow_name = 'told' AND status = 'completed'"
        assert await until(lambda: rows(database, found)) == [("true",)]


async def test_a_worker_that_dies_after_the_end_has_begun_it_all_the_same(database: str) -> None:
    worker = Worker(database, [ship])
    async with AsyncClient(database) as client:
        await client.begin(ship, Order(-1))
        await process_all(worker)
        assert len(await sequels(database)) == 1
        assert await process_all(Worker(database, [apologize])) == 1


async def takes_a_text(ctx: Context, text: str) -> None: ...


async def takes_nothing(ctx: Context) -> None: ...


def test_what_cannot_take_a_failed_run_is_refused() -> None:
    for bad in (takes_a_text, takes_nothing):
        with pytest.raises(InvalidArgument, match="on_failure must be a workflow whose input is declared as FailedRun"):
            workflow(on_failure=workflow(bad))(ship.function)  # type: ignore[type-var]
    with pytest.raises(InvalidArgument, match="on_failure must be a workflow"):
        workflow(on_failure=takes_a_text)(ship.function)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="cancelled must be True or False"):
        OnFailure(apologize, cancelled="yes")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="a workflow with a codec"):
        workflow(codec=JsonCodec(), on_failure=apologize)(ship.function)
