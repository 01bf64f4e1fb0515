"""Several runs with one key: one executes at a time, each starts when the one before it has ended."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from durable import (
    AsyncClient,
    Context,
    DeserializationError,
    JsonCodec,
    Place,
    RunCancelled,
    RunNotRetryable,
    RunRetryPolicy,
    Worker,
    workflow,
)
from durable.admin import migrate
from tests.watching import reached, rows, until

KEY = "k"


class Stage:
    """What happened, in order; a run goes on when its name is let go."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self._gates: dict[str, asyncio.Event] = {}

    def tell(self, what: str) -> None:
        self.told.append(what)

    def gate(self, name: str) -> asyncio.Event:
        return self._gates.setdefault(name, asyncio.Event())


stage = Stage()


async def tell(what: str) -> None:
    stage.tell(what)


async def pass_gate(name: str) -> None:
    stage.tell(f"{name} begins")
    await stage.gate(name).wait()


@workflow
async def job(ctx: Context, name: str) -> str:
    try:
        await ctx.execute("work", pass_gate, name)
    finally:
        await ctx.execute("clean up", pass_gate, f"{name}'s clean-up")
        await ctx.execute("end", tell, f"{name} ends")
    return name


@workflow
async def quick(ctx: Context, name: str) -> str:
    await ctx.execute("work", tell, name)
    return name


@workflow
async def reader(ctx: Context, name: str) -> str:
    """Reads one event."""
    text = await ctx.wait_for_event("read", "note", str)
    await ctx.execute("keep", tell, f"{name} reads {text}")
    return text


@pytest.fixture(autouse=True)
def new_stage() -> None:
    stage.__init__()  # type: ignore[misc]  # what the steps know is emptied, and stays the same


def is_told(what: str) -> Any:
    return lambda: what in stage.told


@pytest.mark.parametrize("shards", [1, 8])
async def test_a_run_that_takes_the_place_of_another_starts_when_that_one_has_cleaned_up(
    database: str, shards: int
) -> None:
    migrate(database, shard_count=shards)
    async with AsyncClient(database) as client, Worker(database, [job]):
        first = await client.begin(job, "first", key=KEY)
        await until(is_told("first begins"))
        second = await client.begin(job, "second", key=KEY, if_active="cancel")
        assert second.is_new
        assert second.run_key.workflow_name_shard == first.run_key.workflow_name_shard
        await until(is_told("first's clean-up begins"))
        info = await second.info()
        assert (info.status, info.status_reason) == ("sleeping", "following")
        stage.gate("first's clean-up").set()
        await until(is_told("second begins"))
        stage.gate("second").set()
        stage.gate("second's clean-up").set()
        assert await second.result(timeout=20) == "second"
        with pytest.raises(RunCancelled, match="another run was begun with its key"):
            await first.result()
    assert stage.told.index("first ends") < stage.told.index("second begins")


async def test_a_terminated_run_is_replaced_without_its_clean_up(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [job]):
        await client.begin(job, "first", key=KEY)
        await until(is_told("first begins"))
        second = await client.begin(job, "second", key=KEY, if_active="terminate")
        for name in ("second", "second's clean-up"):
            stage.gate(name).set()
        assert await second.result(timeout=20) == "second"
    assert "first's clean-up begins" not in stage.told


async def test_a_follower_that_is_replaced_before_it_starts_lets_its_own_follower_wait_for_the_first(
    database: str,
) -> None:
    async with AsyncClient(database) as client, Worker(database, [job]):
        await client.begin(job, "first", key=KEY)
        await until(is_told("first begins"))
        second = await client.begin(job, "second", key=KEY, if_active="cancel")
        third = await client.begin(job, "third", key=KEY, if_active="terminate")
        await reached(client, second.run_key, "cancelled")
        await until(is_told("first's clean-up begins"))
        assert (await third.info()).status_reason == "following"
        for name in ("first's clean-up", "third", "third's clean-up"):
            stage.gate(name).set()
        assert await third.result(timeout=20) == "third"
    assert "second begins" not in stage.told
    assert stage.told.index("first ends") < stage.told.index("third begins")


