"""Failure modes C: replay, control flow, concurrency."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from functools import partial
from typing import Any

import psycopg
import pytest

from durable import (
    AsyncClient,
    Context,
    RetryPolicy,
    RunCancelled,
    RunFailed,
    RunNotCancellable,
    Worker,
    exponential,
    workflow,
)
from durable.core.replay.commands import Complete, Execute
from durable.core.replay.history import History, Memo, Value
from durable.store import ids as ids_module
from tests.laws.programs import machine_of
from tests.watching import reached, rows, until

# C3


async def test_c3_a_memo_that_cannot_be_read_is_no_missing_memo(database: str) -> None:
    calls: Counter[str] = Counter()

    async def charge() -> str:
        calls["charge"] += 1
        return "charged"

    @workflow
    async def paying(ctx: Context) -> list[str]:
        charged = await ctx.execute("charge", charge)
        return [charged, await ctx.wait_for_event("go", "go", str)]

    async with AsyncClient(database) as client:
        handle = await client.begin(paying)
        async with Worker(database, [paying]):
            await reached(client, handle.run_key, "waiting_event")
        await handle.publish("go", "on")
        async with await psycopg.AsyncConnection.connect(database) as blocker:
            await blocker.execute("LOCK TABLE durable.steps IN ACCESS EXCLUSIVE MODE")
            async with Worker(database, [paying]):
                # As a time limit would: the statement that reads the memos ends with an error.
                await until(lambda: rows(database, CANCEL_READERS))
                await blocker.rollback()
                assert await handle.result(timeout=15) == ["charged", "on"]
        assert (await handle.status()).attempts == 0
    assert calls == {"charge": 1}


CANCEL_READERS = """
    SELECT pg_cancel_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%%durable.steps%%'
