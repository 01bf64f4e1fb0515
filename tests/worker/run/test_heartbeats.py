"""Steps that say that they are alive and how far they have come."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import psycopg
import pytest

from durable import (
    AsyncClient,
    Call,
    Context,
    DeserializationError,
    InvalidArgument,
    RetryPolicy,
    RunKey,
    SerializationError,
    Step,
    StepFailed,
    Worker,
    current_step,
    workflow,
)
from tests.watching import rows, until

DETAILS = "SELECT wait_key, payload ->> 'detail' FROM durable.waits ORDER BY 1"
AGAIN = RetryPolicy(max_retries=2, backoff=0)


@pytest.mark.parametrize("kind", ["async", "thread", "transaction"])
async def test_the_next_try_finds_the_last_detail_of_the_one_before(database: str, kind: str) -> None:
    seen: list[Any] = []

    def go_on() -> str:
        step = current_step()
        seen.append(step.last_detail(list[int]))
        for number in range(3):
            step.heartbeat([step.attempt, number])
        step.heartbeat()  # without a detail, the one before stays
        if step.attempt < 3:
            raise ConnectionError
        return "done"

    async def go_on_async() -> str:
        return go_on()

    async def go_on_in_a_transaction(tx: psycopg.AsyncConnection[Any]) -> str:
        return go_on()

    @workflow
    async def going(ctx: Context) -> str:
        call = Call("go on", retry=AGAIN)
        if kind == "transaction":
            return await ctx.transaction(call, go_on_in_a_transaction)
        return await ctx.execute(call, go_on if kind == "thread" else go_on_async)

    async with AsyncClient(database) as client, Worker(database, [going]):
        assert await (await client.begin(going)).result(timeout=20) == "done"
    assert seen == [None, [1, 2], [2, 2]]
    assert await rows(database, DETAILS) == []


async def test_details_are_stored_while_the_step_is_executed_but_not_each(database: str) -> None:
    gate = asyncio.Event()

    async def count_up() -> None:
        for number in range(1000):
            current_step().heartbeat(number)
        await gate.wait()

    @workflow
    async def counting(ctx: Context) -> None:
        await ctx.execute("count", count_up)

    async with AsyncClient(database) as client, Worker(database, [counting]):
        await rows(database, "CREATE TABLE written (detail text)")
        await rows(
            database,
            """CREATE FUNCTION write_down() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
            $$ BEGIN INSERT INTO public.written VALUES (NEW.payload ->> 'detail'); RETURN NULL; END $$;
            CREATE TRIGGER write_down AFTER INSERT OR UPDATE ON durable.waits
                FOR EACH ROW EXECUTE FUNCTION write_down()""",
        )
        handle = await client.begin(counting)
        await until(lambda: rows(database, "SELECT 1 FROM written WHERE detail = '999'"))
        gate.set()
        await handle.result(timeout=20)
    assert len(await rows(database, "SELECT * FROM written")) <= 3


@pytest.mark.parametrize("kind", ["async", "transaction"])
async def test_a_silent_step_is_cut_off_and_tried_again(database: str, kind: str) -> None:
    calls: list[int] = []

    async def hang() -> str:
        step = current_step()
        calls.append(step.attempt)
        for _ in range(4):
            await asyncio.sleep(0.1)
            step.heartbeat()
        if step.attempt == 1:
            await asyncio.sleep(600)
        return "done"

    async def hang_in_a_transaction(tx: psycopg.AsyncConnection[Any]) -> str:
        return await hang()

    @workflow
    async def hanging(ctx: Context) -> str:
        call = Call("hang", retry=RetryPolicy(max_retries=1, backoff=0, heartbeat=0.3))
        if kind == "transaction":
            return await ctx.transaction(call, hang_in_a_transaction)
        return await ctx.execute(call, hang)

    async with AsyncClient(database) as client, Worker(database, [hanging]):
        assert await (await client.begin(hanging)).result(timeout=20) == "done"
    assert calls == [1, 2]


async def test_a_silent_thread_fails_its_step_once_it_has_ended(database: str) -> None:
    released = threading.Event()
    calls: list[int] = []

    def hang() -> str:
        calls.append(current_step().attempt)
        current_step().heartbeat("alive")
        if len(calls) == 1:
            released.wait(600)
        return "done"

    @workflow
    async def hanging(ctx: Context) -> str:
        return await ctx.execute(Call("hang", retry=RetryPolicy(max_retries=1, backoff=0, heartbeat=0.2)), hang)

    async with AsyncClient(database) as client, Worker(database, [hanging]) as worker:
        handle = await client.begin(hanging)
        await until(lambda: worker.status().hung_threads == 1)
        released.set()
        assert await handle.result(timeout=20) == "done"
    assert calls == [1, 2]


async def test_silence_and_slowness_are_told_apart(database: str) -> None:
    async def slow() -> None:
        while True:
            await asyncio.sleep(0.02)
            current_step().heartbeat()

    async def silent() -> None:
        await asyncio.sleep(600)

    @workflow
    async def both(ctx: Context) -> list[str]:
        policy = RetryPolicy(max_retries=0, timeout=0.4, heartbeat=0.3)
        failures = await asyncio.gather(
            ctx.execute(Call("slow", retry=policy), slow),
            ctx.execute(Call("silent", retry=policy), silent),
            return_exceptions=True,
        )
        return [failure.message for failure in failures if isinstance(failure, StepFailed)]

    async with AsyncClient(database) as client, Worker(database, [both]):
        assert await (await client.begin(both)).result(timeout=20) == [
            "step 'slow' did not finish within 0.4 s",
            "step 'silent' sent no heartbeat for 0.3 s",
        ]


async def test_a_detail_that_cannot_be_stored_or_read_is_the_steps_own_error(database: str) -> None:
    async def spoil() -> str:
        step = current_step()
        if step.attempt == 1:
            with pytest.raises(SerializationError, match="a detail of step 'spoil'"):
                step.heartbeat(object())
            step.heartbeat("three")
            raise ConnectionError
        with pytest.raises(DeserializationError, match="the last detail of step 'spoil'"):
            step.last_detail(int)
        return step.last_detail(str) or ""

    @workflow
    async def spoiling(ctx: Context) -> str:
        return await ctx.execute(Call("spoil", retry=AGAIN), spoil)

    async with AsyncClient(database) as client, Worker(database, [spoiling]):
        assert await (await client.begin(spoiling)).result(timeout=20) == "three"


async def test_a_heartbeat_that_comes_after_the_end_of_its_step_changes_nothing(database: str) -> None:
    steps: list[Step] = []

    async def end() -> None:
        steps.append(current_step())

    @workflow
    async def ending(ctx: Context) -> None:
        await ctx.execute("end", end)
        await ctx.wait_for_event("wait", "go")

    async with AsyncClient(database) as client, Worker(database, [ending]):
        handle = await client.begin(ending)
        await until(lambda: rows(database, "SELECT 1 FROM durable.steps"))
        await asyncio.to_thread(steps[0].heartbeat, "late")
        await handle.publish_event("go")
        await handle.result(timeout=20)
    assert await rows(database, "SELECT wait_key FROM durable.waits") == [("wait",)]


def test_a_step_made_by_a_test_takes_heartbeats() -> None:
    step = Step(RunKey.parse("wf_0:01920000-0000-7000-8000-000000000000"), "charge", 1)
    step.heartbeat(3)
    assert step.last_detail() is None


@pytest.mark.parametrize("heartbeat", [0, -1, "often"])
def test_a_limit_that_makes_no_sense_is_refused(heartbeat: Any) -> None:
    with pytest.raises(InvalidArgument, match="heartbeat must be"):
        RetryPolicy(heartbeat=heartbeat)


async def test_waiting_for_a_thread_is_not_silence(database: str) -> None:
    def slow(seconds: float) -> str:
        time.sleep(seconds)
        current_step().heartbeat()
        return "done"

    @workflow
    async def queueing(ctx: Context, seconds: float) -> str:
        policy = RetryPolicy(max_retries=0, heartbeat=0.5)
        return await ctx.execute(Call("slow", retry=policy), slow, seconds)

    async with AsyncClient(database) as client, Worker(database, [queueing], max_threads=1):
        handles = [await client.begin(queueing, 0.2) for _ in range(5)]
        assert [await handle.result(timeout=20) for handle in handles] == ["done"] * 5


@pytest.mark.parametrize("fails", [False, True], ids=["returns", "raises"])
async def test_a_sign_of_life_at_the_very_end_of_a_step_is_no_error(database: str, fails: bool) -> None:  # noqa: FBT001
    errors: list[dict[str, Any]] = []

    async def work() -> str:
        current_step().heartbeat()
        if fails and current_step().attempt == 1:
            raise ConnectionError
        return "done"

    @workflow
    async def working(ctx: Context) -> str:
        return await ctx.execute(Call("work", retry=RetryPolicy(max_retries=1, backoff=0, heartbeat=30)), work)

    asyncio.get_running_loop().set_exception_handler(lambda loop, context: errors.append(context))
    async with AsyncClient(database) as client, Worker(database, [working]):
        assert await (await client.begin(working)).result(timeout=20) == "done"
    assert errors == []