async def test_a_run_is_begun_anew_after_the_last_one_has_ended(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [quick]):
        for name in ("a", "b", "c"):
            handle = await client.begin(quick, name, key=KEY, if_ended="begin_anew")
            assert await handle.result(timeout=20) == name
        again = await client.begin(quick, "d", key=KEY)
        assert (again.is_new, await again.result()) == (False, "c")
        generations = [(run.generation, run.key) for run in await client.list_runs(key=KEY)]
        assert generations == [(2, KEY), (1, KEY), (0, KEY)]


async def test_a_follower_starts_as_late_as_it_was_asked_to_and_its_timeout_counts_from_then(database: str) -> None:
    limited = workflow(name="limited", timeout=50)(job.function)
    async with AsyncClient(database) as client, Worker(database, [limited]):
        await client.begin(limited, "first", key=KEY)
        await until(is_told("first begins"))
        second = await client.begin(limited, "second", key=KEY, if_active="cancel", delay=30)
        assert await deadline(database, second.run_key.run_id) == [(None, None)]
        stage.gate("first's clean-up").set()
        await until(lambda: is_asleep(database, second.run_key.run_id))
        assert await deadline(database, second.run_key.run_id) == [(30, 50)]


async def is_asleep(database: str, run_id: str) -> bool:
    return bool(
        await rows(database, "SELECT true FROM durable.runs WHERE run_id = %s AND next_wake_at IS NOT NULL", run_id)
    )


async def deadline(database: str, run_id: str) -> list[tuple[Any, ...]]:
    """When it will start, in seconds from its begin, and how much later its deadline is."""
    query = """
        SELECT extract(epoch FROM next_wake_at - created_at)::int, extract(epoch FROM deadline_at - next_wake_at)::int
        FROM durable.runs WHERE run_id = %s"""
    return await rows(database, query, run_id)


async def test_a_failed_run_that_was_replaced_is_not_retried(database: str) -> None:
    async def fail() -> None:
        raise ValueError("no")

    @workflow(retry=RunRetryPolicy(max_attempts=1))
    async def failing(ctx: Context, name: str) -> str:
        if name == "good":
            return name
        await ctx.execute("fail", fail)
        return name

    async with AsyncClient(database) as client, Worker(database, [failing]):
        first = await client.begin(failing, "bad", key=KEY)
        await reached(client, first.run_key, "failed")
        second = await client.begin(failing, "good", key=KEY, if_ended="begin_anew")
        assert await second.result(timeout=20) == "good"
        with pytest.raises(RunNotRetryable, match="another run was begun with its key"):
            await first.retry()


async def test_an_event_goes_to_the_run_that_is_there_and_else_to_one_that_is_begun_for_it(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [reader]):
        handles = [
            await client.begin(reader, name, key=KEY, if_ended="begin_anew", event=("note", name))
            for name in ("a", "b", "c")
        ]
        await until(lambda: len(stage.told) == 3)
        assert [told.partition(" reads ")[2] for told in stage.told] == ["a", "b", "c"]
        assert handles[0].is_new
        assert await client.handle(reader, key=KEY).result(timeout=20) == "c"


async def test_runs_that_start_or_begin_later_have_the_headers_and_the_timeout_that_were_given(database: str) -> None:
    @workflow
    async def telling(ctx: Context, name: str) -> str:
        await ctx.execute("work", pass_gate, name)
        await ctx.execute("tell", tell, f"{name} has {ctx.headers.get('trace')}")
        await ctx.wait_for_event("read", "note")
        return name

    async with AsyncClient(database) as client, Worker(database, [telling]):
        first = await client.begin(telling, "a", key=KEY, headers={"trace": "1"})
        await until(is_told("a begins"))
        second = await client.begin(telling, "b", key=KEY, if_active="cancel", headers={"trace": "2"}, timeout=3600)
        await until(is_told("b begins"))
        assert (await first.info()).status == "cancelled"
        options: Any = {"if_ended": "begin_anew", "headers": {"trace": "3"}, "timeout": 7200}
        assert not (await client.begin(telling, "c", key=KEY, event=("note", 1), **options)).is_new
        assert not (await client.begin(telling, "d", key=KEY, event=("note", 2), **options)).is_new
        stage.gate("b").set()
        await until(is_told("d begins"))
        limits = "SELECT generation, round(extract(epoch FROM deadline_at - started_at) / 600)::int FROM durable.runs"
        assert await rows(database, f"{limits} ORDER BY 1") == [(1, 6), (2, 12), (None, None)]
        stage.gate("d").set()
        assert await second.result(timeout=20) == "b"
        assert await client.handle(telling, key=KEY).result(timeout=20) == "d"
    assert [told for told in stage.told if " has " in told] == ["b has 2", "d has 2"]


