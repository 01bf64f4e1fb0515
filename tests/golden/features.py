"""What is recorded: a workflow, its input, what happens to its run, and when its rows are read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import msgspec
import psycopg

from durable import AsyncClient, AsyncHandle, RequestRefused, Workflow
from tests.golden import workflows
from tests.golden.workflows import Order

Happens = Callable[[AsyncClient, AsyncHandle[Any], str], Awaitable[None]]


class Feature(msgspec.Struct, frozen=True):
    """``until`` brings the run to the moment at which its rows are read; by default that is its end. ``before`` is SQL
    that runs first, on a connection that stays until the rows are read."""

    workflow: Workflow[Any, Any]
    input: Any = None
    until: Happens | None = None
    before: str | None = None


async def end(client: AsyncClient, handle: AsyncHandle[Any], dsn: str) -> None:
    while (await handle.info()).status not in ("completed", "failed", "cancelled"):
        await asyncio.sleep(0.01)


async def parked(client: AsyncClient, handle: AsyncHandle[Any], dsn: str) -> None:
    while (await handle.info()).status != "waiting_event":
        await asyncio.sleep(0.01)


async def end_after_orders(client: AsyncClient, handle: AsyncHandle[Any], dsn: str) -> None:
    for number in (1, 2):
        await handle.publish_event("order", Order(number, ("tea",)))
    await end(client, handle, dsn)


async def end_after_order(client: AsyncClient, handle: AsyncHandle[Any], dsn: str) -> None:
    await parked(client, handle, dsn)
    await handle.publish_event("order", Order(1, ("tea",)))
    await end(client, handle, dsn)


async def end_after_cancel(client: AsyncClient, handle: AsyncHandle[Any], dsn: str) -> None:
    await parked(client, handle, dsn)
    await client.cancel_run(handle.run_key, "changed my mind")
    await end(client, handle, dsn)


async def one_child_ended(client: AsyncClient, handle: AsyncHandle[Any], dsn: str) -> None:
    await _until(
        dsn,
        "SELECT count(*) FILTER (WHERE satisfied_at IS NULL) = 1 AND count(*) = 2 FROM durable.waits"
        " WHERE wait_type = 'child_result'",
    )
    await parked(client, handle, dsn)


async def transaction_without_order(client: AsyncClient, handle: AsyncHandle[Any], dsn: str) -> None:
    """Its order is being written, and stays so: a worker that dies now leaves just this behind."""
    await _until(dsn, "SELECT EXISTS (SELECT FROM durable.steps WHERE kind = 'transaction')")


async def asleep(client: AsyncClient, handle: AsyncHandle[Any], dsn: str) -> None:
    await _until(dsn, "SELECT EXISTS (SELECT FROM durable.runs WHERE status = 'sleeping')")


async def marked(client: AsyncClient, handle: AsyncHandle[Any], dsn: str) -> None:
    """A step that hangs has its mark."""
    await _until(dsn, "SELECT EXISTS (SELECT FROM durable.waits WHERE wait_key = 'hang' AND wait_type = 'start')")


async def gathering(client: AsyncClient, handle: AsyncHandle[Any], dsn: str) -> None:
    """Parked, with one of the events that it waits for."""
    await _until(dsn, "SELECT EXISTS (SELECT FROM durable.waits WHERE payload IS NOT NULL)")
    await parked(client, handle, dsn)


async def _until(dsn: str, question: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        while not (await (await connection.execute(question)).fetchone() or (False,))[0]:
            await asyncio.sleep(0.01)


HOLDS_ORDERS_UP = """
    SELECT pg_advisory_lock(7);
    CREATE FUNCTION hold_up() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN new; END';
    CREATE TRIGGER hold_up BEFORE UPDATE ON durable.steps FOR EACH ROW WHEN (old.seq IS NULL) EXECUTE FUNCTION hold_up()
