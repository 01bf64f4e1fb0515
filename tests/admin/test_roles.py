"""The roles of `durable schema --roles`: each can do its work, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors, sql

from durable import AsyncClient, Call, Client, Context, InvalidArgument, RetryPolicy, RunFailed, Worker, workflow
from durable.admin.migration import migrate, roles_sql
from durable.cli import main
from durable.store.migrations import latest_version
from tests.conftest import new_database
from tests.roles import as_role, make_roles

TABLES = ("settings", "runs", "steps", "waits", "events", "chapters", "schedules", "workers", "workflow_pauses")
PAYLOADS = ("run_payloads", "step_payloads", "event_payloads")
OVERVIEWS = (
    "run_overview",
    "step_overview",
    "wait_overview",
    "event_overview",
    "chapter_overview",
    "schedule_overview",
)

ALLOWED: dict[str, dict[str, set[str]]] = {
    "durable_worker": {
        "settings": {"SELECT"},
        "runs": {"SELECT", "INSERT", "UPDATE"},
        "events": {"SELECT", "INSERT", "UPDATE", "DELETE"},
        "chapters": {"SELECT", "INSERT"},
        "steps": {"SELECT", "INSERT", "UPDATE", "DELETE"},
        "waits": {"SELECT", "INSERT", "UPDATE", "DELETE"},
        "workers": {"SELECT", "INSERT", "UPDATE", "DELETE"},
        "schedules": {"SELECT", "UPDATE"},
        "workflow_pauses": {"SELECT"},
    },
    # Of runs, events and schedules a client has columns; the whole rows are nobody's but the worker's.
    "durable_client": {"settings": {"SELECT"}, "schedules": {"SELECT"}, "workflow_pauses": {"SELECT"}},
    "durable_viewer": {name: {"SELECT"} for name in ("settings", "workers", "workflow_pauses", *OVERVIEWS)},
}


@workflow
async def greeting(ctx: Context, name: str) -> str:
    async def greet(tx: psycopg.AsyncConnection[Any], whom: str) -> str:
        await tx.execute("SELECT 1")
        return f"Hello, {whom}"

    return await ctx.transaction("greet", greet, name)


@workflow
async def everything(ctx: Context, name: str) -> str:
    async def compose(whom: str) -> str:
        return f"Hello, {whom}"

    async def refuse() -> None:
        raise ValueError("not today")

    first = await ctx.execute("compose", compose, name)
    await ctx.sleep("nap", 0.01)
    await asyncio.gather(*[ctx.execute(f"part {index}", compose, name) for index in range(3)])
    approved = await ctx.wait_for_event("approval", "approved", str, timeout=30)
    if approved == "no":
        await ctx.execute(Call("refuse", retry=RetryPolicy(max_retries=0)), refuse)
    return f"{first}: {approved}"


@pytest.fixture
def limited(bare_database: str) -> Iterator[str]:
    """A database with the schema and its roles."""
    migrate(bare_database)
    make_roles(bare_database)
    yield bare_database


def test_a_worker_and_a_client_can_do_all_their_work(limited: str) -> None:
    async def work() -> None:
        async with (
            Worker(as_role(limited, "durable_worker"), [everything, greeting]),
            AsyncClient(as_role(limited, "durable_client")) as client,
        ):
            handle = await client.begin(everything, "Ada", key="ada", priority=3, tags={"who": "Ada"})
            assert not (await client.begin(everything, "Ada", key="ada")).is_new
            await handle.publish_event("approved", "yes", key="once")
            await handle.publish_event("approved", "yes", key="once")
            assert await handle.result(timeout=20) == "Hello, Ada: yes"
            assert await client.get_run_output(handle.run_key) == "Hello, Ada: yes"

            failing = await client.begin(everything, "Bob")
            await failing.publish_event("approved", "no")
            with pytest.raises(RunFailed):
                await failing.result(timeout=20)
            await client.retry_run(failing.run_key)
            await client.cancel_run((await client.begin(everything, "Cy", delay=1000)).run_key, "no more")
            await client.terminate_run((await client.begin(everything, "Di")).run_key)
            for run_key in await client.begin_many(greeting, ["Eve", "Flo"]):
                await client.handle(run_key, greeting).result(timeout=20)
            await client.begin(greeting, "Gil", at=datetime.now(UTC) + timedelta(days=1))

            paused = await client.begin(everything, "Ian")
            await client.pause_run(paused.run_key, "later")
            await client.resume_run(paused.run_key)
            moved = await client.begin(greeting, "Jo", delay=1000)
            await client.reschedule_run(moved.run_key, delay=0.1)
            assert await moved.result(timeout=20) == "Hello, Jo"
            assert await client.pause_workflow("another")
            assert await client.resume_workflow("another")
            assert await client.list_paused_workflows() == []

            await client.schedule(greeting, "Hal", "often", "@every 50ms", run_now=True, overlap="cancel_other")
            await client.schedule(greeting, "Hal", "often", "@every 60ms", overlap="buffer_one")
            triggered = await client.trigger_schedule("often")
            await client.handle(triggered, greeting).result(timeout=20)
            async with asyncio.timeout(20):
                while (await client.list_schedules())[0].last_run is None:
                    await asyncio.sleep(0.02)
            await client.pause_schedule("often")
            await client.resume_schedule("often")
            now = datetime.now(UTC)
            await client.backfill_schedule("often", now - timedelta(milliseconds=200), now - timedelta(milliseconds=1))
            await client.delete_schedule("often")
            assert len(await client.list_runs(limit=3)) == 3

    asyncio.run(work())


def test_a_client_in_an_application_s_transaction_needs_no_more(limited: str) -> None:
    dsn = as_role(limited, "durable_client")
    with Client(dsn) as client, psycopg.connect(dsn) as tx:
        run_key = client.begin_tx(tx, greeting, "Ada", key="ada")
        client.publish_event_tx(tx, run_key, "approved", "yes")
        client.schedule_tx(tx, greeting, "Ada", "daily", "0 9 * * *")
        client.cancel_run_tx(tx, run_key)
        tx.commit()
        assert client.get_run_info(run_key).status == "queued"


def test_a_worker_takes_over_what_a_dead_one_of_another_login_held(limited: str) -> None:
    """The dead worker's lock and heartbeat are seen by a role that owns neither."""
    dead = str(uuid4())
    with psycopg.connect(limited, autocommit=True) as connection, Client(limited) as client:
        run_key = client.begin(greeting, "Ada").run_key
        connection.execute(
            "INSERT INTO durable.workers (worker_id, lock_key, hostname, process_id, workflows, lease)"
            " VALUES (%s, 12345, 'elsewhere', 1, '{greeting}', 60)",
            (dead,),
        )
        connection.execute(
            "UPDATE durable.runs SET status = 'running', epoch = 1, worker_id = %s, started_at = now()", (dead,)
        )

        async def work() -> None:
            async with (
                Worker(as_role(limited, "durable_worker"), [greeting]),
                AsyncClient(as_role(limited, "durable_client")) as looking,
            ):
                assert await looking.handle(run_key, greeting).result(timeout=20) == "Hello, Ada"
                assert (await looking.get_run_info(run_key)).takeovers == 1

        asyncio.run(work())


