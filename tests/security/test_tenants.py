"""What docs/tenants.md says: logins of one database do not see each other's runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from durable import Client, Context, RunNotFound, ScheduleNotFound, Worker, workflow
from durable.admin.migration import migrate
from durable.admin.pruning import prune
from tests.roles import as_role, make_roles

PAGE = Path(__file__).parents[2] / "docs" / "tenants.md"


class Tenants(NamedTuple):
    dsn: str
    acme: str
    globex: str


@pytest.fixture
def tenants(bare_database: str) -> Iterator[Tenants]:
    """A database that was set up as the page says, with logins whose names no other database has."""
    migrate(bare_database)
    make_roles(bare_database)
    suffix = uuid4().hex[:12]
    names = {"acme": f"acme_{suffix}", "globex": f"globex_{suffix}"}
    password = conninfo_to_dict(bare_database).get("password")
    with psycopg.connect(bare_database, autocommit=True) as connection:
        for block in re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL):
            connection.execute(re.sub(r"\b(acme|globex)\b", lambda name: names[name[0]], block).encode())
        for name in names.values():
            if password is not None:
                connection.execute(f"ALTER ROLE {name} PASSWORD '{password}'".encode())
        try:
            yield Tenants(bare_database, names["acme"], names["globex"])
        finally:
            for name in names.values():
                connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}".encode())


@workflow
async def greet(ctx: Context, name: str) -> str:
    return f"{await ctx.wait_for_event('wait', 'title', str)} {name}"


@workflow
async def double(ctx: Context, number: int) -> int:
    return number * 2


async def test_a_tenant_works_with_its_own_runs_as_if_there_were_no_others(tenants: Tenants) -> None:
    for name in (tenants.acme, tenants.globex):
        with Client(as_role(tenants.dsn, name)) as client:
            tags = {"tenant": name}
            greeting = client.begin(greet, name, key=f"{name} greeting", tags=tags)
            assert not client.begin(greet, name, key=f"{name} greeting", tags=tags).is_new
            several = client.begin_many(double, [1, 2, 3], tags=tags)
            greeting.publish_event("title", "Dear", key="once")
            cancelled = client.begin(greet, "nobody", delay=1000, tags=tags)
            cancelled.cancel("no more")
            client.schedule(double, 1, f"{name}:yearly", "0 0 1 1 *")
            client.pause_schedule(f"{name}:yearly")
            worker = Worker(as_role(tenants.dsn, "durable_worker"), [greet, double])
            while await worker.process_one():
                pass
            assert greeting.result(timeout=0) == f"Dear {name}"
            assert [client.get_run_output(run_key, int) for run_key in several] == [2, 4, 6]
            assert cancelled.info().status == "cancelled"
            assert len(client.list_runs()) == 5
            assert [schedule.schedule_id for schedule in client.list_schedules()] == [f"{name}:yearly"]
    assert prune(tenants.dsn, older_than=0) == 10


def test_a_tenant_neither_sees_nor_touches_what_is_anothers(tenants: Tenants) -> None:
    with Client(as_role(tenants.dsn, tenants.acme)) as acme, Client(as_role(tenants.dsn, tenants.globex)) as globex:
        theirs = acme.begin(greet, "Ada", key="shared", tags={"tenant": tenants.acme}).run_key
        acme.schedule(double, 1, f"{tenants.acme}:yearly", "0 0 1 1 *")

        assert globex.list_runs() == []
        assert globex.list_schedules() == []
        for attempt in (
            lambda: globex.get_run_info(theirs),
            lambda: globex.publish_event(theirs, "title", "Dear"),
            lambda: globex.cancel_run(theirs),
            lambda: globex.terminate_run(theirs),
            lambda: globex.retry_run(theirs),
        ):
            with pytest.raises(RunNotFound):
                attempt()
        with pytest.raises(ScheduleNotFound):
            globex.delete_schedule(f"{tenants.acme}:yearly")
        taken = globex.begin(greet, "Eve", key="shared", tags={"tenant": tenants.globex})
        assert not taken.is_new
        with pytest.raises(RunNotFound):
            taken.info()


def test_what_bears_no_name_or_anothers_is_refused(tenants: Tenants) -> None:
    with Client(as_role(tenants.dsn, tenants.globex)) as globex, Client(as_role(tenants.dsn, tenants.acme)) as acme:
        theirs = acme.begin(greet, "Ada", tags={"tenant": tenants.acme}).run_key
        for tags in (None, {}, {"tenant": tenants.acme}):
            with pytest.raises(errors.InsufficientPrivilege, match="row-level security"):
                globex.begin(greet, "Eve", tags=tags)
            with pytest.raises(errors.InsufficientPrivilege, match="row-level security"):
                globex.begin_many(greet, ["Eve"], tags=tags)
        with pytest.raises(errors.InsufficientPrivilege, match="row-level security"):
            globex.schedule(double, 1, f"{tenants.acme}:daily", "0 0 * * *")
        with (
            psycopg.connect(as_role(tenants.dsn, tenants.globex), autocommit=True) as connection,
            pytest.raises(errors.InsufficientPrivilege, match="row-level security"),
        ):
            _forge(connection, theirs)


def _forge(connection: psycopg.Connection[Any], run_key: Any) -> None:
    connection.execute(
        "INSERT INTO durable.events (workflow_name_shard, run_id, event_id, kind, name, payload)"
        " VALUES (%s, %s, gen_random_uuid(), 'event', 'title', '\"Dear\"')",
        (run_key.workflow_name_shard, run_key.run_id),
    )