async def test_what_a_run_has_read_in_a_chapter_that_is_over_counts_at_its_end(database: str) -> None:
    @workflow
    async def continuing(ctx: Context, chapter: int) -> int:
        if chapter == 1:
            await ctx.wait_for_event("early", "early")
        if chapter < 3:
            await ctx.continue_as_new(chapter + 1)
        if not await ctx.execute("is first", is_first):
            await ctx.wait_for_event("late", "late")
        return chapter

    def is_first() -> bool:
        stage.tell("a last chapter begins")
        return len(stage.told) == 1

    async with AsyncClient(database) as client, Worker(database, [continuing]):
        first = await client.begin(continuing, 1, key=KEY, if_ended="begin_anew", event=("late", 1))
        await first.publish_event("early")
        assert await first.result(timeout=20) == 3
        assert (await first.info()).chapter == 3
        await until(lambda: is_begun(database, 2))
        await client.publish_event((continuing, KEY), "early")
        assert await client.handle(continuing, key=KEY).result(timeout=20) == 3
    assert await rows(database, "SELECT name FROM durable.events WHERE kind = 'event' AND consumed_by IS NULL") == []


async def is_begun(database: str, count: int) -> bool:
    """Whether there are that many runs."""
    return await rows(database, "SELECT count(*) FROM durable.runs") == [(count,)]


async def test_a_run_that_reads_nothing_is_followed_once_for_an_event(database: str) -> None:
    @workflow
    async def deaf(ctx: Context, name: str) -> str:
        await ctx.execute("work", pass_gate, name)
        return name

    async with AsyncClient(database) as client, Worker(database, [deaf]):
        await client.begin(deaf, "first", key=KEY)
        await until(is_told("first begins"))
        await client.begin(deaf, "second", key=KEY, if_ended="begin_anew", event=("note", 1))
        stage.gate("first").set()
        await until(is_told("second begins"))
        stage.gate("second").set()
        await until(lambda: all_is_closed(database))
        assert await client.handle(deaf, key=KEY).result(timeout=20) == "second"
        assert len(await client.list_runs()) == 2


async def all_is_closed(database: str) -> bool:
    query = "SELECT true FROM durable.events WHERE kind = 'next' AND consumed_by IS NULL"
    return not await rows(database, query)


class Bound(JsonCodec):
    """Writes where a value belongs, and reads it nowhere else."""

    def __init__(self, place: Place | None = None) -> None:
        super().__init__()
        self._place = place

    def bound_to(self, place: Place) -> Bound:
        return Bound(place)

    def encode(self, value: Any, what: str) -> str:
        return super().encode([str(self._place), value], what)

    def decode(self, text: str, type: Any, what: str) -> Any:
        place, value = super().decode(text, tuple[str, type], what)
        if place != str(self._place):
            raise DeserializationError(what, f"belongs to {place}, not to {self._place}")
        return value


async def test_what_is_bound_to_a_run_can_be_read_by_the_run_to_which_it_moves(database: str) -> None:
    @workflow(codec=Bound())
    async def patient(ctx: Context, name: str) -> str:
        await ctx.execute("work", pass_gate, name)
        text = await ctx.wait_for_event("read", "note", str)
        await ctx.execute("keep", tell, f"{name} reads {text}")
        return text

    async with AsyncClient(database) as client, Worker(database, [patient]):
        await client.begin(patient, "a", key=KEY, if_ended="begin_anew", event=("note", "first"))
        await until(is_told("a begins"))
        for name in ("b", "c"):
            await client.begin(patient, name, key=KEY, if_ended="begin_anew", event=("note", name))
            stage.gate(name).set()
        stage.gate("a").set()
        await until(lambda: len([told for told in stage.told if " reads " in told]) == 3)
        assert [told for told in stage.told if " reads " in told] == ["a reads first", "b reads b", "c reads c"]