@pytest.mark.parametrize("role", ALLOWED)
def test_a_role_can_do_what_it_may_and_no_other_verb_on_any_table(role: str, limited: str) -> None:
    for table in (*TABLES, *PAYLOADS, *OVERVIEWS):
        with psycopg.connect(limited) as admin:
            (column,) = admin.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum = 1", (f"durable.{table}",)
            ).fetchone() or ("",)
        names = {"t": sql.Identifier("durable", table), "c": sql.Identifier(column)}
        for verb, text in (
            ("SELECT", "SELECT * FROM {t}"),
            ("INSERT", "INSERT INTO {t} SELECT * FROM {t} WHERE false"),
            ("UPDATE", "UPDATE {t} SET {c} = NULL WHERE false"),
            ("DELETE", "DELETE FROM {t} WHERE false"),
            ("TRUNCATE", "TRUNCATE {t}"),
            ("ALTER", "ALTER TABLE {t} RENAME TO mine"),
            ("DROP", "DROP TABLE {t}"),
            ("INDEX", "CREATE INDEX mine ON {t} ({c})"),
        ):
            with psycopg.connect(as_role(limited, role)) as connection:
                statement = sql.SQL(text).format(**names)
                if verb in ALLOWED[role].get(table, ()):
                    connection.execute(statement)
                    continue
                refusal: tuple[type[Exception], ...] = (errors.InsufficientPrivilege,)
                if table not in TABLES:  # there is no such verb for a view, or not for this one
                    refusal = (errors.InsufficientPrivilege, errors.WrongObjectType, errors.FeatureNotSupported)
                with pytest.raises(refusal):
                    connection.execute(statement)
                    pytest.fail(f"{role} may {verb} {table}")


