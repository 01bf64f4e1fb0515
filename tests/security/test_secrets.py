"""A password, and what runs are given and return, are nowhere to be read but where they belong."""

from __future__ import annotations

import asyncio
import logging
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

import msgspec
import psycopg
import pydantic
import pytest
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from durable import AsyncClient, Call, Client, Context, DurableError, InvalidArgument, RetryPolicy, Worker, workflow
from durable.admin.migration import migrate
from durable.cli import main
from durable.cli.refusals import printable
from durable.core.codec.json_codec import JsonCodec
from durable.embedded import EmbeddedPostgres
from durable.postgres.conninfo import without_password
from durable.store.runs import begin_run
from durable.worker.database import Database
from tests.worker.processes import until

PASSWORD = "geheim-4711"
PAYLOAD = "vertraulich-0815"
UNREADABLE = [
    f"postgresql//app:{PASSWORD}@db/shop",
    f"postgres:app:{PASSWORD}@db",
    f"postgresql://app:%zz{PASSWORD}@db/shop",
    f"postgresql://app@db/shop?passwort={PASSWORD}",
    f"host=db {PASSWORD}=x",
    f"host=db password={PASSWORD} more",
    f"password='{PASSWORD}",
    f"host=db\0password={PASSWORD}",
]


class Order(pydantic.BaseModel):
    number: int


@workflow
async def ordering(ctx: Context, what: str) -> str:
    async def work(value: str) -> str:
        return value

    async def fail(value: str) -> None:
        raise ValueError("no such article")

    await ctx.execute("work", work, what)
    heard = await ctx.wait_for_event("wait", "news", str, timeout=20)
    if heard.endswith("fail"):
        await ctx.execute(Call("fail", retry=RetryPolicy(max_retries=1, backoff=0.01)), fail, heard)
    return what


@workflow
async def strict(ctx: Context, what: int) -> int:
    return what


@workflow
async def modelled(ctx: Context, what: Order) -> int:
    return what.number


@workflow
async def waiting(ctx: Context) -> int:
    return await ctx.wait_for_event("wait", "news", int, timeout=20)


class Parcel(msgspec.Struct, tag=True):
    size: Literal["small", "large"]


