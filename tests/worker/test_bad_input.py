"""What is wrong is refused or fails its own run; no worker, batch or neighbour is lost by it."""

from __future__ import annotations

import dataclasses
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg
import pydantic
import pytest

from durable import (
    AsyncClient,
    Call,
    Context,
    InvalidArgument,
    RetryPolicy,
    RunCancelled,
    RunFailed,
    RunKey,
    SchemaError,
    SerializationError,
    Worker,
    WorkflowCodeWarning,
    workflow,
)
from durable.admin.migration import migrate
from durable.postgres.connection import EngineConnection
from durable.store.operation import Operation
from durable.worker.visit import Visited
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
        keys = await client.begin_many(double, range(60))
        assert [await client.handle(key, double).result(timeout=10) for key in keys] == [2 * n for n in range(60)]
        assert len({key.workflow_name_shard for key in keys}) == 3


def test_a_workflow_without_a_name_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="name must be"):

        @workflow(name="")
        async def nameless(ctx: Context) -> None: ...


@dataclasses.dataclass
class Card:
    number: str


@dataclasses.dataclass
class Transfer:
    iban: str


class Login(pydantic.BaseModel):
    password: pydantic.SecretStr


def test_a_workflow_whose_types_cannot_be_stored_is_refused_where_it_is_declared() -> None:
    with pytest.raises(SerializationError, match=r"the input of workflow 'pay': \$ is declared as .*cannot be read"):

        @workflow
        async def pay(ctx: Context, means: Card | Transfer) -> None: ...

    with pytest.raises(SerializationError, match=r"the output of workflow 'count': \$ is declared as a dict whose"):

        @workflow
        async def count(ctx: Context) -> dict[str | int, int]:
            return {}


def test_a_workflow_whose_values_would_lose_a_part_is_warned_of_where_it_is_declared() -> None:
    with pytest.warns(WorkflowCodeWarning, match=r"'enter' declares .*refused: input: \$\.password is a SecretStr"):

        @workflow
        async def enter(ctx: Context, login: Login) -> None: ...


class Later(msgspec.Struct):
    part: Part


@workflow
async def early(ctx: Context, later: Later) -> int:
    return later.part.size


class Part(msgspec.Struct):
    size: int


class Larger(Part):
    extra: int = 0


async def test_a_type_whose_parts_are_defined_further_down_is_judged_when_it_is_used(database: str) -> None:
    async with running(database, early) as client:
        assert await (await client.begin(early, Later(Part(3)))).result(timeout=20) == 3
        with pytest.raises(SerializationError, match=r"\$\.part is a .*Larger, but would come back as a .*Part"):
            await client.begin(early, Later(Larger(3, 4)))


async def test_an_output_that_would_come_back_different_fails_its_run(database: str) -> None:
    async def make() -> Part:
        return Larger(1, 2)

    @workflow
    async def stepping(ctx: Context) -> int:
        return (await ctx.execute(Call("make", retry=RetryPolicy(max_retries=0)), make)).size

    @workflow
    async def returning(ctx: Context) -> Later:
        return Later(Larger(1, 2))

    async with running(database, stepping, returning) as client:
        with pytest.raises(RunFailed, match=r"StepFailed.*SerializationError: .*\$ is a .*Larger, but would come back"):
            await (await client.begin(stepping)).result(timeout=20)
        with pytest.raises(RunFailed, match=r"SerializationError: .*\$\.part is a .*Larger, but would come back"):
            await (await client.begin(returning)).result(timeout=20)


async def test_a_wait_for_an_event_that_no_payload_could_fit_fails_before_it_waits(database: str) -> None:
    @workflow
    async def waiting(ctx: Context) -> None:
        await ctx.wait_for_event("wait", "means", Card | Transfer)

    async with running(database, waiting) as client:
        with pytest.raises(RunFailed, match=r"SerializationError: the payload of event 'means': \$ is declared as"):
            await (await client.begin(waiting)).result(timeout=20)


BEGUN = """CHECK (updated_at <> created_at OR parent_run_id IS NOT NULL
    OR octet_length(input::text) <= 16777216 AND octet_length(tags::text) <= 524288) NOT VALID"""


@pytest.fixture
def unchecked(bare_database: str) -> str:
    """A database in which rows may have any size."""
    migrate(bare_database)
    with psycopg.connect(bare_database, autocommit=True) as connection:
        connection.execute("ALTER TABLE durable.runs DROP CONSTRAINT runs_begun")
        connection.execute("ALTER TABLE durable.events DROP CONSTRAINT events_sent")
    return bare_database


async def test_an_input_that_no_worker_can_hold_fails_its_run_and_no_other(unchecked: str) -> None:
    bad = await insert_run(unchecked, f'"{"x" * 70_000_000}"')
    good = await insert_run(unchecked, "21")
    async with running(unchecked, double) as client:
        with pytest.raises(RunFailed, match="too large to be loaded"):
            await client.handle(bad, double).result(timeout=30)
        assert await client.handle(good, double).result(timeout=10) == 42


async def test_an_event_that_no_worker_can_hold_fails_its_run_and_no_other(unchecked: str) -> None:
    @workflow
    async def hearing(ctx: Context) -> str:
        return await ctx.wait_for_event("news", "news", str)

    async with running(unchecked, hearing, double) as client:
        bad, good = await client.begin(hearing), await client.begin(hearing)
        async with await psycopg.AsyncConnection.connect(unchecked, autocommit=True) as connection:
            await connection.execute(
                "INSERT INTO durable.events (workflow_name_shard, run_id, event_id, name, payload)"
                " VALUES ('hearing_0', %s, gen_random_uuid(), 'news', %s)",
                (bad.run_key.run_id, f'"{"x" * 70_000_000}"'),
            )
        await good.publish_event("news", "good")
        assert await good.result(timeout=30) == "good"
        with pytest.raises(RunFailed):
            await bad.result(timeout=30)


async def test_runs_begun_before_there_was_a_check_of_their_size_are_executed_and_cancelled(unchecked: str) -> None:
    large, cancelled = [await insert_run(unchecked, f'"{"x" * 17_000_000}"', "measure") for _ in range(2)]
    with psycopg.connect(unchecked, autocommit=True) as connection:
        connection.execute(f"ALTER TABLE durable.runs ADD CONSTRAINT runs_begun {BEGUN}".encode())

    @workflow
    async def measure(ctx: Context, text: str) -> int:
        return len(text)

    async with AsyncClient(unchecked) as client:
        await client.cancel_run(cancelled)
        async with Worker(unchecked, [measure]):
            assert await client.handle(large, measure).result(timeout=30) == 17_000_000
            with pytest.raises(RunCancelled):
                await client.handle(cancelled, measure).result(timeout=30)


async def test_a_visit_that_brings_more_than_the_memory_holds_brings_less_the_next_time(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = EngineConnection.run
    brought: list[int] = []

    async def run(connection: EngineConnection, asked: Operation[Any]) -> Any:
        result = await original(connection, asked)
        if isinstance(result, Visited):
            brought.append(len(result.claimed))
            if len(result.claimed) > 4:
                raise MemoryError
        return result

    monkeypatch.setattr(EngineConnection, "run", run)

    @workflow(concurrency=16)
    async def crowded(ctx: Context, number: int) -> int:
        return number

    async with AsyncClient(database) as client:
        run_keys = await client.begin_many(crowded, range(40))
        async with Worker(database, [crowded], max_poll_interval=0.2) as worker:
            for number, run_key in enumerate(run_keys):
                assert await client.handle(run_key, crowded).result(timeout=30) == number
            assert worker.healthy()
    assert max(brought) == 16