@pytest.mark.parametrize("role", ALLOWED)
@pytest.mark.parametrize(
    "statement", ["CREATE TABLE durable.mine ()", "DROP SCHEMA durable CASCADE", "CREATE ROLE mine"]
)
def test_no_role_but_the_owner_changes_the_schema(role: str, statement: str, limited: str) -> None:
    with psycopg.connect(as_role(limited, role)) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute(statement.encode())


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT input FROM durable.runs",
        "SELECT epoch FROM durable.runs",
        "SELECT payload FROM durable.events",
        "SELECT * FROM durable.steps",
        "UPDATE durable.runs SET status = 'queued'",
        "UPDATE durable.events SET payload = 'null'",
        "UPDATE durable.schedules SET last_run = NULL",
        "INSERT INTO durable.runs (run_id, input, epoch) VALUES (gen_random_uuid(), 'null', 9)",
        "INSERT INTO durable.runs (run_id, input, output) VALUES (gen_random_uuid(), 'null', 'null')",
        "INSERT INTO durable.runs (run_id, input, worker_id) VALUES (gen_random_uuid(), 'null', gen_random_uuid())",
        "SELECT FROM durable.runs FOR UPDATE",
        "LOCK TABLE durable.runs IN SHARE MODE",
    ],
)
def test_a_client_sees_no_input_and_forges_no_progress(statement: str, limited: str) -> None:
    with psycopg.connect(as_role(limited, "durable_client")) as connection, pytest.raises(errors.InsufficientPrivilege):
        connection.execute(statement.encode())


def test_a_viewer_sees_everything_but_payloads(limited: str) -> None:
    with Client(limited) as client, psycopg.connect(as_role(limited, "durable_viewer")) as looking:
        run_key = client.begin(greeting, "the secret").run_key
        client.publish_event(run_key, "approved", "the secret")
        client.schedule(greeting, "the secret", "daily", "0 9 * * *")
        for view in OVERVIEWS:
            found = looking.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier("durable", view))).fetchall()
            assert found or view in ("step_overview", "wait_overview", "chapter_overview")
            assert "the secret" not in repr(found)


def test_every_table_and_view_is_somebody_s_or_nobody_s_on_purpose(limited: str) -> None:
    """A migration that adds one must say in roles.sql whose it is."""
    with psycopg.connect(limited) as connection:
        found = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'durable'::regnamespace AND relkind IN ('r', 'p', 'v')"
        ).fetchall()
    assert {name for (name,) in found} == {*TABLES, *PAYLOADS, *OVERVIEWS}


def test_the_script_takes_back_what_was_granted_by_hand_and_can_be_repeated(limited: str) -> None:
    with psycopg.connect(limited, autocommit=True) as connection:
        connection.execute(
            "GRANT ALL ON durable.runs TO PUBLIC; GRANT UPDATE (input) ON durable.runs TO durable_client"
        )
        before = connection.execute("SELECT relacl FROM pg_class WHERE oid = 'durable.events'::regclass").fetchone()
    for _ in range(2):
        make_roles(limited)
        with psycopg.connect(limited) as connection:
            acl = "SELECT relacl FROM pg_class WHERE oid = 'durable.events'::regclass"
            assert connection.execute(acl).fetchone() == before
            for right in ("has_table_privilege", "has_any_column_privilege"):
                (may,) = connection.execute(
                    f"SELECT {right}('durable_client', 'durable.runs', 'UPDATE')".encode()
                ).fetchone() or (None,)
                assert may is False