class Letter(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    pages: int = 1


@workflow
async def posting(ctx: Context, what: Parcel | Letter) -> int:
    return 1


@workflow
async def delegating(ctx: Context, what: str) -> int:
    return await ctx.run_child("child", strict, cast("Any", what))


class Unfinished(JsonCodec):
    """Writes what is no JSON."""

    def encode(self, value: object, what: str) -> str:
        return super().encode(value, what)[:-1] if isinstance(value, str) else super().encode(value, what)


@workflow(codec=Unfinished())
async def storing(ctx: Context) -> str:
    async def store(tx: psycopg.AsyncConnection[Any]) -> str:
        return PAYLOAD

    return await ctx.transaction("store", store)


@workflow(codec=Unfinished())
async def unfinished(ctx: Context) -> str:
    return PAYLOAD


def with_password(conninfo: str) -> str:
    return make_conninfo(conninfo, password=PASSWORD)


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    caplog.set_level(logging.DEBUG)
    for name in list(logging.root.manager.loggerDict):
        caplog.set_level(logging.DEBUG, logger=name)
    caplog.set_level(logging.DEBUG, logger="psycopg")
    caplog.set_level(logging.DEBUG, logger="psycopg.pool")

    def said() -> str:
        records = [f"{record.getMessage()} {vars(record)}" for record in caplog.records]
        return "\n".join([caplog.text, *records])

    return said


async def test_nothing_of_a_run_is_logged(
    database: str, everything_logged: Callable[[], str], capfd: pytest.CaptureFixture[str]
) -> None:
    dsn = with_password(database)
    async with (
        AsyncClient(dsn) as client,
        Worker(dsn, [ordering, strict, modelled, waiting, unfinished], poll_interval=0.05),
    ):
        done = await client.begin(ordering, PAYLOAD)
        await done.publish_event("news", PAYLOAD)
        assert await done.result(timeout=20) == PAYLOAD
        failed = await client.begin(ordering, PAYLOAD)
        await failed.publish_event("news", f"{PAYLOAD} fail")
        misheard = await client.begin(waiting)
        await misheard.publish_event("news", PAYLOAD)
        unwritable = await client.begin(unfinished)
        cancelled = await client.begin(ordering, PAYLOAD)
        await cancelled.cancel(PAYLOAD)
        mistyped = [
            await insert(database, "strict", f'"{PAYLOAD}"'),
            await insert(database, "modelled", f'"{PAYLOAD}"'),
        ]
        mistyped.append(await insert(database, "modelled", f'{{"number": "{PAYLOAD}"}}'))
        for run_key in (failed.run_key, misheard.run_key, unwritable.run_key, cancelled.run_key, *mistyped):
            with pytest.raises(DurableError):
                await client.handle(str(run_key)).result(timeout=20)
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        again = await client.begin(ordering, PAYLOAD)
        await again.publish_event("news", PAYLOAD)
        assert await again.result(timeout=20) == PAYLOAD
    said = everything_logged() + "".join(capfd.readouterr())
    assert "unfinished_0" in said  # it was listened to
    assert PASSWORD not in said
    assert PAYLOAD not in said


async def test_no_error_of_a_run_repeats_what_does_not_fit(database: str, everything_logged: Callable[[], str]) -> None:
    texts = [
        f'{{"type":"{PAYLOAD}"}}',
        f'{{"type":"Parcel","size":"{PAYLOAD}"}}',
        f'{{"type":"Letter","{PAYLOAD}":1}}',
    ]
    begun = [await insert(database, "posting", text) for text in texts]
    begun.append(await insert(database, "modelled", f'{{"number": "{PAYLOAD}"}}'))
    begun.append(await insert(database, "delegating", f'"{PAYLOAD}"'))
    begun += [await insert(database, name, "null") for name in ("unfinished", "storing")]
    workflows = [posting, modelled, delegating, strict, unfinished, storing]
    async with AsyncClient(database) as client, Worker(database, workflows):
        for run_key in begun:
            with pytest.raises(DurableError):
                await client.handle(run_key).result(timeout=20)
    async with await psycopg.AsyncConnection.connect(database) as connection:
        cursor = await connection.execute("SELECT error::text FROM durable.runs WHERE error IS NOT NULL")
        errors = [text for (text,) in await cursor.fetchall()]
    assert len(errors) == len(begun)
    assert not any(PAYLOAD in text for text in errors)
    assert PAYLOAD not in everything_logged()


async def insert(database: str, workflow_name: str, input: str) -> str:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        cursor = await connection.execute(
            "INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, input)"
            " VALUES (%s, gen_random_uuid(), %s, %s) RETURNING workflow_name_shard || ':' || run_id",
            (f"{workflow_name}_0", workflow_name, input),
        )
        ((run_key,),) = await cursor.fetchall()
    return str(run_key)


@pytest.mark.parametrize(
    "away", [{"port": "1"}, {"host": "nowhere.invalid"}, {"dbname": "no_such"}, {"user": "nobody"}]
)
async def test_a_database_that_refuses_us_is_reported_without_the_password(
    away: dict[str, str], database: str, everything_logged: Callable[[], str]
) -> None:
    dsn = make_conninfo(with_password(database), connect_timeout="2", **away)
    complaints: list[str] = []
    async with AsyncClient(dsn) as client:
        try:
            await client.begin(ordering, "x")
        except psycopg.Error as error:
            complaints.append("".join(traceback.format_exception(error)) + repr(error))
    with Client(dsn) as client:
        try:
            client.begin(ordering, "x")
        except psycopg.Error as error:
            complaints.append("".join(traceback.format_exception(error)) + repr(error))
    worker = asyncio.create_task(Worker(dsn, [ordering], poll_interval=0.05).run())
    async with asyncio.timeout(20):
        while "waiting for the database" not in everything_logged() and not worker.done():
            await asyncio.sleep(0.02)
    worker.cancel()
    (outcome,) = await asyncio.gather(worker, return_exceptions=True)
    complaints.append(repr(outcome))
    assert len(complaints) == 3
    assert PASSWORD not in "".join(complaints) + everything_logged()


@pytest.mark.parametrize("conninfo", UNREADABLE, ids=range(len(UNREADABLE)))
def test_a_connection_string_that_cannot_be_read_is_not_repeated(
    conninfo: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for refuse in (
        lambda: Client(conninfo),
        lambda: AsyncClient(conninfo),
        lambda: Worker(conninfo, [ordering]),
        lambda: migrate(conninfo),
    ):
        with pytest.raises(InvalidArgument) as refused:
            refuse()
        assert PASSWORD not in "".join(traceback.format_exception(refused.value)) + repr(vars(refused.value))
    for verb in (["migrate"], ["demo"], ["worker", "tests.worker.processes:three_steps"]):
        assert main([*verb, "--dsn", conninfo]) == 1
    if "\0" not in conninfo:
        monkeypatch.setenv("DURABLE_DATABASE_URL", conninfo)
        assert main(["migrate"]) == 1
    shown = capsys.readouterr()
    assert "--dsn" in shown.err
    assert PASSWORD not in shown.err + shown.out


async def test_no_object_shows_or_hands_on_the_password(database: str, tmp_path: Path) -> None:
    dsn = with_password(database)
    pool = ConnectionPool(dsn, open=False)
    async_pool = AsyncConnectionPool(database, kwargs={"password": PASSWORD}, open=False)
    with Client(dsn) as client:
        handle = client.begin(ordering, "x")
        worker = Worker(dsn, [ordering])
        async with worker, AsyncClient(dsn) as other:
            shown = [
                *(
                    client,
                    other,
                    worker,
                    worker.status(),
                    handle,
                    handle.info(),
                    Database(dsn, "durable"),
                    Database(async_pool, "durable"),
                ),
                *(client._operations, client._connections, client._results, Client(pool), AsyncClient(async_pool)),
                *(worker._lease, worker._executions, worker._scheduler, worker._listener, client.list_runs()),
                EmbeddedPostgres(tmp_path),
            ]
            for thing in shown:
                assert PASSWORD not in repr(thing) + str(thing) + f"{thing:}", type(thing)
            for thing in (client, other, worker, handle):
                try:
                    handed_on = pickle.dumps(thing)
                except (TypeError, AttributeError, pickle.PicklingError) as error:
                    handed_on = repr(error).encode()
                assert PASSWORD.encode() not in handed_on, type(thing)


def test_a_statement_does_not_show_its_parameters() -> None:
    with Client("dbname=nowhere") as client:
        new = client._operations.new_run(ordering, PAYLOAD)
    statement = begin_run("ordering_0", new)
    assert PAYLOAD in statement.params.values() or f'"{PAYLOAD}"' in statement.params.values()
    assert PAYLOAD not in repr(statement) + str(statement)


def test_a_worker_s_command_line_needs_no_password(database: str) -> None:
    """The process list is everybody's: the password comes by the environment and goes nowhere."""
    code = "from durable.cli import main; raise SystemExit(main())"
    root = Path(__file__).parents[2]
    environment = {"PYTHONPATH": str(root), "DURABLE_DATABASE_URL": with_password(database), "TEST_DSN": database}
    command = [sys.executable, "-c", code, "worker", "tests.worker.processes:three_steps"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, cwd=root) as process:
        try:
            with psycopg.connect(database, autocommit=True) as connection:
                until(lambda: connection.execute("SELECT 1 FROM durable.workers").fetchone())
            assert PASSWORD not in Path(f"/proc/{process.pid}/cmdline").read_text()
        finally:
            process.terminate()
        assert PASSWORD.encode() not in (process.stderr.read() if process.stderr else b"")


def test_the_demo_names_its_database_without_the_password() -> None:
    assert (
        without_password(f"postgresql://app:{PASSWORD}@db/shop?sslpassword={PASSWORD}")
        == "user=app dbname=shop host=db"
    )


def test_the_demo_starts_its_workers_without_the_password_on_their_command_line(
    server_dsn: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[Any] = []
    started = subprocess.Popen

    def popen(command: Any, **options: Any) -> Any:
        commands.append(command)
        return started(command, **options)

    monkeypatch.setattr("durable.cli.demo.demo.subprocess.Popen", popen)
    assert main(["demo", "--runs", "20", "--keep", "--dsn", with_password(server_dsn)]) == 0
    shown = capfd.readouterr()
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        for (name,) in connection.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE 'durable_demo_%'"
        ).fetchall():
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())
    assert len(commands) >= 3
    assert "The database is kept" in shown.out
    assert PASSWORD not in repr(commands) + shown.out + shown.err


@pytest.mark.parametrize("text", ["\x1b[2J\x1b]0;owned\x07", "a\rb", "\x9b31m", "\u202egnp.exe", "\x00", "\ud800"])
def test_what_would_steer_a_terminal_is_written_out(text: str) -> None:
    shown = printable(f"no such run: {text}!")
    assert shown.isprintable()
    assert shown.startswith("no such run: ")
    assert shown.endswith("!")


def test_what_the_command_says_of_an_error_is_bounded() -> None:
    assert len(printable("x" * 100_000)) <= 8192


def test_an_error_of_postgres_is_told_without_the_row_it_repeats(
    bare_database: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def violate(dsn: str, **_: Any) -> None:
        with psycopg.connect(dsn) as connection:
            connection.execute("CREATE TABLE t (n int CHECK (n > 0), payload text)")
            connection.execute("INSERT INTO t VALUES (0, %s)", (PAYLOAD,))

    monkeypatch.setattr("durable.cli.admin.migrate", violate)
    assert main(["migrate", "--dsn", bare_database]) == 1
    shown = capsys.readouterr().err
    assert "violates check constraint" in shown
    assert PAYLOAD not in shown
