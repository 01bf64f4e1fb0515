"""What must hold of scheduled runs that do not fit the types of the deployed code: checks that take a conninfo."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import msgspec

from durable import AsyncClient, Context, Every, RunInfo, RunKey, Worker, Workflow, workflow
from tests.watching import reached, rows, until


class Order(msgspec.Struct):
    item: str


class PricedOrder(msgspec.Struct):
    item: str
    price: int


def release(type: Any) -> Workflow[Any, Any]:
    async def bill(ctx: Context, order: Any) -> str:
        return f"{order.item} at {ctx.scheduled_at}"

    bill.__annotations__["order"] = type
    return workflow(name="bill")(bill)


@workflow
async def counts(ctx: Context) -> list[str]:
    return [str(await ctx.wait_for_event("wait", "count", int)), str(ctx.scheduled_at)]


class Scheduled(msgspec.Struct, frozen=True):
    """A run of a schedule."""

    run_key: RunKey
    scheduled_at: datetime
    info: RunInfo


async def runs_of(dsn: str, client: AsyncClient, schedule_id: str) -> list[Scheduled]:
    found = "SELECT workflow_name_shard, run_id::text, scheduled_at FROM durable.runs WHERE schedule_id = %s"
    return [
        Scheduled(key := RunKey(shard_value, run_id), scheduled_at, await client.get_run_info(key))
        for shard_value, run_id, scheduled_at in await rows(dsn, found, schedule_id)
    ]


async def completed(dsn: str, client: AsyncClient, schedule_id: str) -> list[Scheduled]:
    return [run for run in await runs_of(dsn, client, schedule_id) if run.info.status == "completed"]


async def set_aside(dsn: str, client: AsyncClient, schedule_id: str) -> list[Scheduled]:
    return [run for run in await runs_of(dsn, client, schedule_id) if run.info.status_reason == "set_aside"]


async def at_least(count: int, found: Callable[[], Awaitable[list[Scheduled]]]) -> list[Scheduled]:
    async def are_enough() -> list[Scheduled]:
        runs = await found()
        return runs if len(runs) >= count else []

    enough: list[Scheduled] = await until(are_enough, 30)
    return enough


async def runs_whose_input_no_longer_fits_wait_for_code_that_it_fits(dsn: str) -> None:
    """Their schedule goes on, and so does all else; once it is scheduled with an input that fits, its ticks succeed."""
    old, new = release(Order), release(PricedOrder)
    async with AsyncClient(dsn) as client:
        await client.schedule(old, Order("tea"), "unfit", Every(0.3))
        await client.schedule(new, PricedOrder("milk", 1), "fit", Every(0.3))
        async with Worker(dsn, [new], poll_interval=0.05):
            await at_least(2, lambda: set_aside(dsn, client, "unfit"))
            await at_least(2, lambda: completed(dsn, client, "fit"))
            await client.schedule(new, PricedOrder("tea", 2), "unfit", Every(0.3))
            await at_least(1, lambda: completed(dsn, client, "unfit"))
            await client.pause_schedule("unfit")
            await client.pause_schedule("fit")
            unfit = await at_least(2, lambda: set_aside(dsn, client, "unfit"))
            assert {run.info.attempts for run in unfit} == {0}
        async with Worker(dsn, [old], poll_interval=0.05):
            for run in await runs_of(dsn, client, "unfit"):
                result = await client.handle(run.run_key, old).result(timeout=30)
                assert result == f"tea at {run.scheduled_at}"


async def a_retry_leaves_out_what_did_not_fit_and_keeps_the_tick(dsn: str) -> None:
    async with AsyncClient(dsn) as client:
        await client.schedule(counts, None, "counts", Every(0.3), overlap="skip")
        async with Worker(dsn, [counts], poll_interval=0.05):
            (run,) = await at_least(1, lambda: runs_of(dsn, client, "counts"))
            await reached(client, run.run_key, "waiting_event")
            await client.publish_event(run.run_key, "count", "many")
            await at_least(1, lambda: set_aside(dsn, client, "counts"))
            assert len(await runs_of(dsn, client, "counts")) == 1  # it has not ended, so later ticks are skipped
            handle = client.handle(run.run_key, counts)
            await handle.retry()
            await reached(client, run.run_key, "waiting_event")
            await handle.publish_event("count", 7)
            assert await handle.result(timeout=30) == ["7", str(run.scheduled_at)]
            await at_least(2, lambda: runs_of(dsn, client, "counts"))


async def a_retry_of_an_input_that_does_not_fit_is_set_aside_again(dsn: str) -> None:
    old, new = release(Order), release(PricedOrder)
    async with AsyncClient(dsn) as client:
        await client.schedule(old, Order("tea"), "unfit", Every(3600), run_now=True)
        async with Worker(dsn, [new], poll_interval=0.05):
            (run,) = await at_least(1, lambda: set_aside(dsn, client, "unfit"))
            handle = client.handle(run.run_key, old)
            await handle.retry()

            async def is_set_aside_again() -> bool:
                info = await handle.info()
                return info.updated_at > run.info.updated_at and info.status_reason == "set_aside"

            await until(is_set_aside_again, 30)
            assert (await handle.info()).attempts == 0
        async with Worker(dsn, [old], poll_interval=0.05):
            assert await handle.result(timeout=30) == f"tea at {run.scheduled_at}"


CHECKS: list[Callable[[str], Awaitable[None]]] = [
    runs_whose_input_no_longer_fits_wait_for_code_that_it_fits,
    a_retry_leaves_out_what_did_not_fit_and_keeps_the_tick,
    a_retry_of_an_input_that_does_not_fit_is_set_aside_again,
]
