"""The workflows of the golden histories. What is recorded must match them for ever: add, never change."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, TypedDict
from uuid import UUID

import msgspec
import psycopg

from durable import (
    Call,
    Context,
    Event,
    EventTimeout,
    RetryPolicy,
    RunCancelled,
    RunFailed,
    RunRetryPolicy,
    StepFailed,
    Terminal,
    current_step,
    workflow,
)

NEVER_AGAIN = RetryPolicy(max_retries=0)


class Colour(Enum):
    RED = "red"


class Order(msgspec.Struct):
    number: int
    lines: tuple[str, ...]


@dataclass
class Receipt:
    order: Order
    paid_at: datetime
    amounts: dict[str, Decimal]


class Note(TypedDict):
    text: str
    on: date


async def add(a: int, b: int) -> int:
    return a + b


def add_in_thread(a: int, b: int) -> int:
    return a + b


async def refuse(what: str) -> str:
    raise ValueError(f"no {what}")


async def greet(name: str) -> str:
    return f"Hello, {name}!"


async def nothing() -> None:
    return None


async def count_runs(tx: psycopg.AsyncConnection[Any], least: int) -> bool:
    row = await (await tx.execute("SELECT count(*) FROM durable.runs")).fetchone()
    assert row is not None
    return bool(row[0] >= least)


async def pay(order: Order) -> Receipt:
    return Receipt(order, datetime(2026, 1, 1, 12, tzinfo=UTC), {"€": Decimal("19.90")})


async def everything() -> tuple[UUID, Colour, timedelta, bytes, set[int], Note, float, int]:
    note = Note(text='"quoted" \\ ü 💶', on=date(2026, 2, 28))
    return UUID(int=7), Colour.RED, timedelta(hours=1), b"\0\xff", {3}, note, 1e16, 2**53 + 1


@workflow
async def golden_step(ctx: Context, number: int) -> int:
    return await ctx.execute("add", add, number, 1)


@workflow
async def golden_sync_step(ctx: Context, number: int) -> int:
    return await ctx.execute("add", add_in_thread, number, 1)


@workflow
async def golden_step_without_a_value(ctx: Context) -> None:
    await ctx.execute("nothing", nothing)


@workflow
async def golden_failed_step(ctx: Context) -> str:
    return await ctx.execute(Call("refuse", retry=NEVER_AGAIN), refuse, "money")


@workflow
async def golden_caught_failure(ctx: Context) -> list[str]:
    try:
        await ctx.execute(Call("refuse", retry=NEVER_AGAIN), refuse, "money")
    except StepFailed as error:
        return [error.step_key, error.error_type, error.message, await ctx.execute("greet", greet, "debtor")]
    return []


@workflow
async def golden_raise(ctx: Context) -> None:
    await ctx.execute("greet", greet, "World")
    raise Terminal("enough")


@workflow
async def golden_transaction(ctx: Context) -> list[bool]:
    return [await ctx.transaction("first", count_runs, 1), await ctx.transaction("second", count_runs, 1000)]


@workflow
async def golden_transaction_without_order(ctx: Context) -> list[str]:
    order: list[str] = []

    async def note(key: str) -> None:
        if key == "transaction":
            await ctx.execute("before", greet, "World")
            await ctx.transaction(key, count_runs, 1)
        else:
            await ctx.execute(key, greet, key)
        order.append(key)

    await asyncio.gather(note("transaction"), note("a"), note("b"))
    return order


@workflow
async def golden_sleep(ctx: Context) -> str:
    await ctx.sleep("nap", 0.01)
    return "awake"


@workflow
async def golden_sleep_until(ctx: Context) -> str:
    await ctx.sleep_until("past", datetime(2020, 1, 1, tzinfo=UTC))
    return "awake"


@workflow
async def golden_event(ctx: Context) -> Order:
    return await ctx.wait_for_event("wait", "order", Order)


@workflow
async def golden_two_events(ctx: Context) -> list[Any]:
    return [await ctx.wait_for_event(f"wait {turn}", "order") for turn in range(2)]


@workflow
async def golden_requests(ctx: Context) -> list[Order]:
    first = await ctx.wait_for_request("first", "order", Order)
    second = asyncio.create_task(ctx.wait_for_request("second", "order", Order))
    await first.reply(first.payload.number)
    await (await second).refuse("one is enough")
    return [first.payload, second.result().payload]


@workflow
async def golden_event_timeout(ctx: Context) -> str:
    try:
        await ctx.wait_for_event("wait", "order", timeout=0.01)
    except EventTimeout:
        return "too late"
    return "in time"


@workflow
async def golden_random_uuid7(ctx: Context) -> UUID:
    return await ctx.random_uuid7("uuid")


@workflow
async def golden_random_uint64(ctx: Context) -> int:
    return await ctx.random_uint64("integer")


@workflow
async def golden_random(ctx: Context) -> str:
    return "high" if await ctx.random("chance") >= 0.5 else "low"


@workflow
async def golden_now(ctx: Context) -> datetime:
    return await ctx.now("moment")


@workflow
async def golden_gather(ctx: Context) -> list[int]:
    return await asyncio.gather(*(ctx.execute(f"add {index}", add, index, index) for index in range(5)))


@workflow
async def golden_race(ctx: Context) -> list[str]:
    tasks = {
        asyncio.ensure_future(ctx.execute("step", greet, "World")): "step",
        asyncio.ensure_future(ctx.wait_for_event("wait", "order")): "wait",
        asyncio.ensure_future(ctx.sleep("nap", 3600)): "sleep",
    }
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await ctx.sleep("after", 0.01)
    return [name for task, name in tasks.items() if task in done]


@workflow
async def golden_cancel(ctx: Context) -> None:
    await ctx.execute("reserve", greet, "World")
    try:
        await ctx.wait_for_event("wait", "payment")
    finally:
        await ctx.execute("release", greet, "World")


@workflow
async def golden_swallowed_cancel(ctx: Context) -> str:
    try:
        await ctx.wait_for_event("wait", "payment")
    except asyncio.CancelledError:
        await ctx.execute("go on", greet, "World")
    return "went on"


@workflow(timeout=0.3)
async def golden_deadline(ctx: Context) -> None:
    try:
        await ctx.wait_for_event("wait", "payment")
    finally:
        await ctx.execute("release", greet, "World")


async def refuse_at_first(ctx_attempt: int) -> str:
    if ctx_attempt == 1:
        raise ValueError("not yet")
    return "now"


@workflow(retry=RunRetryPolicy(max_attempts=2, backoff=0))
async def golden_retry(ctx: Context) -> list[str]:
    first = await ctx.execute("first", greet, "first")
    failing = ctx.execute(Call("failing", retry=NEVER_AGAIN), refuse_at_first, ctx.attempt)
    results = await asyncio.gather(failing, ctx.execute("beside", greet, "beside"), return_exceptions=True)
    await ctx.execute("later", greet, "later")
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [first, *map(str, results)]


@workflow
async def golden_open_waits(ctx: Context) -> list[Any]:
    before = await ctx.execute("before", greet, "World")
    waits = (
        ctx.sleep("long", timedelta(days=30)),
        ctx.wait_for_event("for ever", "order"),
        ctx.wait_for_event("for long", "order", timeout=86400),
    )
    return [before, *await asyncio.gather(*waits)]


@workflow
async def golden_leaf(ctx: Context, order: Order) -> Receipt:
    if order.number < 0:
        raise Terminal("a number below zero")
    if order.number == 0:
        await ctx.wait_for_event("for ever", "end")
    return await ctx.execute("pay", pay, order)


@workflow
async def golden_child(ctx: Context) -> Receipt:
    return await ctx.run_child("leaf", golden_leaf, Order(1, ("tea",)))


@workflow
async def golden_failed_child(ctx: Context) -> list[str]:
    try:
        await ctx.run_child("leaf", golden_leaf, Order(-1, ()))
    except RunFailed as error:
        return [error.error.type, error.error.message]
    return []


@workflow
async def golden_open_child(ctx: Context) -> list[Receipt]:
    children = ctx.run_child("ends", golden_leaf, Order(2, ())), ctx.run_child("waits", golden_leaf, Order(0, ()))
    return list(await asyncio.gather(*children))


@workflow
async def golden_started_child(ctx: Context) -> list[Receipt]:
    handle = await ctx.start_child("leaf", golden_leaf, Order(3, ("a", "b")))
    await ctx.execute("beside", greet, str(handle.run_key.workflow_name_shard))
    return [await handle.result(), await handle.result()]


@workflow
async def golden_nested(ctx: Context) -> list[int]:
    async def branch(name: str) -> int:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ctx.execute(f"{name}/{index}", add, index, 10)) for index in range(3)]
        await ctx.sleep(f"{name}/nap", 0.01)
        return sum(task.result() for task in tasks)

    return await asyncio.gather(*(branch(name) for name in ("left", "right")))


@workflow
async def golden_failed_group(ctx: Context) -> list[str]:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.execute(Call("refuse", retry=NEVER_AGAIN), refuse, "luck"))
            group.create_task(ctx.sleep("long", 3600))
    except* StepFailed as errors:
        caught = [str(error) for error in errors.exceptions]
    return [*caught, await ctx.execute("after", greet, "World")]


@workflow
async def golden_loop(ctx: Context, times: int) -> list[int]:
    return [await ctx.execute(f"turn {turn}", add, turn, 1) for turn in range(times)]


@workflow
async def golden_queue_and_lock(ctx: Context) -> list[str]:
    queue: asyncio.Queue[str] = asyncio.Queue()
    lock = asyncio.Lock()

    async def work(name: str) -> None:
        async with lock:
            await queue.put(await ctx.execute(name, greet, name))

    async with asyncio.TaskGroup() as group:
        for name in ("a", "b", "c"):
            group.create_task(work(name))
    return [queue.get_nowait() for _ in range(3)]


@workflow
async def golden_payloads(ctx: Context, order: Order) -> tuple[str, str]:
    receipt = await ctx.execute("pay", pay, order)
    return repr(receipt), repr(await ctx.execute("everything", everything))


@workflow
async def golden_keys(ctx: Context) -> list[str]:
    keys = ("ü 💶", "a/b:c%d", "x" * 200, "' OR 1=1 --", "{}")
    return [await ctx.execute(key, greet, key) for key in keys]


async def rest() -> str:
    await asyncio.sleep(3600)
    return "rested"


@workflow
async def golden_asyncio_sleep(ctx: Context) -> str:
    await asyncio.sleep(0.01)
    return await ctx.execute("greet", greet, "World")


@workflow
async def golden_limits(ctx: Context) -> list[Any]:
    """Over a step, a wait and a child that take too long, and over one that does not."""
    found: list[Any] = []
    try:
        async with asyncio.timeout(0.05):
            await ctx.execute("rest", rest)
    except TimeoutError:
        found.append("timeout")
    try:
        await asyncio.wait_for(ctx.wait_for_event("wait", "order"), 0.05)
    except TimeoutError:
        found.append("wait_for")
    child = asyncio.create_task(ctx.run_child("leaf", golden_leaf, Order(0, ())))
    done, _ = await asyncio.wait([child], timeout=0.05)
    child.cancel()
    found += [len(done), *await asyncio.gather(child, return_exceptions=True)]
    found[-1] = type(found[-1]).__name__
    return [*found, await asyncio.wait_for(ctx.execute("greet", greet, "World"), 60)]


@workflow
async def golden_named_limits(ctx: Context) -> list[Any]:
    """One that is over, one inside another, one that is left in time."""
    found: list[Any] = []
    try:
        async with ctx.timeout("outer", 60), ctx.timeout("inner", 0.05):
            await ctx.execute("rest", rest)
    except TimeoutError as error:
        found.append(str(error))
    async with ctx.timeout("enough", 60):
        found.append(await ctx.execute("greet", greet, "World"))
    return found


@workflow
async def golden_young_timers(ctx: Context) -> list[str]:
    """They leave no row, and count."""
    found = [await asyncio.wait_for(ctx.execute(f"greet {index}", greet, str(index)), 60) for index in range(3)]
    await asyncio.wait_for(asyncio.sleep(0), 60)
    await asyncio.sleep(0.01)
    return found


@workflow
async def golden_call_later(ctx: Context) -> list[str]:
    loop = asyncio.get_running_loop()
    order: list[str] = []
    done = loop.create_future()
    loop.call_later(0.06, order.append, "third")
    dropped = loop.call_later(0.04, order.append, "dropped")
    loop.call_later(0.02, order.append, "first")
    loop.call_later(0.02, order.append, "second")
    loop.call_later(0.03, dropped.cancel)
    loop.call_later(0.08, done.set_result, None)
    await done
    return order


@workflow
async def golden_time(ctx: Context) -> list[float]:
    loop = asyncio.get_running_loop()
    times = [loop.time()]
    await ctx.execute("first", greet, "World")
    await ctx.execute("second", greet, "World")
    times.append(loop.time())
    await asyncio.sleep(0.05)
    times.append(loop.time())
    await ctx.transaction("third", count_runs, 1)
    return [*times, loop.time()]


@workflow
async def golden_open_timers(ctx: Context) -> list[Any]:
    await asyncio.wait_for(ctx.execute("before", greet, "World"), 60)

    async def limited() -> Any:
        async with asyncio.timeout(86400):
            return await ctx.wait_for_event("first", "order")

    second = asyncio.wait_for(ctx.wait_for_event("second", "order"), 3600)
    return await asyncio.gather(asyncio.sleep(86400 * 30), limited(), second)


@workflow
async def golden_cancelled_timers(ctx: Context) -> None:
    try:
        async with asyncio.timeout(3600):
            await ctx.wait_for_event("wait", "payment")
    finally:
        await asyncio.sleep(0.01)
        await ctx.execute("release", greet, "World")


@workflow(retry=RunRetryPolicy(max_attempts=2, backoff=0))
async def golden_retry_after_a_limit(ctx: Context) -> list[str]:
    await asyncio.sleep(0.01)
    found = [await ctx.execute("kept", greet, "kept")]
    beside = asyncio.create_task(ctx.execute("beside", greet, "beside"))
    if ctx.attempt == 1:
        await asyncio.sleep(0.02)
        async with asyncio.timeout(0.05):
            await ctx.execute("rest", rest)
    await asyncio.sleep(0.03)
    return [*found, await beside]


@workflow
async def golden_circles(ctx: Context) -> int:
    """How often it turns until it is left belongs to its history."""
    polled = asyncio.create_task(ctx.execute("add", add, 1, 1))
    turns = 0
    while not polled.done():
        turns += 1
        await asyncio.sleep(0)
    return turns


@workflow
async def golden_order_of_tasks(ctx: Context) -> list[str]:
    """The larger the set, the more does its order depend on the run."""
    tasks = {asyncio.create_task(asyncio.sleep(0, str(index)), name=str(index)) for index in range(300)}
    done, _ = await asyncio.wait(list(tasks)[::7])
    order = [task.get_name() for task in done]
    return [await ctx.execute(name, greet, name) for name in order[:5]]


async def refuse_twice(what: str) -> str:
    if current_step().attempt < 3:
        raise ConnectionError(f"no {what} yet")
    return what


async def hang() -> None:
    await asyncio.sleep(600)


@workflow
async def golden_tries(ctx: Context) -> list[str]:
    policy = RetryPolicy(backoff=0.01)
    return [
        await ctx.execute(Call("tea", retry=policy), refuse_twice, "tea"),
        await ctx.transaction(Call("milk", retry=policy), pour_at_last, "milk"),
    ]


async def pour_at_last(tx: psycopg.AsyncConnection[Any], what: str) -> str:
    return await refuse_twice(what)


@workflow
async def golden_open_tries(ctx: Context) -> list[str]:
    policy = RetryPolicy(backoff=3600)
    return list(
        await asyncio.gather(
            ctx.execute(Call("tea", retry=policy), refuse_twice, "tea"),
            ctx.transaction(Call("milk", retry=policy), pour_at_last, "milk"),
        )
    )


@workflow
async def golden_at_most_once(ctx: Context) -> list[str]:
    """One call that was made, one that failed, and one that may have been made."""
    found = [await ctx.execute(Call("greet", at_most_once=True), greet, "World")]
    try:
        await ctx.execute(Call("refuse", at_most_once=True), refuse, "tea")
    except StepFailed as error:
        found.append(str(error))
    await ctx.execute(Call("hang", at_most_once=True), hang)
    return found


@workflow
async def golden_calls(ctx: Context) -> list[Any]:
    return [
        await ctx.execute("by name", greet, name="World"),
        await ctx.execute(Call("named", name="hello"), greet, "World"),
    ]


@workflow
async def golden_asked_child(ctx: Context) -> list[str]:
    order = Order(3, ("a", "b"))
    handle = await ctx.start_child("leaf", golden_leaf, order, tags={"a": "b"}, headers={"c": "d"})
    await handle.result()
    return [await handle.status("status")]


@workflow
async def golden_cancelled_child(ctx: Context) -> str:
    handle = await ctx.start_child("leaf", golden_leaf, Order(1, ()), delay=86400)
    await handle.cancel()
    try:
        return str(await handle.result())
    except RunCancelled:
        return await ctx.execute("greet", greet, "instead")


@workflow
async def golden_held_cancel(ctx: Context) -> None:
    try:
        await asyncio.gather(ctx.run_child("leaf", golden_leaf, Order(0, ())), ctx.sleep("sleep", 86400))
    finally:
        await ctx.execute("release", greet, "World")


@workflow
async def golden_saga(ctx: Context) -> list[str]:
    """One that ends well, and one that is undone although a compensation of it fails."""
    found: list[str] = []
    async with ctx.saga() as saga:
        saga.undo("kept", greet, "nobody")
        found.append(await ctx.execute("kept", greet, "World"))
    try:
        async with ctx.saga() as saga:
            for name in ("first", "second", "third"):
                saga.undo(Call(name, retry=NEVER_AGAIN), refuse if name == "second" else greet, name)
                await ctx.execute(name, greet, name)
            await ctx.execute(Call("refuse", retry=NEVER_AGAIN), refuse, "seats")
    except* StepFailed as errors:
        found += [str(error) for error in errors.exceptions]
    return found


@workflow
async def golden_cancelled_saga(ctx: Context) -> None:
    async with ctx.saga() as saga:
        saga.undo("reserve", greet, await ctx.execute("reserve", greet, "World"))
        await ctx.wait_for_event("wait", "payment")


@workflow(retry=RunRetryPolicy(max_attempts=2, backoff=0))
async def golden_retry_after_a_saga(ctx: Context) -> list[str]:
    before = await ctx.execute("before", greet, "before")
    async with ctx.saga() as saga:
        saga.undo("undone", greet, "undo")
        undone = await ctx.execute("undone", greet, "undone")
        kept = await ctx.execute("kept", greet, "kept")
        failing = await ctx.execute(Call("failing", retry=NEVER_AGAIN), refuse_at_first, ctx.attempt)
        return [before, undone, kept, failing]
    return []


async def halve(number: int) -> int:
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number // 2


@workflow
async def golden_map(ctx: Context) -> list[Any]:
    all_of_them = await ctx.map("half", halve, range(0, 12, 2), max_concurrency=2)
    some = await ctx.map(Call("some", retry=NEVER_AGAIN), halve, range(5), max_concurrency=3, max_failures=2)
    return [all_of_them, some.values, list(some.failures)]


@workflow
async def golden_patched(ctx: Context) -> list[Any]:
    found: list[Any] = [ctx.patched("at first")]
    found.append(await ctx.execute("greet", greet, "World"))
    return [*found, ctx.patched("later"), ctx.patched("at first")]


@workflow
async def golden_chapters(ctx: Context, number: int) -> list[Any]:
    order = await ctx.wait_for_event("wait", "order", Order)
    if number > 1:
        return await ctx.continue_as_new(number - 1)
    return [ctx.chapter, order.number, await ctx.execute("greet", greet, "World")]


@workflow
async def golden_publish(ctx: Context) -> str:
    order = Order(1, ("tea",))
    await ctx.publish_event("to me", ctx.run_key, Event("order", Order), order)
    await ctx.publish_event("to nobody", ("golden_leaf", "nobody"), "order")
    return (await ctx.wait_for_event("wait", Event("order", Order))).lines[0]


@workflow
async def golden_events(ctx: Context) -> list[Any]:
    for number in range(3):
        await ctx.publish_event(f"send {number}", ctx.run_key, "number", number)
    numbers = await ctx.wait_for_events("three", Event("number", int), max=3, within=86400)
    nothing = await ctx.wait_for_events("none", "number", max=3, within=0, timeout=0.01)
    await ctx.publish_event("send more", ctx.run_key, "number", 4)
    async for number in ctx.events("loop", "number", int):
        return [numbers, nothing, number]
    raise AssertionError


@workflow
async def golden_gathering(ctx: Context) -> list[int]:
    await ctx.publish_event("send", ctx.run_key, "number", 1)
    return await ctx.wait_for_events("wait", "number", int, max=3, within=86400)
