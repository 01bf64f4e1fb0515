"""A workflow that is paused: its runs wait, and nothing else does."""

from __future__ import annotations

import asyncio
import logging

import psycopg
import pytest

from durable import AsyncClient, Client, Context, InvalidArgument, Worker, workflow
from tests.watching import until


@workflow
async def quick(ctx: Context, name: str) -> str:
    return name


@workflow
async def other(ctx: Context, name: str) -> str:
    return name


@workflow
async def waiting(ctx: Context, name: str) -> str:
    return await ctx.wait_for_event("wait", "go", str)


async def test_no_run_of_it_is_claimed_and_those_of_others_are(database: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "durable.worker")
    async with AsyncClient(database) as client:
        assert await client.pause_workflow(quick, "the bank is down")
        assert not await client.pause_workflow("quick", "again")
        (paused,) = await client.list_paused_workflows()
        assert (paused.workflow_name, paused.reason) == ("quick", "the bank is down")
        async with Worker(database, [quick, other]) as worker:
            held = await client.begin(quick, "x")
            for _ in range(3):
                assert await (await client.begin(other, "y")).result(timeout=10) == "y"
            assert (await held.info()).status == "queued"
            assert worker.status().paused_workflows == ("quick",)
            assert await client.resume_workflow(quick)
            assert await held.result(timeout=10) == "x"
            assert worker.status().paused_workflows == ()
    assert "workflow quick is paused" in caplog.text
    assert "workflow quick was resumed" in caplog.text


async def test_runs_that_are_executed_go_on_and_those_that_wake_wait(database: str) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        started.set()
        await ended.wait()
        return "done"

    @workflow
    async def slowly(ctx: Context, name: str) -> str:
        return await ctx.execute("slow", slow)

    async with AsyncClient(database) as client, Worker(database, [slowly, waiting]) as worker:
        executing, parked = await client.begin(slowly, "x"), await client.begin(waiting, "y")
        await asyncio.wait_for(started.wait(), 10)

        async def is_parked() -> bool:
            return (await parked.info()).status == "waiting_event"

        await until(is_parked)
        await client.pause_workflow(slowly)
        await client.pause_workflow(waiting)
        await until(lambda: worker.status().paused_workflows == ("slowly", "waiting"))
        await parked.publish_event("go", "z")
        ended.set()
        assert await executing.result(timeout=10) == "done"

        async def is_queued() -> bool:
            return (await parked.info()).status == "queued"

        await until(is_queued)
        await client.resume_workflow(waiting)
        assert await parked.result(timeout=10) == "z"


async def test_a_worker_that_starts_while_it_is_paused_claims_nothing_of_it(database: str) -> None:
    async with AsyncClient(database) as client:
        handle = await client.begin(quick, "x")
        await client.pause_workflow(quick)
        assert not await Worker(database, [quick]).process_one()
        await client.resume_workflow(quick)
        assert await Worker(database, [quick]).process_one()
        assert await handle.result(timeout=10) == "x"


def test_a_pause_holds_once_its_transaction_commits(database: str) -> None:
    with Client(database) as client, psycopg.connect(database) as tx:
        client.pause_workflow_tx(tx, quick)
        assert client.list_paused_workflows() == []
        tx.rollback()
        assert not client.resume_workflow(quick)
        client.pause_workflow_tx(tx, quick)
        tx.commit()
        assert [paused.workflow_name for paused in client.list_paused_workflows()] == ["quick"]
        client.resume_workflow_tx(tx, quick)
        tx.commit()
        assert client.list_paused_workflows() == []


@pytest.mark.parametrize("name", ["", "a" * 201, "a\0b", 7])
def test_what_names_no_workflow_is_refused(database: str, name: object) -> None:
    with Client(database) as client:
        with pytest.raises(InvalidArgument):
            client.pause_workflow(name)  # type: ignore[arg-type]
        with pytest.raises(InvalidArgument):
            client.resume_workflow(name)  # type: ignore[arg-type]
        with pytest.raises(InvalidArgument):
            client.pause_workflow("quick", "a\0b")
        assert client.list_paused_workflows() == []
