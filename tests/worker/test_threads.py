"""Sync steps run in threads, which nothing can stop: what follows a step that was given up waits for its thread."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import Any

import psycopg
import pytest

from durable import (
    AsyncClient,
    Call,
    Context,
    RetryPolicy,
    RunCancelled,
    RunFailed,
    RunRetryPolicy,
    StepFailed,
    Worker,
    workflow,
)
from durable.worker import threads
from durable.worker.run import step_calls, step_tasks
from tests.watching import rows, until
from tests.worker.flows import running


class Charge:
    """A step in a thread that notes when it begins and when it has ended, which is when it is told to end."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.may_end = threading.Event()

    def __call__(self) -> str:
        self.notes.append("charge begins")
        self.may_end.wait(30)
        self.notes.append("charge has ended")
        return "charged"

    def returning_a_coroutine(self) -> Any:
        self()

        async def charged() -> str:
            return "charged"

        return charged()

    async def refund(self) -> None:
        self.notes.append("refund")

    def end_later(self) -> None:
        threading.Timer(0.3, self.may_end.set).start()


IN_ORDER = ["charge begins", "charge has ended", "refund"]


@pytest.mark.parametrize("kind", ["plain", "a coroutine is returned"])
async def test_what_makes_good_a_cancelled_sync_step_starts_when_its_thread_has_ended(database: str, kind: str) -> None:
    charge = Charge()
    step: Any = charge if kind == "plain" else charge.returning_a_coroutine

    @workflow
    async def ordering(ctx: Context) -> None:
        try:
            await ctx.execute("charge", step)
        finally:
            await ctx.execute("refund", charge.refund)

    async with running(database, ordering) as client:
        handle = await client.begin(ordering)
        await until(lambda: charge.notes)
        await handle.cancel()
        charge.end_later()
        with pytest.raises(RunCancelled):
            await handle.result(timeout=20)
    assert charge.notes == IN_ORDER


async def test_what_makes_good_a_sync_step_that_the_code_gave_up_starts_when_its_thread_has_ended(
    database: str,
) -> None:
    charge = Charge()

    @workflow
    async def racing(ctx: Context) -> None:
        charging = asyncio.ensure_future(ctx.execute("charge", charge))
        await ctx.sleep("patience", 0.1)
        charging.cancel()
        await ctx.execute("refund", charge.refund)

    async with running(database, racing) as client:
        handle = await client.begin(racing)
        await until(lambda: charge.notes)
        charge.end_later()
        await handle.result(timeout=20)
    assert charge.notes == IN_ORDER


async def test_a_parent_hears_of_its_cancelled_child_when_the_thread_of_its_step_has_ended(database: str) -> None:
    charge = Charge()

    @workflow
    async def charging(ctx: Context) -> None:
        await ctx.execute("charge", charge)

    @workflow
    async def parent(ctx: Context) -> None:
        child = await ctx.start_child("child", charging)
        try:
            await child.result()
        except RunCancelled:
            await ctx.execute("refund", charge.refund)

    async with running(database, parent, charging) as client:
        handle = await client.begin(parent)
        await until(lambda: charge.notes)
        ((child,),) = await rows(
            database, "SELECT workflow_name_shard || ':' || run_id FROM durable.runs WHERE parent_run_id IS NOT NULL"
        )
        await client.cancel_run(child)
        charge.end_later()
        await handle.result(timeout=20)
    assert charge.notes == IN_ORDER


async def test_another_attempt_of_a_run_does_not_overlap_a_thread_of_the_one_before(database: str) -> None:
    notes: list[str] = []
    may_end = threading.Event()

    def slow() -> None:
        notes.append("in")
        may_end.wait(0.5)
        notes.append("out")

    async def fail() -> None:
        while not notes:
            await asyncio.sleep(0.01)
        if len(notes) < 2:
            raise ValueError("no")

    @workflow(retry=RunRetryPolicy(max_attempts=2, backoff=0))
    async def both(ctx: Context) -> None:
        await asyncio.gather(
            ctx.execute("slow", slow), ctx.execute(Call("fail", retry=RetryPolicy(max_retries=0)), fail)
        )

    async with running(database, both) as client:
        await (await client.begin(both)).result(timeout=20)
    assert notes == ["in", "out", "in", "out"]


