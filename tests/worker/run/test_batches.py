"""Runs that take several events at once, or one after the other."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import msgspec
import pytest

from durable import (
    AsyncClient,
    AsyncHandle,
    Context,
    Event,
    EventTimeout,
    InvalidArgument,
    RunRetryPolicy,
    SerializationError,
    Worker,
    Workflow,
    workflow,
)
from tests.watching import reached, rows, until
from tests.worker.flows import process_all, running


class Reading(msgspec.Struct):
    value: int


reading = Event("reading", Reading)
LONG = 3600.0


def batching(max: int, within: float, timeout: float | None = None) -> Workflow[None, list[int]]:
    @workflow
    async def batch(ctx: Context) -> list[int]:
        readings = await ctx.wait_for_events("batch", reading, max=max, within=within, timeout=timeout)
        return [reading.value for reading in readings]

    return batch


async def publish(handle: AsyncHandle[Any], *values: int) -> None:
    for value in values:
        await handle.publish_event(reading, Reading(value))


async def unread(database: str) -> int:
    ((count,),) = await rows(database, "SELECT count(*) FROM durable.events WHERE consumed_by IS NULL")
    return int(count)


async def test_a_wait_ends_as_soon_as_there_are_enough(database: str) -> None:
    batch = batching(3, LONG)
    async with running(database, batch) as client:
        handle = await client.begin(batch)
        await publish(handle, 1, 2, 3, 4)
        assert await handle.result(timeout=30) == [1, 2, 3]
    assert await unread(database) == 1
    waits = await rows(database, "SELECT wait_key, json_array_length(payload), event_id IS NOT NULL FROM durable.waits")
    assert waits == [("batch", 3, True)]
    taken = await rows(database, "SELECT count(*) FROM durable.events WHERE consumed_by = 'batch'")
    assert taken == [(3,)]


async def test_what_was_buffered_before_counts(database: str) -> None:
    batch = batching(3, LONG)
    async with AsyncClient(database) as client:
        handle = await client.begin(batch)
        await publish(handle, 1, 2, 3)
        await process_all(Worker(database, [batch]))
        assert await handle.result(timeout=0) == [1, 2, 3]


async def test_a_wait_ends_a_while_after_the_first_one(database: str) -> None:
    batch = batching(100, 0.3)
    async with running(database, batch) as client:
        handle = await client.begin(batch)
        await publish(handle, 1, 2)
        assert await handle.result(timeout=30) == [1, 2]


async def test_without_a_while_it_takes_what_is_there(database: str) -> None:
    batch = batching(100, 0)
    async with AsyncClient(database) as client:
        handle = await client.begin(batch)
        await publish(handle, 1, 2)
        await process_all(Worker(database, [batch]))
        assert await handle.result(timeout=0) == [1, 2]


async def test_if_none_comes_in_time_the_list_is_empty(database: str) -> None:
    batch = batching(3, 0.1, timeout=0.1)
    async with running(database, batch) as client:
        assert await (await client.begin(batch)).result(timeout=30) == []
    assert await rows(database, "SELECT timed_out, payload FROM durable.waits") == [(True, None)]


async def test_a_run_that_gathers_is_parked_and_its_time_survives_the_worker(database: str) -> None:
    batch = batching(3, LONG, timeout=2 * LONG)
    async with AsyncClient(database) as client:
        handle = await client.begin(batch)
        await publish(handle, 1)
        await process_all(Worker(database, [batch]))
        info = await handle.info()
        assert info.status == "waiting_event"
        assert info.next_wake_at is not None
        ((wake_at, payload),) = await rows(database, "SELECT wake_at, payload FROM durable.waits")
        assert wake_at == info.next_wake_at
        assert payload is True
        assert await process_all(Worker(database, [batch])) == 0  # what it has seen does not wake it

        await publish(handle, 2)
        assert await process_all(Worker(database, [batch])) == 1
        assert await rows(database, "SELECT wake_at FROM durable.waits") == [(wake_at,)]  # counted from the first
        assert await unread(database) == 2

        await rows(database, "UPDATE durable.waits SET wake_at = now()")
        await rows(database, "UPDATE durable.runs SET next_wake_at = now()")
        await process_all(Worker(database, [batch]))
        assert await handle.result(timeout=0) == [1, 2]


async def test_the_last_one_that_is_needed_wakes_a_run_that_is_parked(database: str) -> None:
    batch = batching(3, LONG)
    async with running(database, batch) as client:
        handle = await client.begin(batch)
        for value in (1, 2, 3):
            await reached(client, handle.run_key, "waiting_event")
            await publish(handle, value)
        assert await handle.result(timeout=30) == [1, 2, 3]


async def test_waits_for_the_same_events_take_them_in_the_order_in_which_they_began(database: str) -> None:
    @workflow
    async def both(ctx: Context) -> list[Any]:
        first = asyncio.ensure_future(ctx.wait_for_events("batch", reading, max=2, within=LONG))
        second = asyncio.ensure_future(ctx.wait_for_event("one", reading))
        third = asyncio.ensure_future(ctx.wait_for_events("late", reading, max=2, within=LONG, timeout=0.1))
        assert await third == []
        return [[one.value for one in await first], (await second).value]

    async with running(database, both) as client:
        handle = await client.begin(both)
        await publish(handle, 1)
        await reached(client, handle.run_key, "waiting_event")
        await publish(handle, 2, 3)
        assert await handle.result(timeout=30) == [[1, 2], 3]


async def test_a_wait_that_is_given_up_leaves_its_events_to_the_next_one(database: str) -> None:
    @workflow
    async def impatient(ctx: Context) -> list[int]:
        second: asyncio.Future[list[Reading]] | None = None
        try:
            async with ctx.timeout("limit", 0.5):
                first = asyncio.ensure_future(ctx.wait_for_events("first", reading, max=10, within=LONG))
                second = asyncio.ensure_future(ctx.wait_for_events("second", reading, max=2, within=LONG))
                await first
        except TimeoutError:
            pass
        assert second is not None
        return [one.value for one in await second]

    async with running(database, impatient) as client:
        handle = await client.begin(impatient)
        await publish(handle, 1, 2)
        assert await handle.result(timeout=30) == [1, 2]


async def test_a_cancel_takes_no_events(database: str) -> None:
    batch = batching(3, LONG)
    async with running(database, batch) as client:
        handle = await client.begin(batch)
        await publish(handle, 1)
        await reached(client, handle.run_key, "waiting_event")
        await handle.cancel()
        await reached(client, handle.run_key, "cancelled")
    assert await unread(database) == 1
    assert await rows(database, "SELECT wait_key FROM durable.waits") == []


async def test_a_retry_waits_again_after_a_timeout_and_keeps_what_was_taken(database: str) -> None:
    attempts: Counter[str] = Counter()

    @workflow(retry=RunRetryPolicy(max_attempts=2, backoff=0))
    async def stumbling(ctx: Context) -> list[list[int]]:
        first = await ctx.wait_for_events("first", reading, max=2, within=LONG)
        attempts["run"] += 1
        second = await ctx.wait_for_events("second", reading, max=2, within=0, timeout=0 if ctx.attempt == 1 else 60)
        if not second:
            raise ValueError("nothing came")
        return [[one.value for one in batch] for batch in (first, second)]

    async with running(database, stumbling) as client:
        handle = await client.begin(stumbling)
        await publish(handle, 1, 2)
        await until(lambda: attempts["run"] == 2)
        await publish(handle, 3)
        assert await handle.result(timeout=30) == [[1, 2], [3]]


async def test_one_payload_that_does_not_fit_sets_the_run_aside(database: str) -> None:
    batch = batching(2, LONG)
    async with AsyncClient(database) as client:
        handle = await client.begin(batch)
        await publish(handle, 1)
        await handle.publish_event("reading", "not a reading")
        await process_all(Worker(database, [batch]))
        info = await handle.info()
        assert info.status_reason == "set_aside"
        assert info.error is not None
        assert "'reading'" in info.error.message


async def test_bad_arguments_are_refused(database: str) -> None:
    @workflow
    async def careless(ctx: Context) -> list[str]:
        said = []
        options: list[dict[str, Any]] = [
            {"max": 0, "within": 1},
            {"max": 1001, "within": 1},
            {"max": 1.5, "within": 1},
            {"max": 1, "within": -1},
            {"max": 1, "within": None},
            {"max": 1, "within": 1, "timeout": -1},
            {"max": 1, "within": 1, "type": int},
            {"max": 1, "within": 1, "event": ""},
        ]
        for option in options:
            event: Any = option.pop("event", reading)
            try:
                await ctx.wait_for_events("k", event, **option)
            except InvalidArgument as error:
                said.append(str(error))
        try:
            await ctx.wait_for_events("k", "reading", type(lambda: None), max=1, within=1)
        except SerializationError as error:
            said.append(str(error))
        return said

    async with running(database, careless) as client:
        said = await (await client.begin(careless)).result(timeout=30)
    assert len(said) == 9


async def test_events_come_one_after_the_other_until_the_loop_is_left(database: str) -> None:
    @workflow
    async def adding(ctx: Context) -> list[int]:
        total, feed = 0, ctx.events("reading", reading)
        async for one in feed:
            total += one.value
            if total > 5:
                break
        async for one in feed:
            return [total, one.value]
        raise AssertionError

    async with running(database, adding) as client:
        handle = await client.begin(adding)
        for value in (1, 2, 3):
            await publish(handle, value)
            await reached(client, handle.run_key, "waiting_event")
        await publish(handle, 4, 5)
        assert await handle.result(timeout=30) == [6, 4]
    keys = await rows(database, "SELECT wait_key FROM durable.waits ORDER BY seq")
    assert keys == [(f"reading[{number}]",) for number in range(4)]
    assert await unread(database) == 1


async def test_a_loop_over_events_can_be_limited_and_is_replayed(database: str) -> None:
    @workflow
    async def patient(ctx: Context) -> list[int]:
        seen: list[int] = []
        with pytest.raises(EventTimeout):
            async for one in ctx.events("reading", reading, timeout=0.2):
                seen.append(one.value)  # noqa: PERF401
        return seen

    async with AsyncClient(database) as client:
        handle = await client.begin(patient)
        await publish(handle, 1, 2)
        await process_all(Worker(database, [patient]))
        async with Worker(database, [patient]):
            assert await handle.result(timeout=30) == [1, 2]
