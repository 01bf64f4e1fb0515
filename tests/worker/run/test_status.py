"""What a run says of itself while it runs: ``ctx.set_status``."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import msgspec
import psycopg
import pytest

from durable import (
    AsyncClient,
    Client,
    Context,
    JsonCodec,
    RunCancelled,
    RunFailed,
    RunRetryPolicy,
    SerializationError,
    Worker,
    WorkflowCodeError,
    workflow,
)
from durable.core.replay.commands import SetStatus
from durable.core.replay.history import History, Memo, OpenWait, Value
from tests.laws.programs import Main, machine_of
from tests.watching import reached, rows, until
from tests.worker.processes import WorkerProcess, prepare, telling
from tests.worker.processes import until as until_sync

WRITES = """
    CREATE TABLE written (detail text);
    CREATE FUNCTION write_down() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
    $$ BEGIN INSERT INTO public.written VALUES (NEW.status_detail); RETURN NULL; END $$;
    CREATE TRIGGER write_down AFTER UPDATE OF status_detail ON durable.runs
        FOR EACH ROW EXECUTE FUNCTION write_down()"""


class Progress(msgspec.Struct):
    done: int
    of: int


async def nothing() -> None: ...


async def test_the_last_status_is_seen_while_the_run_waits_and_after_its_end(database: str) -> None:
    @workflow
    async def telling(ctx: Context) -> None:
        ctx.set_status("begun")
        ctx.set_status(Progress(1, 2))
        await ctx.wait_for_event("wait", "go")
        ctx.set_status({"done": 2})

    async with AsyncClient(database) as client, Worker(database, [telling]):
        handle = await client.begin(telling)
        assert (await handle.info()).detail is None
        await reached(client, handle.run_key, "waiting_event")
        assert (await handle.info()).detail == {"done": 1, "of": 2}
        await handle.publish_event("go")
        await handle.result(timeout=20)
        assert (await handle.info()).detail == {"done": 2}
        assert (await client.get_run_info(handle.run_key)).detail == {"done": 2}


async def test_it_is_seen_while_a_step_that_follows_is_executed(database: str) -> None:
    gate, entered = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        entered.set()
        await gate.wait()

    @workflow
    async def telling(ctx: Context) -> None:
        ctx.set_status("slow")
        await ctx.execute("slow", slow)

    async with AsyncClient(database) as client, Worker(database, [telling]):
        handle = await client.begin(telling)
        await entered.wait()
        assert (await handle.info()).detail == "slow"
        gate.set()
        await handle.result(timeout=20)


@pytest.mark.parametrize("end", ["failed", "cancelled", "retried"])
async def test_it_survives_every_end_and_a_retry(database: str, end: str) -> None:
    @workflow(retry=RunRetryPolicy(max_attempts=2 if end == "retried" else 1, backoff=3600))
    async def telling(ctx: Context) -> None:
        if ctx.attempt == 1:
            ctx.set_status("so far")
        if end == "cancelled":
            await ctx.wait_for_event("wait", "go")
        raise ValueError("no")

    async with AsyncClient(database) as client, Worker(database, [telling]):
        handle = await client.begin(telling)
        if end == "cancelled":
            await reached(client, handle.run_key, "waiting_event")
            await handle.cancel()
            with pytest.raises(RunCancelled):
                await handle.result(timeout=20)
        elif end == "failed":
            with pytest.raises(RunFailed):
                await handle.result(timeout=20)
        else:
            await reached(client, handle.run_key, "sleeping")
        assert (await handle.info()).detail == "so far"


async def test_a_replay_writes_nothing_again(database: str) -> None:
    await rows(database, WRITES)

    @workflow
    async def telling(ctx: Context) -> None:
        for number in range(3):
            ctx.set_status(number)
            await ctx.execute(f"step {number}", nothing)
            await ctx.wait_for_event(f"wait {number}", "go")

    async with AsyncClient(database) as client:
        handle = await client.begin(telling)
        for number in range(3):
            async with Worker(database, [telling]):  # each replays all that was before
                await reached(client, handle.run_key, "waiting_event")
                await until(lambda number=number: _is_detail(handle, number))
            await handle.publish_event("go")
        async with Worker(database, [telling]):
            await handle.result(timeout=20)
    assert await rows(database, "SELECT detail FROM written") == [("0",), ("1",), ("2",)]


async def _is_detail(handle: Any, number: int) -> bool:
    return bool((await handle.info()).detail == number)


def test_a_killed_worker_takes_no_status_back(database: str) -> None:
    prepare(database)
    with Client(database) as client:
        handle = client.begin(telling, 6)
        for number in range(3):
            with WorkerProcess(database) as victim:
                until_sync(lambda number=number: (handle.info().detail or 0) > number)
                seen = handle.info().detail
                victim.signal(signal.SIGKILL)
                victim.process.wait(20)
            assert handle.info().detail >= seen
        with WorkerProcess(database):
            handle.result(timeout=30)
        assert handle.info().detail == 6


async def test_a_status_is_encoded_by_the_codec_of_the_workflow(database: str) -> None:
    class Shouting(JsonCodec):
        def encode(self, value: object, what: str) -> str:
            return super().encode(value, what).upper()

        def decode(self, text: str, type: Any, what: str) -> Any:
            return super().decode(text.lower(), type, what)

    @workflow(codec=Shouting())
    async def telling(ctx: Context) -> None:
        ctx.set_status("quiet")
        await ctx.wait_for_event("wait", "go")

    async with AsyncClient(database) as client, Worker(database, [telling]):
        handle = await client.begin(telling)
        await reached(client, handle.run_key, "waiting_event")
        assert await rows(database, "SELECT status_detail FROM durable.runs") == [("QUIET",)]
        assert (await handle.info()).detail == "quiet"


def statuses_of(main: Main, history: History) -> list[Any]:
    return [command for command in machine_of(main, history).start() if isinstance(command, SetStatus)]


def test_only_the_last_of_all_that_a_replay_goes_through_is_asked_for() -> None:
    async def main(ctx: Context) -> None:
        for number in range(3):
            ctx.set_status(number)
            await ctx.sleep(f"nap {number}", 1)

    def slept(number: int) -> Memo:
        return Memo(f"nap {number}", "sleep", "", number + 1, False, Value("null"))

    assert statuses_of(main, History()) == [SetStatus("0")]
    assert statuses_of(main, History((slept(0), slept(1)))) == [SetStatus("2")]
    assert statuses_of(main, History((slept(0),), (OpenWait("nap 1", "sleep", ""),))) == [SetStatus("1")]
    assert statuses_of(main, History((slept(0), slept(1), slept(2)))) == [SetStatus("2")], "at the end as well"
    assert statuses_of(main, History((Memo("other", "sleep", "", 1, False, Value("null")),))) == [], "set aside"


async def test_a_value_that_cannot_be_stored_is_the_workflows_error(database: str) -> None:
    @workflow
    async def telling(ctx: Context, size: int) -> str:
        with pytest.raises(SerializationError, match="the status"):
            ctx.set_status("x" * size if size else object())
        return "refused"

    async with AsyncClient(database) as client, Worker(database, [telling]):
        for size in (0, 65535):
            assert await (await client.begin(telling, size)).result(timeout=20) == "refused"
        assert await rows(database, "SELECT DISTINCT status_detail::text FROM durable.runs") == [(None,)]


async def test_a_step_cannot_set_it(database: str) -> None:
    @workflow
    async def telling(ctx: Context) -> None:
        async def step() -> None:
            with pytest.raises(WorkflowCodeError, match="set_status was called outside"):
                ctx.set_status("from a step")

        await ctx.execute("step", step)

    async with AsyncClient(database) as client, Worker(database, [telling]):
        await (await client.begin(telling)).result(timeout=20)


def test_the_client_reads_it_by_sync_calls_and_within_a_transaction(database: str) -> None:
    with Client(database) as client, psycopg.connect(database) as tx:
        run_key = client.begin(telling, 1).run_key
        tx.execute("UPDATE durable.runs SET status_detail = '[1, 2]'")
        assert client.get_run_info_tx(tx, run_key).detail == [1, 2]
        assert client.get_run_info(run_key).detail is None
        tx.rollback()