"""


async def end_after_requests(client: AsyncClient, handle: AsyncHandle[Any], dsn: str) -> None:
    for number in (1, 2):
        with suppress(RequestRefused):
            await handle.request("order", Order(number, ("tea",)))
    await end(client, handle, dsn)


FEATURES: dict[str, Feature] = {
    "step": Feature(workflows.golden_step, 7),
    "sync_step": Feature(workflows.golden_sync_step, 7),
    "step_without_a_value": Feature(workflows.golden_step_without_a_value),
    "failed_step": Feature(workflows.golden_failed_step),
    "caught_failure": Feature(workflows.golden_caught_failure),
    "raise": Feature(workflows.golden_raise),
    "transaction": Feature(workflows.golden_transaction),
    "transaction_without_order": Feature(
        workflows.golden_transaction_without_order, until=transaction_without_order, before=HOLDS_ORDERS_UP
    ),
    "sleep": Feature(workflows.golden_sleep),
    "sleep_until": Feature(workflows.golden_sleep_until),
    "event": Feature(workflows.golden_event, until=end_after_order),
    "two_events": Feature(workflows.golden_two_events, until=end_after_orders),
    "requests": Feature(workflows.golden_requests, until=end_after_requests),
    "event_timeout": Feature(workflows.golden_event_timeout),
    "random_uuid7": Feature(workflows.golden_random_uuid7),
    "random_uint64": Feature(workflows.golden_random_uint64),
    "random": Feature(workflows.golden_random),
    "now": Feature(workflows.golden_now),
    "gather": Feature(workflows.golden_gather),
    "race": Feature(workflows.golden_race),
    "cancel": Feature(workflows.golden_cancel, until=end_after_cancel),
    "swallowed_cancel": Feature(workflows.golden_swallowed_cancel, until=end_after_cancel),
    "deadline": Feature(workflows.golden_deadline),
    "retry": Feature(workflows.golden_retry),
    "open_waits": Feature(workflows.golden_open_waits, until=parked),
    "child": Feature(workflows.golden_child),
    "failed_child": Feature(workflows.golden_failed_child),
    "open_child": Feature(workflows.golden_open_child, until=one_child_ended),
    "started_child": Feature(workflows.golden_started_child),
    "asked_child": Feature(workflows.golden_asked_child),
    "cancelled_child": Feature(workflows.golden_cancelled_child),
    "held_cancel": Feature(workflows.golden_held_cancel, until=end_after_cancel),
    "nested": Feature(workflows.golden_nested),
    "failed_group": Feature(workflows.golden_failed_group),
    "loop": Feature(workflows.golden_loop, 12),
    "queue_and_lock": Feature(workflows.golden_queue_and_lock),
    "payloads": Feature(workflows.golden_payloads, Order(1, ("tea", "ü"))),
    "keys": Feature(workflows.golden_keys),
    "asyncio_sleep": Feature(workflows.golden_asyncio_sleep),
    "limits": Feature(workflows.golden_limits),
    "named_limits": Feature(workflows.golden_named_limits),
    "young_timers": Feature(workflows.golden_young_timers),
    "call_later": Feature(workflows.golden_call_later),
    "time": Feature(workflows.golden_time),
    "open_timers": Feature(workflows.golden_open_timers, until=parked),
    "cancelled_timers": Feature(workflows.golden_cancelled_timers, until=end_after_cancel),
    "retry_after_a_limit": Feature(workflows.golden_retry_after_a_limit),
    "circles": Feature(workflows.golden_circles),
    "order_of_tasks": Feature(workflows.golden_order_of_tasks),
    "saga": Feature(workflows.golden_saga),
    "cancelled_saga": Feature(workflows.golden_cancelled_saga, until=end_after_cancel),
    "retry_after_a_saga": Feature(workflows.golden_retry_after_a_saga),
    "map": Feature(workflows.golden_map),
    "patched": Feature(workflows.golden_patched),
    "chapters": Feature(workflows.golden_chapters, 2, until=end_after_orders),
    "tries": Feature(workflows.golden_tries),
    "open_tries": Feature(workflows.golden_open_tries, until=asleep),
    "at_most_once": Feature(workflows.golden_at_most_once, until=marked),
    "calls": Feature(workflows.golden_calls),
    "publish": Feature(workflows.golden_publish),
    "events": Feature(workflows.golden_events),
    "gathering": Feature(workflows.golden_gathering, until=gathering),
}
