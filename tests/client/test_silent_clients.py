"""Clients that announce nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from durable.admin.migration import migrate
from durable.client.async_client import AsyncClient
from durable.client.client import Client
from durable.core.errors import InvalidArgument
from durable.embedded import EmbeddedPostgres
from durable.store.channels import work_channel
from tests.client.colours import Colour, open_client, open_transaction, rows
from tests.client.workflows import greet


@pytest.fixture(scope="module")
def two_phase_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server of its own, because the setting needs a restart."""
    directory: Path = tmp_path_factory.mktemp("two-phase")
    with EmbeddedPostgres(directory, fsync=False) as server:
        with psycopg.connect(server.conninfo, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET max_prepared_transactions = 5")
    with EmbeddedPostgres(directory, fsync=False) as server:
        migrate(server.conninfo)
        yield server.conninfo


async def test_a_transaction_of_a_silent_client_can_be_prepared(colour: Colour, two_phase_database: str) -> None:
    async with (
        open_client(colour, two_phase_database, notify=False) as client,
        open_transaction(colour, two_phase_database) as tx,
    ):
        run_key = await client.begin_tx(tx.inner, greet, "Ada")
        await client.publish_event_tx(tx.inner, run_key, "news", 1)
        await client.cancel_run_tx(tx.inner, run_key)
        await client.schedule_tx(tx.inner, greet, "Bob", f"daily {colour}", "@every 24h", run_now=True)
        await client.pause_schedule_tx(tx.inner, f"daily {colour}")
        await client.resume_schedule_tx(tx.inner, f"daily {colour}")
        await client.trigger_schedule_tx(tx.inner, f"daily {colour}")
        await tx.execute("PREPARE TRANSACTION 'ours'")
        assert rows(two_phase_database, "SELECT count(*) FROM durable.runs WHERE run_id = %s", run_key.run_id) == [(0,)]
        rows(two_phase_database, "COMMIT PREPARED 'ours'")
        assert (await client.get_run_info(run_key)).status == "queued"


async def test_a_silent_client_announces_nothing(colour: Colour, database: str) -> None:
    async with open_client(colour, database, notify=False) as client:
        with psycopg.connect(database, autocommit=True) as listener:
            listener.execute(f"LISTEN {work_channel('durable')}")
            handle = await client.begin(greet, "Ada")
            await client.begin_many(greet, ["Bob", "Cy"])
            await handle.publish_event("news", 1)
            await handle.cancel()
            await client.schedule(greet, "Di", "daily", "@every 24h", run_now=True)
            listener.execute("SELECT pg_notify(%s, 'the end')", [work_channel("durable")])
            heard = [notice.payload for notice in listener.notifies(timeout=10, stop_after=1)]
    assert heard == ["the end"]


def test_what_says_neither_yes_nor_no_is_refused(database: str) -> None:
    for cls in (Client, AsyncClient):
        with pytest.raises(InvalidArgument, match="notify"):
            cls(database, notify="no")  # type: ignore[arg-type]
