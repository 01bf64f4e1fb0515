"""Runs that meet other code than that which began them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest

from durable import AsyncClient, Context, Worker, Workflow, workflow
from tests.watching import reached
from tests.worker.flows import process_until_there_is_one, running


async def test_a_deploy_that_does_not_match_sets_the_run_aside_and_the_old_code_finishes_it(database: str) -> None:
    calls: Counter[str] = Counter()

    async def charge() -> str:
        calls["charge"] += 1
        return "charged"

    async def charge_twice() -> str:
        calls["charge_twice"] += 1
        return "charged twice"

    @workflow(name="shop")
    async def old(ctx: Context) -> str:
        charged = await ctx.execute("charge", charge)
        await ctx.wait_for_event("go", "go")
        return charged

    @workflow(name="shop")
    async def new(ctx: Context) -> str:
        return await ctx.execute("charge", charge_twice)

    async with AsyncClient(database) as client:
        async with running(database, old):
            handle = await client.begin(old)
            await reached(client, handle.run_key, "waiting_event")
        await client.publish_event(handle.run_key, "go")
        async with running(database, new):
            await reached(client, handle.run_key, "sleeping")
            status = await handle.info()
            assert status.error is not None
            assert status.error.type == "NondeterminismError"
            assert "charge_twice" in status.error.message
            assert status.attempts == 0
        async with running(database, old):
            assert await handle.result(timeout=10) == "charged"
    assert calls == {"charge": 1}


async def test_workers_of_another_release_leave_a_run_they_set_aside_to_those_whose_code_matches(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def one() -> int:
        return 1

    @workflow(name="shop")
    async def old(ctx: Context) -> int:
        await ctx.wait_for_event("go", "go")
        return await ctx.execute("one", one)

    @workflow(name="shop")
    async def new(ctx: Context) -> int:
        return await ctx.execute("one", one)

    async with AsyncClient(database) as client:
        async with running(database, old):
            handles = [await client.begin(old) for _ in range(20)]
            for handle in handles:
                await reached(client, handle.run_key, "waiting_event")
        async with running(database, new), running(database, new), running(database, old):
            for handle in handles:
                await client.publish_event(handle.run_key, "go")
            assert [await handle.result(timeout=60) for handle in handles] == [1] * 20
    asides = Counter(record.run_key for record in caplog.records if "NondeterminismError" in record.getMessage())
    assert max(asides.values()) <= 2, "each of the two workers meets a run once"


async def test_steps_in_changed_order_set_the_run_aside_until_the_old_code_is_back(database: str) -> None:
    calls: Counter[str] = Counter()
    order = ["first", "second"]

    async def call(name: str) -> str:
        calls[name] += 1
        return name

    @workflow
    async def ordered(ctx: Context) -> list[str]:
        results = [await ctx.execute(name, call, name) for name in order]
        await ctx.sleep("nap", 0)
        return results

    worker = Worker(database, [ordered])
    async with AsyncClient(database) as client:
        handle = await client.begin(ordered)
        assert await worker.process_one()
        order.reverse()
        await process_until_there_is_one(worker)
        status = await handle.info()
        assert status.error is not None
        assert (status.status, status.error.type, status.attempts) == ("sleeping", "NondeterminismError", 0)

        order.reverse()
        await process_until_there_is_one(worker)
        assert await handle.result(timeout=0) == ["first", "second"]
    assert calls == {"first": 1, "second": 1}


class Bought(msgspec.Struct):
    item: str


class Receipt(msgspec.Struct):
    item: str
    currency: str


@pytest.mark.parametrize("what", ["input", "step", "event", "child"])
async def test_a_deploy_that_changes_a_type_sets_runs_aside_and_refunds_nothing(database: str, what: str) -> None:
    calls: Counter[str] = Counter()

    def release(type: Any) -> list[Workflow[Any, Any]]:
        async def buy(item: str) -> Any:
            calls["buy"] += 1
            return Bought(item)

        async def refund() -> None:
            calls["refund"] += 1

        async def sell(ctx: Context, item: str) -> Any:
            return Bought(item)

        sell.__annotations__["return"] = type
        selling = workflow(name="selling")(sell)

        async def trade(ctx: Context, order: Any) -> str:
            try:
                if what == "step":
                    await ctx.execute("buy", buy, "secret tea")
                elif what == "event":
                    await ctx.wait_for_event("bought", "bought", type)
                elif what == "child":
                    await ctx.run_child("sell", selling, "secret tea")
                await ctx.wait_for_event("go", "go")
            except Exception:
                await ctx.execute("refund", refund)
                raise
            return "shipped"

        buy.__annotations__["return"] = type
        trade.__annotations__["order"] = type if what == "input" else Bought
        return [workflow(name="shop")(trade), selling]

    old, new = release(Bought), release(Receipt)
    async with AsyncClient(database) as client:
        handle = await client.begin(old[0], Bought("secret tea"))
        if what != "input":
            await handle.publish_event("bought", Bought("secret tea"))
            async with running(database, *old):
                await reached(client, handle.run_key, "waiting_event")
        await handle.publish_event("go")
        async with running(database, *new):
            await reached(client, handle.run_key, "sleeping")
            status = await handle.info()
            assert (status.status_reason, status.attempts) == ("set_aside", 0)
            assert status.error is not None
            assert "missing required field `currency`" in status.error.message
            assert "secret" not in status.error.message
        async with running(database, *old):
            assert await handle.result(timeout=10) == "shipped"
    assert calls["refund"] == 0