async def test_the_retry_of_a_step_that_timed_out_starts_when_its_thread_has_ended(database: str) -> None:
    notes: list[str] = []

    def slow() -> str:
        notes.append("in")
        first = len(notes) == 1
        time.sleep(0.5 if first else 0)
        notes.append("out")
        return "late" if first else "in time"

    @workflow
    async def patient(ctx: Context) -> str:
        return await ctx.execute(Call("slow", retry=RetryPolicy(max_retries=1, backoff=0, timeout=0.1)), slow)

    async with running(database, patient) as client:
        assert await (await client.begin(patient)).result(timeout=20) == "in time"
    assert notes == ["in", "out", "in", "out"]
    assert await rows(database, "SELECT attempts FROM durable.steps") == [(2,)]


async def test_a_step_whose_thread_does_not_end_is_given_up_and_not_tried_beside_it(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_calls, "_OVERRUN_SECONDS", 0.2)
    charge = Charge()

    @workflow
    async def hanging(ctx: Context) -> str:
        try:
            return await ctx.execute(Call("charge", retry=RetryPolicy(max_retries=5, backoff=0, timeout=0.1)), charge)
        except StepFailed as error:
            return f"{error.error_type}: {error.message}"

    try:
        async with AsyncClient(database) as client, Worker(database, [hanging]) as worker:
            message = await (await client.begin(hanging)).result(timeout=20)
            assert message.startswith("TimeoutError: step 'charge' did not finish within 0.1 s, and its thread still")
            assert charge.notes == ["charge begins"]
            assert (worker.status().busy_threads, worker.status().hung_threads) == (1, 1)
            charge.may_end.set()
            await until(lambda: worker.status().busy_threads == worker.status().hung_threads == 0)
    finally:
        charge.may_end.set()


