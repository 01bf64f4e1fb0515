"""What a step and workflow code find without having been passed it: who they are, and context variables."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextvars import ContextVar
from typing import Any

import psycopg
import pytest

from durable import (
    AsyncClient,
    Call,
    Context,
    OutsideOfRun,
    RetryPolicy,
    RunLogFilter,
    Step,
    StepFailed,
    Worker,
    current_context,
    current_step,
    workflow,
)

request: ContextVar[str] = ContextVar("request", default="none")
AT_ONCE = RetryPolicy(max_retries=2, backoff=0)


async def test_steps_of_every_kind_see_the_context_variables_of_their_call(database: str) -> None:
    async def read() -> str:
        return request.get()

    def read_in_thread() -> str:
        return request.get()

    async def read_in_transaction(tx: psycopg.AsyncConnection[Any]) -> str:
        return request.get()

    @workflow
    async def reading(ctx: Context, name: str) -> list[str]:
        seen = [request.get()]
        request.set(name)

        async def branch() -> str:
            request.set(f"{name} in a branch")
            return await ctx.execute("branch", read)

        seen.append(await ctx.execute("async", read))
        seen.append(await ctx.execute("thread", read_in_thread))
        seen.append(await ctx.transaction("transaction", read_in_transaction))
        seen.append(await asyncio.create_task(branch()))
        await ctx.sleep("nap", 0.05)
        return [*seen, request.get(), await ctx.execute("last", read)]

    request.set("of the program")
    async with AsyncClient(database) as client, Worker(database, [reading]):
        for name in ("first", "second"):
            assert await (await client.begin(reading, name)).result(timeout=20) == [
                "of the program",
                name,
                name,
                name,
                f"{name} in a branch",
                name,
                name,
            ]


@pytest.mark.parametrize("kind", ["async", "thread", "transaction"])
async def test_what_a_step_sets_is_seen_neither_by_the_workflow_nor_by_its_next_try(database: str, kind: str) -> None:
    seen: list[str] = []

    def once() -> None:
        seen.append(request.get())
        request.set(f"set by try {len(seen)}")
        if len(seen) < 3:
            raise ConnectionError

    async def in_loop() -> None:
        await asyncio.sleep(0)
        once()
        await asyncio.sleep(0)

    async def in_transaction(tx: psycopg.AsyncConnection[Any]) -> None:
        await tx.execute("SELECT 1")
        once()

    @workflow
    async def setting(ctx: Context) -> str:
        request.set("of the workflow")
        if kind == "transaction":
            await ctx.transaction(Call("set", retry=AT_ONCE), in_transaction)
        else:
            await ctx.execute(Call("set", retry=AT_ONCE), in_loop if kind == "async" else once)
        return request.get()

    async with AsyncClient(database) as client, Worker(database, [setting]):
        assert await (await client.begin(setting)).result(timeout=20) == "of the workflow"
    assert seen == ["of the workflow"] * 3


async def test_a_step_knows_its_run_its_key_and_its_try_also_in_what_it_calls(database: str) -> None:
    steps: list[Step] = []

    def note() -> None:
        steps.append(current_step())
        if len(steps) % 2:
            raise ConnectionError

    async def deeply() -> None:
        await asyncio.gather(asyncio.create_task(asyncio.sleep(0)), asyncio.to_thread(note))

    @workflow
    async def noting(ctx: Context) -> None:
        await ctx.execute(Call("in a thread", retry=AT_ONCE), note)
        await ctx.execute(Call("deeply", retry=AT_ONCE), deeply)

    async with AsyncClient(database) as client, Worker(database, [noting]):
        handle = await client.begin(noting)
        await handle.result(timeout=20)
    run_key = handle.run_key
    seen = [(step.run_key, step.key, step.attempt) for step in steps]
    assert seen == [(run_key, key, number) for key in ("in a thread", "deeply") for number in (1, 2)]
    assert steps[0].workflow_name == "noting"


async def test_each_is_refused_where_the_other_belongs(database: str) -> None:
    refused: list[str] = []

    def ask(what: Any) -> None:
        try:
            what()
        except OutsideOfRun as error:
            refused.append(str(error))

    async def step() -> None:
        ask(current_context)

    @workflow
    async def asking(ctx: Context) -> bool:
        ask(current_step)
        await ctx.execute("step", step)
        return current_context() is ctx

    for outside in (current_step, current_context):
        ask(outside)
    async with AsyncClient(database) as client, Worker(database, [asking]):
        assert await (await client.begin(asking)).result(timeout=20)
    in_workflow = "current_step() must be called inside a step; in workflow code, use the Context"
    in_step = "current_context() must be called in workflow code; inside a step, use current_step()"
    assert refused == [in_workflow, in_step, in_workflow, in_step]


async def test_a_cancelled_second_try_ends_with_its_step(database: str) -> None:
    tried, ended = asyncio.Event(), threading.Event()
    tries: list[int] = []

    async def hang() -> None:
        tries.append(current_step().attempt)
        if len(tries) == 1:
            raise ConnectionError
        tried.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    @workflow
    async def hanging(ctx: Context) -> None:
        await ctx.execute(Call("hang", retry=AT_ONCE), hang)

    async with AsyncClient(database) as client, Worker(database, [hanging]):
        handle = await client.begin(hanging)
        await asyncio.wait_for(tried.wait(), 20)
        await handle.cancel()
        with pytest.raises(Exception, match="cancel"):
            await handle.result(timeout=20)
    assert ended.is_set()
    assert tries == [1, 2]


async def test_a_second_try_that_times_out_fails_as_the_first_would(database: str) -> None:
    async def hang() -> None:
        if current_step().attempt > 1:
            await asyncio.sleep(3600)
        raise ConnectionError

    @workflow
    async def hanging(ctx: Context) -> str:
        try:
            await ctx.execute(Call("hang", retry=RetryPolicy(max_retries=1, backoff=0, timeout=0.2)), hang)
        except StepFailed as error:
            return str(error)
        return "nothing failed"

    async with AsyncClient(database) as client, Worker(database, [hanging]):
        assert "did not finish within 0.2 s" in await (await client.begin(hanging)).result(timeout=20)


async def test_log_records_name_the_run_and_the_step_by_whichever_logger_they_are_made(database: str) -> None:
    lines: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Kept()
    handler.addFilter(RunLogFilter())
    handler.setFormatter(logging.Formatter("%(run_key)s|%(workflow_name)s|%(step_key)s|%(attempt)s|%(message)s"))
    logger = logging.getLogger("tests.of.an.application")
    logger.addHandler(handler)

    def step() -> None:
        logger.warning("from a step")

    @workflow
    async def logging_(ctx: Context) -> None:
        logger.warning("from the workflow")
        await ctx.execute("tell", step)

    try:
        logger.warning("from outside", extra={"step_key": "its own"})
        async with AsyncClient(database) as client, Worker(database, [logging_]):
            handle = await client.begin(logging_)
            await handle.result(timeout=20)
    finally:
        logger.removeHandler(handler)
    key = str(handle.run_key)
    assert lines == [
        "||its own||from outside",
        f"{key}|logging_||1|from the workflow",
        f"{key}|logging_|tell|1|from a step",
    ]
