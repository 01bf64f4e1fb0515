"""Steps, their memos, and what can be seen of a run."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import AsyncMock, create_autospec

import msgspec
import psycopg
import pytest

from durable import AsyncClient, Context, RunFailed, RunNotCompleted, Worker, workflow
from tests.watching import rows, status_of
from tests.worker.flows import arithmetic, greeting, process_all, process_until_there_is_one, running


async def test_01_a_run_is_begun_in_a_transaction_and_processed(database: str) -> None:
    calls: Counter[str] = Counter()
    simple = greeting(calls)
    async with AsyncClient(database) as client, await psycopg.AsyncConnection.connect(database) as tx:
        run_key = await client.begin_tx(tx, simple, "World")
        await tx.commit()
        assert await status_of(client, run_key) == "queued"

        assert await Worker(database, [simple]).process_one()

        assert await status_of(client, run_key) == "completed"
    assert calls == {"greet": 1}


async def test_02_each_step_is_called_once(database: str) -> None:
    calls: Counter[str] = Counter()
    multi = arithmetic(calls)
    async with AsyncClient(database) as client:
        handle = await client.begin(multi, 5)
        assert await Worker(database, [multi]).process_one()

        assert await handle.result(timeout=0) == 25
    assert calls == {"add10": 1, "multiply2": 1, "subtract5": 1}


async def test_02_each_step_is_called_once_also_when_the_run_is_executed_three_times(database: str) -> None:
    calls: Counter[str] = Counter()

    async def count(name: str) -> int:
        calls[name] += 1
        return calls[name]

    @workflow
    async def replayed(ctx: Context) -> list[int]:
        calls["executions"] += 1
        values: list[int] = []
        for index in range(3):
            values.append(await ctx.execute(f"step {index}", count, f"step {index}"))
            await ctx.sleep(f"nap {index}", 0)
        return values

    async with AsyncClient(database) as client:
        handle = await client.begin(replayed)
        worker = Worker(database, [replayed])
        for _ in range(4):
            await process_until_there_is_one(worker)
        assert await handle.result(timeout=0) == [1, 1, 1]
    assert calls == {"executions": 4, "step 0": 1, "step 1": 1, "step 2": 1}


async def test_15_input_and_output_of_each_step_are_stored(database: str) -> None:
    multi = arithmetic(Counter())
    async with AsyncClient(database) as client:
        await client.begin(multi, 5)
        assert await Worker(database, [multi]).process_one()
    assert await rows(database, "SELECT step_key, input, output FROM durable.step_payloads ORDER BY step_key") == [
        ("step1_add10", [5], 15),
        ("step2_multiply2", [15], 30),
        ("step3_subtract5", [30], 25),
    ]


async def test_20_a_pipeline_of_many_steps_is_one_execution(database: str) -> None:
    calls: Counter[str] = Counter()

    async def load(source: str) -> int:
        calls[source] += 1
        return len(source)

    @workflow
    async def pipeline(ctx: Context, sources: list[str]) -> int:
        return sum([await ctx.execute(f"load {source}", load, source) for source in sources])

    sources = ["a", "bb", "ccc", "dddd", "eeeee"]
    async with AsyncClient(database) as client:
        handle = await client.begin(pipeline, sources)
        assert await Worker(database, [pipeline]).process_one()
        assert await handle.result(timeout=0) == 15
    assert calls == dict.fromkeys(sources, 1)
    assert await rows(database, "SELECT count(*) FROM durable.steps") == [(5,)]


async def test_25_the_status_says_where_a_run_stands(database: str) -> None:
    simple = greeting(Counter())
    async with AsyncClient(database) as client:
        handle = await client.begin(simple, "World")
        status = await handle.info()
        assert status.status == "queued"
        assert abs(status.created_at - datetime.now(UTC)) < timedelta(minutes=1)

        assert await Worker(database, [simple]).process_one()
        assert (await handle.info()).status == "completed"


async def test_32_a_run_has_an_output_once_it_is_completed(database: str) -> None:
    simple = greeting(Counter())
    async with AsyncClient(database) as client:
        handle = await client.begin(simple, "OutputTest")
        with pytest.raises(RunNotCompleted, match="'queued'"):
            await client.get_run_output(handle.run_key, str)

        assert await Worker(database, [simple]).process_one()
        assert await client.get_run_output(handle.run_key, str) == "Hello, OutputTest!"


class Money(msgspec.Struct):
    amount: int
    currency: str


async def price(amount: int) -> Money:
    return Money(amount, "EUR")


@workflow
async def typed(ctx: Context, amount: int) -> Money:
    money = await ctx.execute("price", price, amount)
    assert isinstance(money, Money)
    return money


async def test_a_result_comes_back_in_its_type(database: str) -> None:
    async with running(database, typed) as client:
        handle = await client.begin(typed, 3)
        assert await handle.result(timeout=10) == Money(3, "EUR")
        assert (await handle.info()).status == "completed"


async def test_steps_of_a_gather_run_side_by_side(database: str) -> None:
    barrier = asyncio.Barrier(3)

    async def meet(index: int) -> int:
        async with asyncio.timeout(10):
            await barrier.wait()
        return index

    @workflow
    async def meeting(ctx: Context) -> list[int]:
        return list(await asyncio.gather(*(ctx.execute(f"meet {i}", meet, i) for i in range(3))))

    async with running(database, meeting) as client:
        assert await (await client.begin(meeting)).result(timeout=10) == [0, 1, 2]


@pytest.mark.parametrize("value", ["a\0b", "\ud800", float("inf"), object(), "x" * 2_000_000])
async def test_whatever_a_step_returns_the_run_ends_and_the_worker_lives(database: str, value: Any) -> None:
    async def strange() -> Any:
        return value

    @workflow
    async def failing(ctx: Context) -> None:
        await ctx.execute("strange", strange)

    async with running(database, failing, typed) as client:
        with pytest.raises(RunFailed, match="SerializationError"):
            await (await client.begin(failing)).result(timeout=10)
        assert await (await client.begin(typed, 1)).result(timeout=10) == Money(1, "EUR")


async def one() -> int:
    return 1


async def one_in_a_transaction(tx: psycopg.AsyncConnection[Any]) -> int:
    return 1


EMPTY: dict[str, Callable[[Context], Awaitable[Any]]] = {
    "execute": lambda ctx: ctx.execute("", one),
    "transaction": lambda ctx: ctx.transaction("", one_in_a_transaction),
    "sleep": lambda ctx: ctx.sleep("", 0),
    "wait": lambda ctx: ctx.wait_for_event("", "news"),
    "event": lambda ctx: ctx.wait_for_event("wait", ""),
    "uuid": lambda ctx: ctx.random_uuid7(""),
    "uint": lambda ctx: ctx.random_uint64(""),
    "random": lambda ctx: ctx.random(""),
    "now": lambda ctx: ctx.now(""),
}


@pytest.mark.parametrize("call", EMPTY.values(), ids=EMPTY)
async def test_an_empty_key_or_name_fails_the_run_and_nothing_is_done(
    database: str, call: Callable[[Context], Awaitable[Any]]
) -> None:
    @workflow
    async def nameless(ctx: Context) -> None:
        await call(ctx)

    async with AsyncClient(database) as client:
        handle = await client.begin(nameless)
        assert await process_all(Worker(database, [nameless])) == 1
        status = await handle.info()
    assert status.error is not None
    assert (status.status, status.error.type) == ("failed", "InvalidArgument")
    assert "got ''" in status.error.message
    assert await rows(database, "SELECT step_key FROM durable.steps UNION SELECT wait_key FROM durable.waits") == []


async def test_arguments_that_cannot_be_stored_are_left_out_and_fail_nothing(database: str) -> None:
    lock = threading.Lock()

    async def is_free(given: threading.Lock) -> bool:
        return given is lock and not given.locked()

    @workflow
    async def locking(ctx: Context) -> bool:
        return await ctx.execute("lock", is_free, lock)

    async with AsyncClient(database) as client:
        handle = await client.begin(locking)
        assert await Worker(database, [locking]).process_one()
        assert await handle.result(timeout=0)
    assert await rows(database, "SELECT input, output FROM durable.steps") == [(None, True)]


async def test_the_context_tells_which_run_it_is_of(database: str) -> None:
    @workflow(name="known by its name", version=3)
    async def told(ctx: Context) -> list[Any]:
        return [str(ctx.run_key), ctx.run_id, ctx.workflow_name, ctx.version, ctx.attempt, ctx.scheduled_at]

    async with AsyncClient(database) as client:
        handle = await client.begin(told)
        assert await Worker(database, [told]).process_one()
        key = handle.run_key
        assert await handle.result(timeout=0) == [str(key), key.run_id, "known by its name", 3, 1, None]


def test_each_primitive_has_one_name() -> None:
    primitives = [member for name, member in vars(Context).items() if not name.startswith("_") and callable(member)]
    assert len(primitives) > 5
    assert len(set(primitives)) == len(primitives)


@dataclasses.dataclass
class Priced:
    total: int


async def look_up_price(item: str) -> Priced:
    raise AssertionError(item)


@pytest.mark.parametrize("is_specified", [False, True])
async def test_a_fake_step_gives_the_workflow_an_object_also_on_a_replay(is_specified: bool, database: str) -> None:  # noqa: FBT001
    fake: Any = create_autospec(look_up_price) if is_specified else AsyncMock()
    fake.return_value = Priced(3)

    @workflow
    async def ordering(ctx: Context, item: str) -> int:
        priced = await ctx.execute("price", fake, item)
        await ctx.sleep("nap", 0.01)
        return int(priced.total)

    async with AsyncClient(database) as client:
        handle = await client.begin(ordering, "book")
        assert await Worker(database, [ordering]).process_one()
        await process_until_there_is_one(Worker(database, [ordering]))
        assert await handle.result(timeout=0) == 3