def test_a_member_of_the_owner_migrates_and_what_it_makes_is_the_owner_s(
    limited: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from durable.store.migrations import Migration, migrations

    version = latest_version() + 1
    added = Migration(version, f"{version:04}_added.sql", "CREATE TABLE durable.added (id integer)")
    monkeypatch.setattr("durable.admin.migration.migrations", lambda: (*migrations(), added))
    with _login(limited, "durable_owner") as deployer:
        assert migrate(as_role(limited, deployer), shard_count=2) == [version]
    with psycopg.connect(limited) as connection:
        assert connection.execute(
            "SELECT relowner::regrole::text, relacl FROM pg_class WHERE oid = 'durable.added'::regclass"
        ).fetchone() == ("durable_owner", None)
        assert connection.execute("SELECT shard_count FROM durable.settings").fetchone() == (2,)


@pytest.mark.parametrize("role", ALLOWED)
def test_no_other_role_migrates(role: str, limited: str) -> None:
    with psycopg.connect(limited, autocommit=True) as connection:
        connection.execute("UPDATE durable.settings SET schema_version = schema_version - 1")
    with pytest.raises(errors.InsufficientPrivilege):
        migrate(as_role(limited, role))


def test_another_schema_has_roles_of_its_own(bare_database: str) -> None:
    migrate(bare_database, schema="Mixed")
    try:
        make_roles(bare_database, "Mixed")
        with Client(as_role(bare_database, "Mixed_client"), schema="Mixed") as client:
            client.begin(greeting, "Ada")
        migrate(bare_database)
        with (
            Client(as_role(bare_database, "Mixed_client")) as client,
            pytest.raises(errors.InsufficientPrivilege, match="permission denied for schema durable"),
        ):
            client.begin(greeting, "Ada")
    finally:
        with psycopg.connect(bare_database, autocommit=True) as connection:
            connection.execute('DROP SCHEMA "Mixed" CASCADE')
            for role in ("owner", "worker", "client", "viewer"):
                connection.execute(f'DROP ROLE "Mixed_{role}"'.encode())


def test_roles_of_a_prefix_of_their_own_have_no_rights_in_another_database(server_dsn: str) -> None:
    with new_database(server_dsn) as shop, new_database(server_dsn) as billing:
        try:
            for database, prefix in ((shop, "test_shop"), (billing, "test_billing")):
                migrate(database)
                make_roles(database, prefix=prefix)
            with Client(as_role(shop, "test_shop_client")) as client:
                client.begin(greeting, "Ada")
            with Client(as_role(billing, "test_shop_client")) as client, pytest.raises(errors.InsufficientPrivilege):
                client.begin(greeting, "Ada")
        finally:
            for database, prefix in ((shop, "test_shop"), (billing, "test_billing")):
                drop_roles(database, prefix)


def test_the_script_warns_of_roles_that_have_rights_in_another_database(server_dsn: str) -> None:
    warnings: list[str | None] = []
    with new_database(server_dsn) as shop, new_database(server_dsn) as billing:
        for database in (shop, billing):
            migrate(database)
        try:
            for database in (shop, billing, billing):
                with psycopg.connect(database, autocommit=True) as connection:
                    connection.add_notice_handler(lambda notice: warnings.append(notice.message_primary))
                    connection.execute(roles_sql(prefix="test_both").encode())
                assert bool(warnings) is (database == billing)
        finally:
            for database in (shop, billing):
                with psycopg.connect(database, autocommit=True) as connection:
                    connection.execute("DROP SCHEMA durable CASCADE")
            drop_roles(shop, "test_both")
    assert (
        warnings[0]
        == 'the role "test_both_owner" has rights in another database too, and so has every login that is granted it'
    )


def drop_roles(database: str, prefix: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS durable CASCADE")
        for role in ("owner", "worker", "client", "viewer"):
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(f"{prefix}_{role}")))


@pytest.mark.parametrize("prefix", ["a" * 57, 'a"b', "durable; DROP ROLE postgres", "pg_a", ""])
def test_a_prefix_that_roles_could_not_begin_with_is_refused(prefix: str) -> None:
    with pytest.raises(InvalidArgument, match="prefix must be"):
        roles_sql(prefix=prefix)


@pytest.mark.parametrize("schema", ["a" * 57, 'a"b', "durable; DROP ROLE postgres", "pg_a", ""])
def test_a_schema_whose_roles_could_not_be_named_is_refused(schema: str) -> None:
    with pytest.raises(InvalidArgument):
        roles_sql(schema)


def test_the_command_prints_what_psql_takes(bare_database: str, capsys: pytest.CaptureFixture[str]) -> None:
    migrate(bare_database)
    assert main(["schema", "--roles"]) == 0
    with psycopg.connect(bare_database, autocommit=True) as connection:
        connection.execute(capsys.readouterr().out.encode())
        assert connection.execute("SELECT has_schema_privilege('durable_client', 'durable', 'USAGE')").fetchone() == (
            True,
        )


def test_the_command_gives_the_roles_the_prefix_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "--roles", "--role-prefix", "shop"]) == 0
    printed = capsys.readouterr().out
    assert 'TO "shop_client"' in printed
    assert "durable_client" not in printed


def test_a_command_without_the_rights_says_so_without_a_traceback(
    limited: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with psycopg.connect(limited, autocommit=True) as connection:
        connection.execute("UPDATE durable.settings SET schema_version = schema_version - 1")
    assert main(["migrate", "--dsn", as_role(limited, "durable_client")]) == 1
    assert capsys.readouterr().err.startswith("durable: ")


class _login:
    """A role that is a member of another, gone at the end of the block."""

    def __init__(self, conninfo: str, member_of: str) -> None:
        self._conninfo = conninfo
        self._member_of = member_of
        self._name = f"durable_test_{uuid4().hex[:8]}"

    def __enter__(self) -> str:
        self._execute("CREATE ROLE {} LOGIN", self._name)
        self._execute("GRANT {} TO {}", self._member_of, self._name)
        return self._name

    def __exit__(self, *_: object) -> None:
        self._execute("DROP ROLE {}", self._name)

    def _execute(self, statement: str, *names: str) -> None:
        with psycopg.connect(self._conninfo, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