"""


# C4


async def test_c4_what_a_workflow_swallows_while_it_is_put_away_changes_nothing(database: str) -> None:
    effects: Counter[str] = Counter()

    async def effect(name: str) -> str:
        effects[name] += 1
        return name

    async def fail() -> None:
        effects["fail"] += 1
        raise ValueError("no")

    @workflow
    async def swallowing(ctx: Context) -> str:
        caught = "nothing"
        try:
            # The smallest case in which a suspension that is an exception is lost.
            await asyncio.gather(ctx.sleep("nap", 0.05), ctx.execute("fail", fail, retry=RetryPolicy(max_retries=0)))
        except Exception as error:
            caught = type(error).__name__
        try:
            await ctx.wait_for_event("go", "go", str)
        except BaseException:
            return "swallowed"
        finally:
            try:
                await ctx.execute("clean up", effect, "clean up")
            except BaseException:
                effects["refused"] += 1
        return caught

    async with AsyncClient(database) as client, Worker(database, [swallowing], max_resident=1):
        handles = [await client.begin(swallowing) for _ in range(4)]
        for handle in handles:
            await reached(client, handle.run_key, "waiting_event")
        await until(lambda: effects["refused"] >= 3)  # but one of them were put away
        assert await rows(database, "SELECT DISTINCT step_key FROM durable.steps") == [("fail",)]
        for handle in handles:
            await handle.publish("go", "on")
        assert [await handle.result(timeout=10) for handle in handles] == ["StepFailed"] * 4
    assert (effects["fail"], effects["clean up"]) == (4, 4)


# C5


async def work(name: str) -> str:
    return name


def test_c5_the_order_in_which_gathered_steps_finish_changes_neither_keys_nor_result() -> None:
    async def main(ctx: Context) -> Any:
        async def branch(index: int) -> list[str]:
            first = await ctx.execute(f"{index} first", work, "first")
            return [first, await ctx.execute(f"{index} second", work, "second")]

        return await asyncio.gather(*(branch(index) for index in range(4)))

    chance = random.Random(5)
    outputs: set[str] = set()
    keys: set[frozenset[str]] = set()
    for _ in range(300):
        machine = machine_of(main, History())
        open_keys = {command.key for command in machine.start() if isinstance(command, Execute)}
        order: list[str] = []
        while open_keys:
            key = chance.choice(sorted(open_keys))
            open_keys.remove(key)
            order.append(key)
            _, commands = machine.resolve(key, Value(f'"{key}"'))
            open_keys |= {command.key for command in commands if isinstance(command, Execute)}
        (ending,) = commands
        assert isinstance(ending, Complete)
        memos = tuple(
            Memo(key, "execute", work.__qualname__, seq, False, Value(f'"{key}"')) for seq, key in enumerate(order, 1)
        )
        assert machine_of(main, History(memos)).start() == [ending]
        outputs.add(ending.output)
        keys.add(frozenset(order))
    assert len(outputs) == len(keys) == 1


# C6, C7


async def hang() -> None:
    await asyncio.sleep(3600)


async def hang_tx(tx: psycopg.AsyncConnection[Any]) -> None:
    await tx.execute("SELECT pg_sleep(3600)")


POINTS = ["step", "between tries", "transaction", "sleep", "event", "event with timeout", "gather", "race"]


@workflow
async def cancelled_at(ctx: Context, point: str) -> str:
    try:
        await awaited(ctx, point)
    except asyncio.CancelledError:
        pass  # which must not undo the cancel
    return "swallowed"


async def awaited(ctx: Context, point: str) -> None:
    match point:
        case "step":
            await ctx.execute("step", hang)
        case "between tries":
            await ctx.execute("tries", fail_always, retry=RetryPolicy(max_retries=9, backoff=exponential(3600, 3600)))
        case "transaction":
            await ctx.transaction("transaction", hang_tx)
        case "sleep":
            await ctx.sleep("nap", 3600)
        case "event":
            await ctx.wait_for_event("news", "news")
        case "event with timeout":
            await ctx.wait_for_event("news", "news", timeout=3600)
        case "gather":
            await asyncio.gather(ctx.execute("step", hang), ctx.sleep("nap", 3600), return_exceptions=True)
        case "race":
            waits = [ctx.sleep("nap", 3600), ctx.wait_for_event("news", "news")]
            await asyncio.wait([asyncio.ensure_future(wait) for wait in waits], return_when=asyncio.FIRST_COMPLETED)


async def fail_always() -> None:
    raise ConnectionError("again")


@pytest.mark.parametrize("resident", [1, 100], ids=["put away", "at hand"])
async def test_c6_a_cancel_at_any_await_ends_the_run_within_two_seconds_and_cannot_be_swallowed(
    database: str, resident: int
) -> None:
    async with AsyncClient(database) as client, Worker(database, [cancelled_at], max_resident=resident):
        handles = [await client.begin(cancelled_at, point) for point in POINTS]
        for handle, point in zip(handles, POINTS, strict=True):
            parks = point in ("sleep", "event", "event with timeout", "race")
            is_at = ("sleeping", "waiting_event") if parks else ("running",)
            await until(partial(is_in, client, handle.run_key, is_at))
        for handle in handles:
            await handle.cancel()
        for handle in handles:
            with pytest.raises(RunCancelled):
                await handle.result(timeout=10)
    late = await rows(
        database,
        "SELECT run.input::text, run.completed_at - event.created_at FROM durable.runs AS run"
        " JOIN durable.events AS event USING (workflow_name_shard, run_id)"
        " WHERE run.completed_at - event.created_at > interval '2 s'",
    )
    assert late == []


async def is_in(client: AsyncClient, run_key: Any, statuses: tuple[str, ...]) -> bool:
    return (await client.get_run_status(run_key)).status in statuses


AUDIT = """
    -- Every change of the status into or out of an end.
    CREATE TABLE ends (run_id uuid, status text);
    CREATE FUNCTION note_end() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO ends VALUES (new.run_id, new.status); RETURN NULL; END $$;
    CREATE TRIGGER note_end AFTER UPDATE ON durable.runs FOR EACH ROW
        WHEN (old.status <> new.status AND coalesce(old.completed_at, new.completed_at) IS NOT NULL)
        EXECUTE FUNCTION note_end();