async def test_a_step_cancelled_long_ago_whose_thread_goes_on_is_named(
    database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(step_tasks, "_UNWIND_SECONDS", 0.2)
    charge = Charge()

    @workflow
    async def hanging(ctx: Context) -> None:
        await ctx.execute("charge", charge)

    try:
        async with running(database, hanging, graceful_shutdown_timeout=0) as client:
            handle = await client.begin(hanging)
            await until(lambda: charge.notes)
            await handle.cancel()
            with pytest.raises(RunCancelled):
                await handle.result(timeout=20)
    finally:
        charge.may_end.set()
    assert f"step 'charge' of run {handle.run_key} was cancelled 0.2 s ago and still runs" in caplog.text


async def test_the_wait_for_a_free_thread_is_no_part_of_a_steps_time(database: str) -> None:
    @workflow
    async def album(ctx: Context) -> int:
        policy = RetryPolicy(max_retries=0, timeout=0.5)
        pages = (ctx.execute(Call(f"page {index}", retry=policy), time.sleep, 0.1) for index in range(16))
        return len(await asyncio.gather(*pages))

    async with running(database, album, max_threads=2) as client:
        assert await (await client.begin(album)).result(timeout=20) == 16


async def test_a_coroutine_that_a_sync_step_returns_has_what_is_left_of_its_time(database: str) -> None:
    def slow() -> Any:
        time.sleep(0.3)
        return asyncio.sleep(0.3)

    @workflow
    async def slowly(ctx: Context) -> None:
        await ctx.execute(Call("slow", retry=RetryPolicy(max_retries=0, timeout=0.5)), slow)

    async with running(database, slowly) as client:
        with pytest.raises(RunFailed, match=r"did not finish within 0\.5 s"):
            await (await client.begin(slowly)).result(timeout=20)


async def test_threads_that_all_hang_are_named_in_the_log_and_the_status(
    database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(step_calls, "_OVERRUN_SECONDS", 0.05)
    monkeypatch.setattr(threads, "_LOOK_SECONDS", 0.05)
    charge = Charge()

    @workflow
    async def hanging(ctx: Context) -> None:
        await ctx.execute(Call("charge", retry=RetryPolicy(max_retries=0, timeout=0.05)), charge)

    @workflow
    async def quick(ctx: Context) -> str:
        return await ctx.execute("quick", str, 1)

    try:
        async with AsyncClient(database) as client, Worker(database, [hanging, quick], max_threads=2) as worker:
            hung = [await client.begin(hanging) for _ in range(2)]
            for handle in hung:
                with pytest.raises(RunFailed):
                    await handle.result(timeout=20)
            waiting = await client.begin(quick)
            await until(lambda: "no sync step can start" in caplog.text)
            await until(lambda: worker.status().steps_awaiting_thread == 1)
            await asyncio.sleep(0.3)
            assert worker.status().hung_threads == 2
            charge.may_end.set()
            assert await waiting.result(timeout=20) == "1"
            assert worker.status().steps_awaiting_thread == 0
    finally:
        charge.may_end.set()
    said = [record for record in caplog.records if "no sync step can start" in record.getMessage()]
    assert [record.levelno for record in said] == [logging.ERROR]
    assert f"step 'charge' of run {hung[0].run_key}" in said[0].getMessage()


async def test_threads_that_are_busy_for_long_are_reported_too(
    database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(threads, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(threads, "_STANDSTILL_SECONDS", 0.2)
    charge = Charge()

    @workflow
    async def two(ctx: Context) -> None:
        await asyncio.gather(ctx.execute("charge", charge), ctx.execute("quick", str, 1))

    try:
        async with running(database, two, max_threads=1) as client:
            handle = await client.begin(two)
            await until(lambda: "no sync step has started for a minute" in caplog.text)
            charge.may_end.set()
            await handle.result(timeout=20)
    finally:
        charge.may_end.set()


async def test_a_stopping_worker_hands_back_the_steps_that_wait_for_a_thread(database: str) -> None:
    charge = Charge()
    quick: list[str] = []

    @workflow
    async def two(ctx: Context) -> None:
        await asyncio.gather(ctx.execute("charge", charge), ctx.execute("quick", quick.append, "called"))

    async with AsyncClient(database) as client:
        async with Worker(database, [two], max_threads=1) as worker:
            handle = await client.begin(two)
            await until(lambda: worker.status().steps_awaiting_thread)
            worker.stop()
            await until(lambda: worker.status().steps_awaiting_thread == 0)
            charge.may_end.set()
        assert (await handle.info()).status == "queued"
        assert quick == []
        assert await rows(database, "SELECT step_key FROM durable.steps") == [("charge",)]


async def test_a_step_cancelled_while_it_waits_for_a_thread_is_never_called(database: str) -> None:
    charge = Charge()
    quick: list[str] = []

    @workflow
    async def two(ctx: Context) -> None:
        charging = asyncio.ensure_future(ctx.execute("charge", charge))
        waiting = asyncio.ensure_future(ctx.execute("quick", quick.append, "called"))
        await ctx.sleep("patience", 0.1)
        waiting.cancel()
        await charging

    async with AsyncClient(database) as client, Worker(database, [two], max_threads=1) as worker:
        handle = await client.begin(two)
        await until(lambda: worker.status().steps_awaiting_thread)
        await until(lambda: worker.status().steps_awaiting_thread == 0)
        charge.may_end.set()
        await handle.result(timeout=20)
    assert quick == []


async def test_what_follows_a_transaction_cancelled_in_flight_starts_when_it_has_ended(database: str) -> None:
    seen: list[Any] = []

    async def slow(tx: psycopg.AsyncConnection[Any]) -> None:
        await tx.execute("SELECT pg_sleep(30)")

    async def look() -> None:
        seen.extend(
            await rows(
                database,
                "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle'"
                " AND query LIKE '%%pg_sleep(30)%%' AND pid <> pg_backend_pid()",
            )
        )
        seen.append("looked")

    @workflow
    async def booking(ctx: Context) -> None:
        try:
            await ctx.transaction("slow", slow)
        finally:
            await ctx.execute("look", look)

    async def is_sleeping() -> bool:
        found = await rows(
            database, "SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(30)' AND state = 'active'"
        )
        return bool(found)

    async with running(database, booking) as client:
        handle = await client.begin(booking)
        await until(is_sleeping)
        await handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result(timeout=20)
    assert seen == ["looked"]


async def test_a_step_that_cancels_itself_releases_its_run_and_never_hangs(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    async def cancel_itself() -> str:
        calls.append(1)
        if len(calls) == 1:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(1)
        return "done"

    @workflow
    async def odd(ctx: Context) -> str:
        return await ctx.execute("odd", cancel_itself)

    async with running(database, odd) as client:
        assert await (await client.begin(odd)).result(timeout=20) == "done"
    assert "was cancelled by something other than its run" in caplog.text
