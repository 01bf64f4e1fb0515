"""What is wrong is refused or fails its own run; no worker, batch or neighbour is lost by it."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from durable import (
    AsyncClient,
    Context,
    InvalidArgument,
    RunCancelled,
    RunFailed,
    RunKey,
    SchemaError,
    Worker,
    workflow,
)
from durable.admin.migration import migrate
from tests.watching import reached
from tests.worker.flows import running


@workflow
async def double(ctx: Context, number: int) -> int:
    return number * 2


async def insert_run(dsn: str, input: str, workflow_name: str = "double") -> RunKey:
    """A row as somebody might write it by hand."""
    run_id = str(uuid.uuid4())
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(
            "INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, input) VALUES (%s, %s, %s, %s)",
            (f"{workflow_name}_0", run_id, workflow_name, input),
        )
    return RunKey(f"{workflow_name}_0", run_id)


@pytest.mark.parametrize(
    "input", ['"text"', "null", "[]", "1e5000", "9" * 5000, "[" * 5000 + "]" * 5000, '{"a": 1}', "1.5"]
)
async def test_a_malformed_row_sets_its_run_aside_and_not_its_neighbour(database: str, input: str) -> None:
    bad = await insert_run(database, input)
    good = await insert_run(database, "21")
    async with running(database, double) as client:
        await until_set_aside(client, bad)
        assert await client.handle(good, double).result(timeout=10) == 42
        await client.terminate_run(bad)
        with pytest.raises(RunCancelled):
            await client.handle(bad, double).result(timeout=10)


async def until_set_aside(client: AsyncClient, run_key: RunKey) -> None:
    await reached(client, run_key, "sleeping")
    status = await client.get_run_info(run_key)
    assert status.error is not None
    assert (status.status_reason, status.error.type) == ("set_aside", "NondeterminismError")
    assert "does not fit" in status.error.message


async def test_a_malformed_memo_sets_its_run_aside(database: str) -> None:
    async def step() -> int:
        return 1

    @workflow
    async def stepping(ctx: Context) -> int:
        return await ctx.execute("step", step)

    run_key = await insert_run(database, "null", "stepping")
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute("UPDATE durable.runs SET epoch = 1")
        await connection.execute(
            "INSERT INTO durable.steps"
            " (workflow_name_shard, run_id, step_key, kind, status, seq, fn, started_at, output)"
            " VALUES (%s, %s, 'step', 'execute', 'completed', 1, %s, now(), '\"text\"')",
            (run_key.workflow_name_shard, run_key.run_id, step.__qualname__),
        )
    async with running(database, stepping) as client:
        await until_set_aside(client, run_key)


async def test_a_run_of_an_unknown_workflow_is_left_to_those_who_know_it(database: str) -> None:
    unknown = await insert_run(database, "1", "from_the_next_release")
    async with running(database, double) as client:
        known = await client.begin(double, 1)
        assert await known.result(timeout=10) == 2
        assert (await client.get_run_info(unknown)).status == "queued"


async def test_an_event_that_does_not_fit_its_type_sets_the_run_aside(database: str) -> None:
    @workflow
    async def waiting(ctx: Context) -> int:
        return await ctx.wait_for_event("wait", "number", int)

    async with running(database, waiting) as client:
        handle = await client.begin(waiting)
        await handle.publish_event("number", "seven")
        await until_set_aside(client, handle.run_key)


@pytest.mark.parametrize(
    "duration", [-1, float("nan"), float("inf"), timedelta(seconds=-1), 1e12, "3", None, True], ids=repr
)
async def test_a_duration_that_is_none_is_refused(database: str, duration: Any) -> None:
    @workflow
    async def sleeping(ctx: Context) -> None:
        await ctx.sleep("nap", duration)

    async with running(database, sleeping) as client:
        with pytest.raises(RunFailed, match="InvalidArgument: duration must be"):
            await (await client.begin(sleeping)).result(timeout=10)


async def test_a_naive_moment_is_refused(database: str) -> None:
    @workflow
    async def sleeping(ctx: Context) -> None:
        await ctx.sleep_until("nap", datetime(2030, 1, 1))

    async with running(database, sleeping) as client:
        with pytest.raises(RunFailed, match="aware"):
            await (await client.begin(sleeping)).result(timeout=10)


@pytest.mark.parametrize("workflows", [[], [double, double]])
def test_a_worker_without_workflows_or_with_two_of_one_name_is_refused(workflows: list[Any]) -> None:
    with pytest.raises(InvalidArgument, match="workflows must be"):
        Worker("dbname=nowhere", workflows)


@pytest.mark.parametrize(
    ("option", "value"),
    [("lease", 0), ("poll_interval", -1), ("max_resident", 0), ("max_strikes", 0), ("schema", "no; way")],
)
def test_a_worker_option_out_of_range_is_refused_by_name(option: str, value: Any) -> None:
    with pytest.raises(InvalidArgument, match=f"{option} must be"):
        Worker("dbname=nowhere", [double], **{option: value})


@pytest.mark.parametrize("conninfo", ["greet_0", "host=\ud800", "dbname=x\0", "["])
def test_a_malformed_conninfo_is_refused_and_not_waited_for(conninfo: str) -> None:
    with pytest.raises(InvalidArgument, match=r"conninfo_or_pool must be .*libpq"):
        Worker(conninfo, [double])


@pytest.mark.parametrize(
    ("start", "jitter"),
    [
        (datetime(2, 6, 1, tzinfo=UTC), 0),
        (datetime(9998, 1, 1, tzinfo=UTC), 0),
        (datetime(9990, 1, 1, tzinfo=UTC), 36500 * 86400),
    ],
    ids=str,
)
async def test_moments_no_client_could_read_back_are_refused(database: str, start: datetime, jitter: float) -> None:
    async with AsyncClient(database) as client:
        with pytest.raises(InvalidArgument):
            await client.schedule(double, 1, "late", "0 * * * *", start=start, jitter=jitter)
        assert await client.list_schedules() == []


@pytest.mark.parametrize("version", [2**31, True, 1.5, float("nan"), "1", 0])
def test_a_version_that_no_column_holds_is_refused(version: Any) -> None:
    with pytest.raises(InvalidArgument, match="version must be"):
        workflow(version=version)(double.function)


async def test_a_wrong_schema_name_is_loud_at_start(database: str) -> None:
    with pytest.raises(SchemaError, match="durable migrate --schema elsewhere"):
        async with Worker(database, [double], schema="elsewhere"):
            raise AssertionError("it started")


async def test_a_schema_that_is_older_than_the_code_is_refused(database: str) -> None:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute("UPDATE durable.settings SET schema_version = 0")
    with pytest.raises(SchemaError, match="version 0"):
        async with Worker(database, [double]):
            raise AssertionError("it started")


async def test_a_schema_name_with_capitals_works(bare_database: str) -> None:
    migrate(bare_database, schema="MyApp", shard_count=3)
    async with (
        AsyncClient(bare_database, schema="MyApp") as client,
        Worker(bare_database, [double], schema="MyApp"),
    ):
        keys = await client.begin_many(double, range(20))
        assert [await client.handle(key, double).result(timeout=10) for key in keys] == [2 * n for n in range(20)]
        assert len({key.workflow_name_shard for key in keys}) == 3


def test_a_workflow_without_a_name_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="name must be"):

        @workflow(name="")
        async def nameless(ctx: Context) -> None: ...
