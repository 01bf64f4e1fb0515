"""Workload W: workflows whose output can be told from their input and from what is recorded of them (see model.py)."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any, Literal

import msgspec

from durable import (
    Call,
    Context,
    EventTimeout,
    RetryPolicy,
    RunFailed,
    StepFailed,
    Terminal,
    Workflow,
    exponential,
    workflow,
)
from tests.faults.effects import (
    STEADFAST,
    BrokenPart,
    book,
    effect,
    effect_of,
    failing_effect,
    refund,
    stumbling_effect,
)
from tests.faults.timing import timing

_UNLESS_BROKEN = RetryPolicy(max_retries=100_000, backoff=exponential(0.02, 0.3), give_up_on=(BrokenPart,))


class Transfer(msgspec.Struct, frozen=True):
    number: int
    source: int
    target: int
    amount: int


class Effects(msgspec.Struct, frozen=True):
    number: int
    steps: int
    seconds: float


class Trying(msgspec.Struct, frozen=True):
    number: int
    failures: int
    delay: float


class Chapters(msgspec.Struct, frozen=True):
    number: int
    chapters: int
    items: int
    chapter: int = 1


class Nap(msgspec.Struct, frozen=True):
    number: int
    seconds: float


class Listening(msgspec.Struct, frozen=True):
    number: int
    names: list[str]


class Deciding(msgspec.Struct, frozen=True):
    number: int
    timeout: float


class Branches(msgspec.Struct, frozen=True):
    number: int
    branches: int
    waits_for_loser: bool


class Breaking(msgspec.Struct, frozen=True):
    number: int
    is_caught: bool


class Leaf(msgspec.Struct, frozen=True):
    """``waits``: until it is cancelled."""

    fate: Literal["well", "fails", "waits"]


class Bearing(msgspec.Struct, frozen=True):
    """``number`` is ``None`` where no application has begun it; ``nested``: one more child, a parent itself."""

    number: int | None
    children: list[Leaf]
    nested: Bearing | None = None


class Raced(msgspec.Struct, frozen=True):
    gathered: list[str]
    winner: str
    loser: str | None


class Slept(msgspec.Struct, frozen=True):
    before: datetime
    after: datetime


class Told(msgspec.Struct, frozen=True):
    name: str
    index: int


@workflow
async def transfer(ctx: Context, order: Transfer) -> list[int]:
    shard, run_id = ctx.run_key.workflow_name_shard, ctx.run_id
    return [
        await ctx.transaction(
            Call("debit", retry=STEADFAST), book, shard, run_id, "debit", order.source, -order.amount
        ),
        await ctx.transaction(
            Call("credit", retry=STEADFAST), book, shard, run_id, "credit", order.target, order.amount
        ),
    ]


@workflow
async def effects(ctx: Context, order: Effects) -> list[str]:
    """Steps one after the other, with a draw between."""
    values: list[str] = []
    for index in range(order.steps):
        key = f"effect {index}"
        values.append(await ctx.execute(Call(key, retry=STEADFAST), effect, ctx.run_id, key, order.seconds))
        values.append(str(await ctx.random_uint64(f"draw {index}")))
    return values


@workflow
async def sleepy(ctx: Context, order: Nap) -> Slept:
    before = await ctx.now("before")
    await ctx.sleep("nap", order.seconds)
    await ctx.execute(Call("awake", retry=STEADFAST), effect, ctx.run_id, "awake")
    return Slept(before, await ctx.now("after"))


@workflow
async def listening(ctx: Context, order: Listening) -> list[Told]:
    """Takes events of several names, each in its order."""
    told: list[Told] = []
    for position, name in enumerate(order.names):
        told.append(await ctx.wait_for_event(f"event {position}", name, Told))
        if position == 0:
            await ctx.execute(Call("heard", retry=STEADFAST), effect, ctx.run_id, "heard")
    return told


@workflow
async def deciding(ctx: Context, order: Deciding) -> str:
    try:
        return await ctx.wait_for_event("decision", "decide", str, timeout=order.timeout)
    except EventTimeout:
        return await ctx.execute(Call("undecided", retry=STEADFAST), effect, ctx.run_id, "undecided")


@workflow
async def parallel(ctx: Context, order: Branches) -> Raced:
    """Branches side by side, then two that race."""

    async def branch(index: int) -> str:
        if index % 2:
            await ctx.sleep(f"pause {index}", 0.05)
        return await ctx.execute(Call(f"branch {index}", retry=STEADFAST), effect, ctx.run_id, f"branch {index}", 0.01)

    gathered = await asyncio.gather(*(branch(index) for index in range(order.branches)))
    racers = [
        asyncio.ensure_future(ctx.execute(Call(key, retry=STEADFAST), effect, ctx.run_id, key, 0.01))
        for key in ("left", "right")
    ]
    done, _ = await asyncio.wait(racers, return_when=asyncio.FIRST_COMPLETED)
    (winner,) = done
    loser = next(racer for racer in racers if racer is not winner)
    return Raced(gathered, winner.result(), await loser if order.waits_for_loser else None)


@workflow
async def compensating(ctx: Context, order: Transfer) -> str:
    """Is cancelled, or told to go on; gives back what it has taken."""
    shard, run_id = ctx.run_key.workflow_name_shard, ctx.run_id
    try:
        await ctx.transaction(Call("debit", retry=STEADFAST), book, shard, run_id, "debit", order.source, -order.amount)
        await ctx.wait_for_event("go", "go", str)
        await ctx.transaction(
            Call("credit", retry=STEADFAST), book, shard, run_id, "credit", order.target, order.amount
        )
    except asyncio.CancelledError:
        await ctx.transaction(Call("refund", retry=STEADFAST), refund, shard, run_id, order.source)
        raise
    finally:
        await ctx.execute(Call("tidy", retry=STEADFAST), effect, run_id, "tidy")
    return "credited"


@workflow
async def continuing(ctx: Context, order: Chapters) -> list[str]:
    """Several effects in each chapter; in the last one, one that is undone."""
    key = f"chapter {order.chapter}"
    items = [(ctx.run_id, f"{key}[{index}]") for index in range(order.items)]
    values = await ctx.map(Call(key, retry=STEADFAST), effect_of, items, max_concurrency=2)
    if order.chapter < order.chapters:
        return await ctx.continue_as_new(msgspec.structs.replace(order, chapter=order.chapter + 1))
    try:
        async with ctx.saga() as saga:
            saga.undo(Call("undone", retry=STEADFAST), effect, ctx.run_id, "undone:undo")
            await ctx.execute(Call("undone", retry=STEADFAST), effect, ctx.run_id, "undone")
            if ctx.patched("changes its mind"):
                raise _ChangedItsMind
    except _ChangedItsMind:
        values.append("undone")
    return values


class _ChangedItsMind(Exception):
    pass


@workflow
async def trying(ctx: Context, order: Trying) -> list[str]:
    """A step that fails some times, here or while the run is parked, and one that is called at most once."""
    ctx.set_status("stumbling")
    policy = RetryPolicy(max_retries=100_000, backoff=order.delay)
    call = Call("stumble", retry=policy)
    found = [await ctx.execute(call, stumbling_effect, ctx.run_id, "stumble", order.failures)]
    try:
        found.append(await ctx.execute(Call("once", at_most_once=True), effect, ctx.run_id, "once", 0.02))
    except StepFailed as failure:  # the journal was away, or the worker was
        found.append(type(failure).__name__)
    ctx.set_status(found[-1])
    return found


@workflow
async def failing(ctx: Context, order: Breaking) -> str:
    """Fails for good, or catches that; a retry of the run succeeds once the part is remedied."""
    await ctx.execute(Call("before", retry=STEADFAST), effect, ctx.run_id, "before")
    try:
        return await ctx.execute(Call("break", retry=_UNLESS_BROKEN), failing_effect, ctx.run_id, "break", order.number)
    except StepFailed as failure:
        if not order.is_caught:
            raise
        return f"caught {failure.error_type}"


@workflow
async def leaf(ctx: Context, order: Leaf) -> str:
    try:
        value = await ctx.execute(Call("leaf", retry=STEADFAST), effect, ctx.run_id, "leaf")
        if order.fate == "fails":
            raise Terminal("withered")
        if order.fate == "waits":
            await ctx.wait_for_event("never", "never", str)
        return value
    finally:
        await ctx.execute(Call("tidy", retry=STEADFAST), effect, ctx.run_id, "tidy")


@workflow
async def parent(ctx: Context, order: Bearing) -> list[str]:
    """One child goes on beside the others, which are awaited together; their failures are caught."""

    async def bear(index: int, child: Leaf) -> str:
        try:
            return await ctx.run_child(f"child {index}", leaf, child)
        except RunFailed as failure:
            return f"caught {failure.error.type}"

    beside = await ctx.start_child("beside", leaf, Leaf("well"))
    borne = await asyncio.gather(*(bear(index, child) for index, child in enumerate(order.children)))
    if order.nested is not None:
        nested = await ctx.run_child("nested", parent, order.nested)
        borne.extend(nested)
    return [*borne, await beside.result()]


@workflow
async def ticking(ctx: Context) -> datetime | None:
    await ctx.execute(Call("tick", retry=STEADFAST), effect, ctx.run_id, "tick")
    return ctx.scheduled_at


WORKFLOWS: list[Workflow[Any, Any]] = [
    transfer,
    effects,
    sleepy,
    listening,
    deciding,
    parallel,
    compensating,
    continuing,
    trying,
    failing,
    leaf,
    parent,
    ticking,
    timing,
]
