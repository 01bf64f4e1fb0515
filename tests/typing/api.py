"""What users get from the type checkers. Checked by mypy and pyright, never run."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any, Literal, assert_type
from unittest.mock import AsyncMock, create_autospec
from uuid import UUID

import msgspec
from psycopg import AsyncConnection

from durable import (
    AsyncClient,
    AsyncHandle,
    AsyncKeyHandle,
    Begin,
    Call,
    ChildHandle,
    Client,
    Context,
    Event,
    FailedRun,
    Handle,
    KeyHandle,
    MapResult,
    OnFailure,
    Request,
    RequestHandle,
    RetryPolicy,
    RunInfo,
    RunKey,
    Saga,
    Status,
    StepFailed,
    Worker,
    Workflow,
    current_context,
    current_step,
    workflow,
)


class Order(msgspec.Struct):
    item: str


class Receipt(msgspec.Struct):
    total: int


async def price(order: Order) -> int:
    return len(order.item)


def tax(amount: int, rate: float) -> float:
    return amount * rate


async def book(tx: AsyncConnection[Any], amount: int) -> bool:
    return amount > 0


@workflow
async def checkout(ctx: Context, order: Order) -> Receipt:
    total = assert_type(await ctx.execute("price", price, order), int)
    assert_type(await ctx.execute("tax", tax, total, 0.2), float)
    assert_type(await ctx.transaction("book", book, total), bool)
    once = Call("rated", retry=RetryPolicy(max_retries=0), name="tax")
    assert_type(await ctx.execute(once, tax, amount=total, rate=0.2), float)
    assert_type(await ctx.transaction(Call("again"), book, amount=total), bool)
    assert_type(await ctx.wait_for_event("wait", "paid", Receipt, timeout=3), Receipt)
    assert_type(await ctx.wait_for_event("maybe", "paid", Receipt | None), Receipt | None)
    assert_type(await ctx.wait_for_event("either", "paid", Receipt | Order), Receipt | Order)
    assert_type(await ctx.wait_for_event("list", "paid", list[Receipt]), list[Receipt])
    assert_type(await ctx.wait_for_event("literal", "paid", Literal["yes", "no"]), Literal["yes", "no"])
    assert_type(await ctx.wait_for_event("anything", "paid"), Any)
    request = await ctx.wait_for_request("ask", "refund", Receipt)
    assert_type(request, Request[Receipt])
    assert_type(request.payload, Receipt)
    assert_type((await ctx.wait_for_request("ask again", "refund")).payload, Any)
    async with ctx.timeout("limit", 3600) as limit:
        assert_type(limit.expired(), bool)
    async with ctx.saga() as saga:
        assert_type(saga, Saga)
        saga.undo("price", tax, total, rate=0.2)
        saga.undo("price", price, order)
        saga.undo("price", tax, "much", 0.2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(await ctx.map("prices", price, [order, order], max_concurrency=2), list[int])
    assert_type(await ctx.map("sync", len, ["a"]), list[int])
    result = await ctx.map("some", price, [order], max_failures=1)
    assert_type(result, MapResult[int])
    assert_type(result.values, list[int])
    assert_type(result.failures, dict[int, StepFailed])
    assert_type(ctx.patched("fee"), bool)
    assert_type(ctx.chapter, int)
    assert_type(current_step().attempt, int)
    assert_type(current_context(), Context)
    assert_type(await ctx.random_uuid7("id"), UUID)
    assert_type(await ctx.now("now"), datetime)
    first, second = await asyncio.gather(ctx.execute("a", price, order), ctx.execute("b", tax, 1, 2.0))
    assert_type(first, int)
    assert_type(second, float)
    return Receipt(total)


@workflow
async def for_ever(ctx: Context, orders: list[Order]) -> int:
    return await ctx.continue_as_new(orders)


@workflow(version=2)
async def nightly(ctx: Context) -> None:
    await ctx.sleep("nap", 1)


@workflow
async def season(ctx: Context, orders: list[Order]) -> int:
    assert_type(await ctx.run_child("one", checkout, orders[0]), Receipt)
    assert_type(await ctx.run_child("none", nightly), None)
    assert_type(await ctx.run_child("given", checkout, orders[0], timeout=3, headers={"a": "b"}, delay=1), Receipt)
    await ctx.start_child("keyed", nightly, key="k")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    assert_type(ctx.headers, dict[str, str])
    handle = await ctx.start_child("later", checkout, orders[1])
    assert_type(handle, ChildHandle[Receipt])
    assert_type(handle.run_key, RunKey)
    assert_type(await handle.result(), Receipt)
    assert_type(await handle.status("asked"), Status)
    assert_type(await handle.cancel(), None)
    assert_type(await ctx.run_child("left", checkout, orders[0], abandon=True), Receipt)
    assert_type(await ctx.start_child("idle", nightly), ChildHandle[None])
    receipts = await asyncio.gather(*(ctx.run_child(order.item, checkout, order) for order in orders))
    assert_type(receipts, list[Receipt])
    await ctx.run_child("wrong", checkout, 3)  # type: ignore[misc]  # pyright: ignore[reportArgumentType, reportCallIssue]
    return len(receipts)


@workflow
async def apologize(ctx: Context, failed: FailedRun[Order]) -> None:
    assert_type(failed.input, Order | None)
    assert_type(failed.run_key, RunKey)


@workflow(on_failure=apologize)
async def guarded(ctx: Context, order: Order) -> None: ...


@workflow(on_failure=OnFailure(apologize, cancelled=True))
async def cancellable(ctx: Context, order: Order) -> None: ...


assert_type(guarded, Workflow[Order, None])
assert_type(checkout, Workflow[Order, Receipt])
assert_type(nightly, Workflow[None, None])


def sync_side(client: Client) -> None:
    handle = client.begin(checkout, Order("book"))
    assert_type(handle, Handle[Receipt])
    assert_type(handle.result(timeout=1), Receipt)
    assert_type(handle.info(), RunInfo)
    assert_type(client.begin(nightly), Handle[None])
    assert_type(client.begin_many(checkout, [Order("a")]), list[RunKey])
    assert_type(client.begin_many(checkout, [Begin(Order(name), key=name) for name in ("a", "b")]), list[RunKey])
    client.begin_many(checkout, [Begin(3)])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(client.get_run_output("key", Receipt | None), Receipt | None)
    assert_type(client.handle("key", Receipt | None), Handle[Receipt | None])
    assert_type(client.handle("key", checkout), Handle[Receipt])
    newest = client.handle(checkout, key="k")
    assert_type(newest, KeyHandle[Receipt])
    assert_type(newest.result(), Receipt)
    assert_type(newest.run_key(), RunKey)
    assert_type(client.handle((checkout, "k")), KeyHandle[Receipt])
    assert_type(client.get_run_output((checkout, "k")), Receipt)
    assert_type(client.get_run_info(("checkout", "k")), RunInfo)
    client.begin(checkout, Order("a"), key="k", if_active="cancel", if_ended="begin_anew", event=("paid", 1))
    client.begin_many(checkout, [Begin(Order("a"), key="k", if_active="refuse")], timeout=60)
    client.begin(checkout, Order("a"), key="k", if_active="kill")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    client.begin(checkout, 3)  # type: ignore[misc]  # pyright: ignore[reportArgumentType, reportCallIssue]


async def async_side(client: AsyncClient) -> None:
    handle = await client.begin(checkout, Order("book"))
    assert_type(handle, AsyncHandle[Receipt])
    assert_type(await client.get_run_output("key", Receipt | None), Receipt | None)
    assert_type(client.handle("key", list[Receipt]), AsyncHandle[list[Receipt]])
    assert_type(client.handle(checkout, key="k"), AsyncKeyHandle[Receipt])
    assert_type(await client.get_run_output((checkout, "k")), Receipt)
    assert_type(await handle.result(timeout=1), Receipt)


def workers() -> None:
    listed = [checkout, nightly, season]
    collected = {checkout, nightly}
    paired = (checkout, nightly)
    Worker("dsn", listed)
    Worker("dsn", collected)
    Worker("dsn", paired)
    Worker("dsn", [checkout, nightly])
    Worker("dsn", [checkout])
    Worker("dsn", ["checkout"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@workflow
async def calling_wrongly(ctx: Context, order: Order) -> None:
    await ctx.execute("tax", tax, 1, rate="high")  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await ctx.execute("tax", tax, 1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    await ctx.execute("tax", tax, 1, 0.2, retry=3)  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]
    await ctx.transaction("book", book, "all")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@workflow
async def faked(ctx: Context, order: Order) -> None:
    fake = AsyncMock(spec=price, return_value=3)
    assert_type(await ctx.execute("fake", fake, order), Any)
    assert_type(await ctx.execute("specified", create_autospec(price), order), Any)


async def requests(client: Client, asking: AsyncClient, handle: Handle[str], begun: AsyncHandle[str], tx: Any) -> None:
    assert_type(client.request("key", "refund", type=Receipt, key="k", timeout=5), Receipt)
    assert_type(client.request("key", "refund"), Any)
    assert_type(await asking.request("key", "refund", 1, type=list[int]), list[int])
    assert_type(handle.request("refund", type=Receipt | None), Receipt | None)
    assert_type(await begun.request("refund"), Any)
    assert_type(await begun.reply(int, timeout=5), int)
    assert_type(handle.reply(), Any)
    made = client.request_tx(tx, "key", "refund", type=Receipt)
    assert_type(made, RequestHandle[Receipt])
    assert_type(made.reply(5), Receipt)


paid = Event("paid", Receipt)
anything = Event("anything")
nothing = Event("nothing", None)


@workflow
async def hearing(ctx: Context) -> None:
    assert_type(paid, Event[Receipt])
    assert_type(anything, Event[Any])
    assert_type(Event("some", Receipt | None), Event[Receipt | None])
    assert_type(await ctx.wait_for_event("one", paid), Receipt)
    assert_type(await ctx.wait_for_event("one in time", paid, timeout=3), Receipt)
    assert_type(await ctx.wait_for_events("some", paid, max=3, within=1), list[Receipt])
    assert_type(await ctx.wait_for_events("named", "paid", Receipt, max=3, within=1), list[Receipt])
    assert_type(await ctx.wait_for_events("any", "paid", max=3, within=1), list[Any])
    async for one in ctx.events("each", paid):
        assert_type(one, Receipt)
    async for other in ctx.events("each named", "paid", Receipt | None, timeout=3):
        assert_type(other, Receipt | None)
    await ctx.wait_for_event("twice", paid, Receipt)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


@workflow
async def telling(ctx: Context, run_key: RunKey) -> None:
    child = await ctx.start_child("child", hearing)
    assert_type(await ctx.publish_event("to run", run_key, paid, Receipt(1)), None)
    await ctx.publish_event("to child", child, paid, Receipt(1))
    await ctx.publish_event("to key", (hearing, "k"), paid, Receipt(1))
    await ctx.publish_event("by name", str(run_key), "paid", 3)
    await ctx.publish_event("of any type", run_key, anything, 3)
    await ctx.publish_event("without payload", run_key, nothing)
    await ctx.publish_event("wrong", run_key, paid, 3)  # type: ignore[misc]  # pyright: ignore[reportArgumentType, reportCallIssue]


async def applications_tell(client: Client, later: AsyncClient, tx: AsyncConnection[Any], run_key: RunKey) -> None:
    assert_type(client.publish_event(run_key, paid, Receipt(1)), bool)
    assert_type(client.publish_event(run_key, nothing), bool)
    assert_type(await later.publish_event_tx(tx, run_key, paid, Receipt(1), key="k"), bool)
    assert_type(await later.handle(run_key, hearing).publish_event(paid, Receipt(1)), bool)
    client.begin(hearing, key="k", if_ended="begin_anew", event=(paid, Receipt(1)))
    client.publish_event(run_key, paid, 3)  # type: ignore[misc]  # pyright: ignore[reportArgumentType, reportCallIssue]
    await later.handle(run_key, hearing).publish_event(paid, 3)  # type: ignore[misc]  # pyright: ignore[reportArgumentType, reportCallIssue]
