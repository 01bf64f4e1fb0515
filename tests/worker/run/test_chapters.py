"""``ctx.continue_as_new``: the same run begins again with another input, and loses nothing but its memos."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import psycopg
import pytest

from durable import (
    AsyncClient,
    Call,
    Context,
    Every,
    RetryPolicy,
    RunCancelled,
    RunFailed,
    RunRetryPolicy,
    Worker,
    workflow,
)
from tests.watching import rows, until
from tests.worker.run.notes import Notes, until_status

NEVER_AGAIN = RetryPolicy(max_retries=0)


async def work(what: str) -> str:
    return what


@workflow
async def counting(ctx: Context, number: int) -> list[int]:
    await ctx.execute("work", work, str(number))
    await ctx.sleep("nap", 0.01)
    if number < 3:
        await ctx.continue_as_new(number + 1)
    return [number, ctx.chapter]


@pytest.mark.parametrize("max_resident", [1, 10])
async def test_a_run_goes_on_with_the_next_input_and_its_handle_gives_the_last_result(
    database: str, max_resident: int
) -> None:
    async with AsyncClient(database) as client, Worker(database, [counting], max_resident=max_resident):
        run = await client.begin(counting, 1, key="c7", tags={"for": "test"})
        assert await run.result(timeout=20) == [3, 3]
        assert (await run.info()).chapter == 3
    found = await rows(
        database,
        "SELECT chapter, input::text, memos, began_at <= ended_at, version FROM durable.chapters ORDER BY chapter",
    )
    assert found == [(1, "1", 2, True, 1), (2, "2", 2, True, 1)]
    assert await rows(database, "SELECT step_key FROM durable.steps") == [("work",)]
    assert await rows(database, "SELECT key, tags->>'for', input::text, chapter FROM durable.runs") == [
        ("c7", "test", "3", 3)
    ]


@workflow
async def entity(ctx: Context, total: int) -> int:
    """Takes two events in a chapter."""
    for turn in range(2):
        added = await ctx.wait_for_event(f"wait {turn}", "add", int)
        if added == 0:
            return total
        total += added
    return await ctx.continue_as_new(total)


@pytest.mark.parametrize("shard_count", [1, 3])
async def test_no_event_is_lost_or_read_twice_whenever_it_comes(database: str, shard_count: int) -> None:
    await rows(
        database,
        f"UPDATE durable.settings SET shard_count = {shard_count},"
        f" shard_counts = ARRAY(SELECT generate_series(1, {shard_count}))",
    )
    async with AsyncClient(database) as client, Worker(database, [entity]), Worker(database, [entity]):
        runs = await client.begin_many(entity, [0] * 4)

        async def publish(run: Any, part: int) -> None:
            for number in range(part * 10 + 1, part * 10 + 11):
                await client.publish_event(run, "add", number, key=str(number))

        await asyncio.gather(*(publish(run, part) for run in runs for part in range(5)))
        for run in runs:
            await client.publish_event(run, "add", 0)
        for run in runs:
            handle = client.handle(run, int)
            assert await handle.result(timeout=60) == 50 * 51 // 2
            assert (await handle.info()).chapter == 26
    unread = await rows(database, "SELECT count(*) FROM durable.events WHERE consumed_by IS NULL")
    assert unread == [(0,)]


async def test_read_events_are_deleted_a_chapter_later_and_their_keys_known_until_then(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [entity]):
        run = await client.begin(entity, 0)
        for number in (1, 2):
            await run.publish_event("add", number, key=str(number))
        await until(lambda: rows(database, "SELECT 1 FROM durable.runs WHERE chapter = 2 AND status = 'waiting_event'"))
        await run.publish_event("add", 7, key="2")  # which has no effect
        assert await rows(database, "SELECT count(*) FROM durable.events") == [(2,)]
        for number in (3, 4):
            await run.publish_event("add", number)
        await until(lambda: rows(database, "SELECT 1 FROM durable.runs WHERE chapter = 3 AND status = 'waiting_event'"))
        assert await rows(database, "SELECT payload::text FROM durable.events ORDER BY 1") == [("3",), ("4",)]


async def test_attempts_are_counted_anew_and_a_retry_is_of_the_present_chapter_only(database: str) -> None:
    notes = Notes()

    async def flaky(attempt: int) -> None:
        if attempt == 1:
            raise ValueError("not yet")

    @workflow(retry=RunRetryPolicy(max_attempts=2, backoff=0))
    async def flaking(ctx: Context, number: int) -> int:
        await ctx.execute("note", notes.note, f"{number} {ctx.attempt}")
        await ctx.execute(Call("flaky", retry=NEVER_AGAIN), flaky, ctx.attempt)
        if number < 3:
            await ctx.continue_as_new(number + 1)
        return number

    async with AsyncClient(database) as client, Worker(database, [flaking]):
        run = await client.begin(flaking, 1)
        assert await run.result(timeout=20) == 3
        info = await run.info()
    assert notes == ["1 1", "2 1", "3 1"]  # what was noted is kept by the retry
    assert info.attempts == 1
    assert await rows(database, "SELECT error FROM durable.runs WHERE attempts = 0") == []


async def test_a_failed_run_is_retried_with_the_input_of_its_chapter(database: str) -> None:
    inputs: list[int] = []

    @workflow
    async def failing(ctx: Context, number: int) -> int:
        inputs.append(number)
        if number == 1:
            await ctx.continue_as_new(2)
        if len(inputs) == 2:
            raise ValueError("no")
        return number

    async with AsyncClient(database) as client, Worker(database, [failing]):
        run = await client.begin(failing, 1)
        await until_status(run, "failed")
        await client.retry_run(run.run_key)
        assert await run.result(timeout=20) == 2
    assert inputs == [1, 2, 2]


@pytest.mark.parametrize("kind", ["cancel", "terminate"])
async def test_a_cancel_that_comes_with_the_end_of_a_chapter_ends_the_next_one(database: str, kind: str) -> None:
    async with AsyncClient(database) as client:
        in_step, go_on = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            in_step.set()
            await go_on.wait()

        @workflow
        async def held(ctx: Context, number: int) -> None:
            if number == 1:
                await ctx.execute("hold", hold)
                await ctx.continue_as_new(2)
            await ctx.wait_for_event("wait", "never")

        async with Worker(database, [held]):
            run = await client.begin(held, 1)
            await in_step.wait()
            async with await psycopg.AsyncConnection.connect(database) as holder:
                # The flush with the end of the chapter waits for this lock, while the request arrives.
                await holder.execute("SELECT FROM durable.runs FOR UPDATE")
                go_on.set()
                await until(
                    lambda: rows(database, "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'")
                )
                if kind == "cancel":
                    await run.cancel("enough")
                else:
                    await client.terminate_run(run.run_key, "enough")
            with pytest.raises(RunCancelled, match="enough"):
                await run.result(timeout=20)
            assert (await run.info()).chapter == 2


async def test_after_a_cancel_it_is_refused_and_the_run_ends_cancelled(database: str) -> None:
    @workflow
    async def stubborn(ctx: Context, number: int) -> None:
        try:
            await ctx.wait_for_event("wait", "never")
        finally:
            await ctx.continue_as_new(number + 1)

    async with AsyncClient(database) as client, Worker(database, [stubborn]):
        run = await client.begin(stubborn, 1)
        await until_status(run, "waiting_event")
        await run.cancel("enough")
        with pytest.raises(RunCancelled, match="continue_as_new was called after the run was cancelled"):
            await run.result(timeout=20)


async def test_the_deadline_begins_again_with_each_chapter(database: str) -> None:
    @workflow(timeout=1.0)
    async def patient(ctx: Context, number: int) -> int:
        await ctx.sleep("nap", 0.5)
        if number < 4:
            await ctx.continue_as_new(number + 1)
        return number

    async with AsyncClient(database) as client, Worker(database, [patient]):
        assert await (await client.begin(patient, 1)).result(timeout=20) == 4


async def test_a_parent_waits_for_the_last_chapter_of_its_child(database: str) -> None:
    @workflow
    async def parent(ctx: Context) -> list[int]:
        return await ctx.run_child("child", counting, 1)

    async with AsyncClient(database) as client, Worker(database, [parent, counting]):
        assert await (await client.begin(parent)).result(timeout=20) == [3, 3]


async def test_children_of_an_earlier_chapter_end_unheard_and_leave_nothing(database: str) -> None:
    @workflow
    async def leaf(ctx: Context) -> str:
        return await ctx.wait_for_event("wait", "end", str)

    @workflow
    async def parent(ctx: Context, number: int) -> str:
        handle = await ctx.start_child("child", leaf)
        await ctx.wait_for_event("go on", "go on")
        if number < 3:
            await ctx.continue_as_new(number + 1)
        return await handle.result()

    async with AsyncClient(database) as client, Worker(database, [parent, leaf]):
        run = await client.begin(parent, 1)
        children: list[str] = []
        for number in (1, 2, 3):
            asked = (
                "SELECT child_shard || ':' || child_run_id FROM durable.steps JOIN durable.runs USING (run_id)"
                f" WHERE kind = 'child' AND coalesce(chapter, 1) = {number}"
            )
            children += [found for (found,) in await until(lambda asked=asked: rows(database, asked))]
            await run.publish_event("go on", None)
        for child in children:
            await client.publish_event(child, "end", child)
        assert await run.result(timeout=20) == children[-1]
    assert len(set(children)) == 3


async def test_a_child_that_is_begun_in_the_last_turn_of_a_chapter_runs(database: str) -> None:
    notes = Notes()

    @workflow
    async def leaf(ctx: Context, number: int) -> None:
        await ctx.execute("note", notes.note, f"leaf {number}")

    @workflow
    async def parent(ctx: Context, number: int) -> int:
        await ctx.start_child("child", leaf, number)
        if number < 3:
            return await ctx.continue_as_new(number + 1)
        return number

    async with AsyncClient(database) as client, Worker(database, [parent, leaf]):
        assert await (await client.begin(parent, 1)).result(timeout=20) == 3
        for number in (1, 2, 3):
            await notes.until(f"leaf {number}")


async def test_a_saga_is_left_behind_by_the_next_chapter(database: str) -> None:
    notes = Notes()

    @workflow
    async def trip(ctx: Context) -> str:
        if ctx.chapter == 2:
            return "on"
        async with ctx.saga() as saga:
            saga.undo("book", notes.note, "undo")
            await ctx.execute("book", notes.note, "book")
            return await ctx.continue_as_new()

    async with AsyncClient(database) as client, Worker(database, [trip]):
        assert await (await client.begin(trip)).result(timeout=20) == "on"
    assert notes == ["book"]


async def test_a_schedule_takes_the_run_for_active_until_its_last_chapter_ends(database: str) -> None:
    @workflow
    async def nightly(ctx: Context) -> None:
        if ctx.chapter == 1:
            await ctx.continue_as_new()
        await ctx.wait_for_event("wait", "end")

    async with AsyncClient(database) as client, Worker(database, [nightly], poll_interval=0.1):
        await client.schedule(nightly, None, "every", Every(0.2), overlap="skip")
        await until(lambda: rows(database, "SELECT 1 FROM durable.runs WHERE chapter = 2 AND status = 'waiting_event'"))
        await until(
            lambda: rows(
                database, "SELECT 1 FROM durable.schedules WHERE next_tick_at > created_at + interval '1 second'"
            )
        )
        assert await rows(database, "SELECT count(*) FROM durable.runs") == [(1,)]


async def test_the_next_chapter_begins_with_the_code_that_is_deployed_then(database: str) -> None:
    async def old(ctx: Context, number: int) -> str:
        await ctx.execute("old", work, "old")
        await ctx.wait_for_event("wait", "go on")
        await ctx.continue_as_new(2)

    async def new(ctx: Context, number: int) -> str:
        if number == 1:  # as long as there are runs in their first chapter
            await old(ctx, number)
        return f"{await ctx.execute('new', work, 'new')} {ctx.version}"

    before, after = workflow(name="program")(old), workflow(name="program", version=2)(new)
    async with AsyncClient(database) as client:
        async with Worker(database, [before]):
            run = await client.begin(before, 1)
            await until_status(run, "waiting_event")
        async with Worker(database, [after]):
            await run.publish_event("go on", None)
            assert await run.result(timeout=20) == "new 2"
    assert await rows(database, "SELECT chapter, version FROM durable.chapters") == [(1, 1)]


@pytest.mark.parametrize("bad", ["text", object()])
async def test_an_input_that_the_workflow_could_not_read_is_refused(database: str, bad: object) -> None:
    @workflow
    async def wrong(ctx: Context, number: int) -> None:
        await ctx.continue_as_new(bad)

    async with AsyncClient(database) as client, Worker(database, [wrong]):
        with pytest.raises(RunFailed, match=r"input must be|the input of workflow"):
            await (await client.begin(wrong, 1)).result(timeout=20)
    assert await rows(database, "SELECT 1 FROM durable.chapters") == []


async def test_what_other_tasks_wait_for_is_dropped_and_named(database: str, caplog: pytest.LogCaptureFixture) -> None:
    notes = Notes()

    async def hang() -> None:
        try:
            await notes.note("begins")
            await asyncio.sleep(3600)
        finally:
            await notes.note("ends")

    @workflow
    async def busy(ctx: Context, number: int) -> int:
        if number == 1:
            task = asyncio.create_task(ctx.execute("hang", hang))
            await ctx.wait_for_event("wait", "go on")
            await ctx.continue_as_new(2)
            await task
        return number

    async with AsyncClient(database) as client, Worker(database, [busy]):
        run = await client.begin(busy, 1)
        await notes.until("begins")
        await run.publish_event("go on", None)
        assert await run.result(timeout=20) == 2
    assert notes == ["begins", "ends"]
    assert "continued as new although tasks that it had started still waited for execute 'hang'" in caplog.text


async def test_ten_thousand_memos_are_warned_of(
    database: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("durable.worker.run.performing._MANY_MEMOS", 5)

    @workflow
    async def long(ctx: Context) -> None:
        for number in range(7):
            await ctx.execute(f"work {number}", work, "on")

    with caplog.at_level(logging.WARNING):
        async with AsyncClient(database) as client, Worker(database, [long]):
            await (await client.begin(long)).result(timeout=20)
    assert caplog.text.count("has 5 memos, through all of which every replay goes") == 1
