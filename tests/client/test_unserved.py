"""Runs that nobody will execute, as long as no worker is started that has their workflow."""

from __future__ import annotations

from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from durable.admin import migrate, roles_sql
from durable.client.client import Client
from durable.core.errors import ResultTimeout
from tests.client.colours import Colour, open_client, open_transaction, rows
from tests.client.workflows import greet

UNSERVED = r"its status is 'queued'; no living worker has the workflow 'greet'; start one, and the run continues$"


def register(database: str, workflows: str, *, age: str = "0 s", lease: float = 15) -> None:
    rows(
        database,
        "INSERT INTO durable.workers (worker_id, hostname, process_id, workflows, lease, heartbeat_at)"
        " VALUES (%s, 'here', 1, %s, %s, now() - %s::interval)",
        str(uuid4()),
        workflows,
        lease,
        age,
    )


async def test_a_result_that_is_awaited_in_vain_says_so(colour: Colour, database: str) -> None:
    register(database, "{other}")
    register(database, "{greet}", age="20 s", lease=3600)  # killed
    async with open_client(colour, database) as client:
        handle = await client.begin(greet, "Ada")
        for timeout in (0, 0.1):
            with pytest.raises(ResultTimeout, match=UNSERVED) as caught:
                await handle.result(timeout=timeout)
            assert caught.value.is_served is False
        assert (await handle.info()).is_served is False

        register(database, "{other,greet}")
        with pytest.raises(ResultTimeout, match="its status is 'queued'; it continues$") as caught:
            await handle.result(timeout=0)
        assert caught.value.is_served is True
        assert (await handle.info()).is_served is True


async def test_a_run_that_has_left_the_queue_is_not_asked_about(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client:
        handle = await client.begin(greet, "Ada", delay=60)
        assert (await handle.info()).is_served is None


async def test_whoever_may_not_see_the_workers_is_told_the_rest(colour: Colour, bare_database: str) -> None:
    migrate(bare_database)
    role = f"client_{uuid4().hex[:8]}"
    rows(bare_database, f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA durable TO {role}")
    rows(bare_database, f"GRANT SELECT, INSERT ON durable.settings, durable.runs, durable.events TO {role}")
    try:
        async with (
            open_client(colour, make_conninfo(bare_database, user=role)) as client,
            open_transaction(colour, make_conninfo(bare_database, user=role)) as tx,
        ):
            run_key = await client.begin_tx(tx.inner, greet, "Ada")
            info = await client.get_run_info_tx(tx.inner, run_key)
            assert (info.status, info.is_served) == ("queued", None)
            await tx.commit()
            with pytest.raises(ResultTimeout, match="it continues$") as caught:
                await (await client.handle(run_key)).result(timeout=0)
            assert caught.value.is_served is None
    finally:
        rows(bare_database, f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_client_with_the_rights_of_its_role_is_told(bare_database: str) -> None:
    schema = f"s{uuid4().hex[:8]}"
    migrate(bare_database, schema=schema)
    role = f"{schema}_app"
    with psycopg.connect(bare_database, autocommit=True) as connection:
        connection.execute(roles_sql(schema).encode())
        connection.execute(f"CREATE ROLE {role} LOGIN; GRANT {schema}_client TO {role}".encode())
        try:
            with Client(make_conninfo(bare_database, user=role), schema=schema) as client:
                handle = client.begin(greet, "Ada")
                assert handle.info().is_served is False
        finally:
            for name in (role, *(f"{schema}_{kind}" for kind in ("client", "worker", "viewer", "owner"))):
                connection.execute(
                    f"REASSIGN OWNED BY {name} TO postgres; DROP OWNED BY {name}; DROP ROLE {name}".encode()
                )
