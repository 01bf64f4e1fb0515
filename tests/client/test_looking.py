"""Status, output, lists."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from durable.core.errors import DeserializationError, InvalidArgument, RunNotCompleted, RunNotFound
from durable.core.failures import ErrorInfo
from durable.core.runs import RunKey
from tests.client.colours import Colour, finish, open_client, open_transaction, rows
from tests.client.workflows import Order, Receipt, checkout, greet, nightly

NOWHERE = "greet_0:01920000-0000-7000-8000-000000000000"


async def test_the_status_says_where_a_run_stands(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client:
        handle = await client.begin(greet, "Ada")
        fresh = await handle.info()
        rows(
            database,
            "UPDATE durable.runs SET status = 'sleeping', next_wake_at = created_at + interval '1 h', attempts = 2,"
            ' takeovers = 1, error = \'{"type": "ValueError", "message": "no"}\', set_asides = 1',
        )
        later = await client.get_run_info(str(handle.run_key))

    assert (fresh.status, fresh.status_reason, fresh.error) == ("queued", None, None)
    assert (fresh.attempts, fresh.takeovers) == (0, 0)
    assert fresh.created_at.tzinfo is not None
    assert (later.status, later.status_reason, later.attempts, later.takeovers) == ("sleeping", "set_aside", 2, 1)
    assert later.error == ErrorInfo("ValueError", "no")
    assert later.next_wake_at == later.created_at + timedelta(hours=1)


async def test_the_output_is_decoded_as_the_type_asked_for(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client:
        handle = await client.begin(checkout, Order(1))
        with pytest.raises(RunNotCompleted, match="queued"):
            await client.get_run_output(handle.run_key)
        finish(database, handle.run_key.run_id, '{"total": 2.5}')

        assert await client.get_run_output(handle.run_key) == {"total": 2.5}
        assert await client.get_run_output(handle.run_key, Receipt) == Receipt(2.5)
        with pytest.raises(DeserializationError):
            await client.get_run_output(handle.run_key, int)


async def test_a_run_can_be_looked_at_in_the_transaction_that_begins_it(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client, open_transaction(colour, database) as tx:
        run_key = await client.begin_tx(tx.inner, greet, "Ada")
        assert (await client.get_run_info_tx(tx.inner, run_key)).status == "queued"
        with pytest.raises(RunNotFound):
            await client.get_run_info(run_key)
        with pytest.raises(RunNotCompleted, match="queued"):
            await client.get_run_output_tx(tx.inner, run_key)
        await tx.execute("UPDATE durable.runs SET status = 'completed', completed_at = now(), output = '\"done\"'")
        assert await client.get_run_output_tx(tx.inner, run_key, str) == "done"
        await tx.rollback()
        with pytest.raises(RunNotFound):
            await client.get_run_output_tx(tx.inner, run_key)


async def test_a_run_that_is_not_there_is_not_found(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client:
        for look in (client.get_run_info, client.get_run_output):
            with pytest.raises(RunNotFound, match=NOWHERE):
                await look(NOWHERE)
            with pytest.raises(InvalidArgument):
                await look("greet_0")
        with pytest.raises(RunNotFound):
            await client.list_runs(before=NOWHERE)
        with pytest.raises(InvalidArgument):
            await client.handle("greet")


async def test_runs_are_listed_newest_first_and_filtered(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client:
        first = await client.begin(greet, "Ada", tags={"a": "b"}, priority=5)
        second = await client.begin(nightly, delay=60)
        third = await client.begin(greet, "Bob")
        listed = await client.list_runs()
        by_workflow = await client.list_runs(workflow=greet)
        by_name = await client.list_runs(workflow="nightly")
        by_status = await client.list_runs(status="sleeping")
        by_both = await client.list_runs(workflow=greet, status="sleeping")

    assert [run.run_key for run in listed] == [third.run_key, second.run_key, first.run_key]
    assert [run.run_key for run in by_workflow] == [third.run_key, first.run_key]
    assert [run.run_key for run in by_name] == [run.run_key for run in by_status] == [second.run_key]
    assert by_both == []
    oldest = listed[-1]
    assert (oldest.workflow_name, oldest.version, oldest.status) == ("greet", 1, "queued")
    assert (oldest.priority, oldest.tags, oldest.completed_at) == (5, {"a": "b"}, None)
    assert listed[0].tags == {}


async def test_pages_cover_every_run_once(colour: Colour, database: str) -> None:
    async with open_client(colour, database) as client:
        # Of one moment, so that the order within it matters; and keyed ids, which do not sort by time.
        begun = set(await client.begin_many(greet, map(str, range(25))))
        begun |= {(await client.begin(greet, "x", key=str(n))).run_key for n in range(5)}
        seen: list[RunKey] = []
        before: Any = None
        while page := await client.list_runs(limit=7, before=before):
            seen += [run.run_key for run in page]
            before = seen[-1] if len(seen) % 2 else str(seen[-1])

    assert len(seen) == 30
    assert set(seen) == begun


@pytest.mark.parametrize(
    "arguments",
    [
        {"limit": 0},
        {"limit": 10_001},
        {"limit": "5"},
        {"limit": True},
        {"status": "done"},
        {"status": ["queued"]},
        {"workflow": ""},
        {"workflow": 5},
        {"before": "greet"},
    ],
)
async def test_a_bad_argument_is_refused(colour: Colour, database: str, arguments: dict[str, Any]) -> None:
    async with open_client(colour, database) as client:
        with pytest.raises(InvalidArgument):
            await client.list_runs(**arguments)