"""


async def test_c7_a_run_that_is_cancelled_while_it_ends_ends_once_and_the_loser_is_told(database: str) -> None:
    chance = random.Random(7)
    many, early = 120, 30
    first_are_cancelled = asyncio.Event()

    async def brief(seconds: float) -> None:
        await first_are_cancelled.wait()
        await asyncio.sleep(seconds)

    @workflow(concurrency=many)
    async def ending(ctx: Context, way: str) -> str:
        await ctx.execute("brief", brief, chance.uniform(0, 0.3))
        if way == "fails":
            raise ValueError("failed")
        return "completed"

    async def cancel(client: AsyncClient, run_key: Any, number: int) -> bool:
        if number >= early:
            await first_are_cancelled.wait()
            await asyncio.sleep(chance.uniform(0, 0.5))
        try:
            await client.cancel_run(run_key)
        except RunNotCancellable:
            return False
        if number == early - 1:
            first_are_cancelled.set()
        return True

    async with AsyncClient(database) as client:
        await rows(database, AUDIT)
        async with Worker(database, [ending]), Worker(database, [ending]):
            run_keys = await client.begin_many(ending, ["completes", "fails"] * (many // 2))
            cancels = [cancel(client, run_key, number) for number, run_key in enumerate(run_keys)]
            accepted = await asyncio.gather(*cancels)
            await until(lambda: all_ended(database, many))
    ends = dict(await rows(database, "SELECT run_id::text, status FROM ends"))
    assert await rows(database, "SELECT count(*) FROM ends") == [(many,)]
    assert {"completed", "failed", "cancelled"} == set(ends.values())
    for run_key, was_accepted in zip(run_keys, accepted, strict=True):
        assert was_accepted or ends[run_key.run_id] != "cancelled"


async def all_ended(dsn: str, count: int) -> bool:
    return await rows(dsn, "SELECT count(DISTINCT run_id) FROM ends") == [(count,)]


# C11, C13


async def test_c11_an_error_of_the_users_code_that_looks_like_an_outage_is_his_error(database: str) -> None:
    calls: Counter[str] = Counter()

    async def misleading() -> None:
        calls["step"] += 1
        raise psycopg.errors.AdminShutdown("of another database")

    @workflow
    async def in_a_step(ctx: Context) -> None:
        await ctx.execute("step", misleading, retry=RetryPolicy(max_retries=2, backoff=0))

    @workflow
    async def in_the_workflow(ctx: Context) -> None:
        calls["workflow"] += 1
        raise psycopg.OperationalError("of another database")

    async with AsyncClient(database) as client, Worker(database, [in_a_step, in_the_workflow]):
        with pytest.raises(RunFailed, match="AdminShutdown"):
            await (await client.begin(in_a_step)).result(timeout=10)
        with pytest.raises(RunFailed, match="OperationalError"):
            await (await client.begin(in_the_workflow)).result(timeout=10)
    assert calls == {"step": 3, "workflow": 1}


class Unpicklable(Exception):
    def __init__(self, first: int, second: int) -> None:
        super().__init__("x" * 1_000_000)
        self.lock = (first, second, asyncio.Lock())


async def test_c13_an_error_is_stored_in_words_of_bounded_length_and_never_rebuilt(database: str) -> None:
    def deep(levels: int) -> None:
        if levels == 0:
            raise Unpicklable(1, 2)
        try:
            deep(levels - 1)
        except Unpicklable as error:
            raise Unpicklable(3, 4) from error

    async def failing() -> None:
        deep(30)

    @workflow
    async def verbose(ctx: Context) -> None:
        await ctx.execute("failing", failing, retry=RetryPolicy(max_retries=0))

    async with AsyncClient(database) as client, Worker(database, [verbose]):
        handle = await client.begin(verbose)
        with pytest.raises(RunFailed, match="Unpicklable"):
            await handle.result(timeout=10)
    for table in ("steps", "runs"):
        ((type_, message, traceback),) = await rows(
            database,
            "SELECT error->>'type', octet_length(error->>'message'), octet_length(error->>'traceback')"
            f" FROM durable.{table}",
        )
        assert type_ == ("Unpicklable" if table == "steps" else "StepFailed")
        assert message <= 9000
        assert traceback <= 9000


# C15


def test_c15_ids_ascend_also_while_the_clock_is_set_back_by_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns()
    ticks = itertools.chain([now], itertools.count(now - 3_600_000_000_000, 1000))
    monkeypatch.setattr(time, "time_ns", lambda: next(ticks))
    ids = [ids_module.uuid7() for _ in range(10_000)]
    assert ids == sorted(set(ids))


async def test_c15_events_are_read_in_the_order_of_their_commits_whatever_their_ids(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    @workflow
    async def reading(ctx: Context) -> list[int]:
        return [await ctx.wait_for_event(f"wait {index}", "number", int) for index in range(3)]

    async with AsyncClient(database) as client:
        handle = await client.begin(reading)
        for number in range(3):  # each published by a process whose clock is an hour behind that of the one before
            monkeypatch.setattr(ids_module, "_clock", Behind(number))
            await handle.publish("number", number)
        ids = await rows(database, "SELECT event_id FROM durable.events ORDER BY created_at")
        assert ids == sorted(ids, reverse=True)
        async with Worker(database, [reading]):
            assert await handle.result(timeout=10) == [0, 1, 2]


class Behind(ids_module._Clock):
    def __init__(self, hours: int) -> None:
        super().__init__()
        self._hours = hours

    def tick(self) -> int:
        return super().tick() - (self._hours * 3_600_000 << 12)
