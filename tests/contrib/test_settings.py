"""A session that is set up otherwise than most: what takes part in its transaction does the same there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from durable.client.client import Client
from tests.client.colours import rows
from tests.client.workflows import greet
from tests.contrib.libraries import Opened, open_transaction

SETTINGS = {
    "DateStyle": "German, DMY",
    "TimeZone": "America/St_Johns",
    "IntervalStyle": "sql_standard",
    "array_nulls": "off",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "quote_all_identifiers": "on",
    "search_path": "",
    "standard_conforming_strings": "off",
    "escape_string_warning": "off",
    "transform_null_equals": "on",
    "enable_seqscan": "off",
    "plan_cache_mode": "force_generic_plan",
}
START, END = datetime(2001, 2, 3, 4, 5, 6, 789012, tzinfo=UTC), datetime(2999, 12, 31, 23, 59, tzinfo=UTC)


async def everything(tx: Opened) -> Any:
    """Each method that reads or writes what a setting might shape."""
    run_key = await tx.begin_tx(
        greet, 'a "b" \\ c', at=datetime(2050, 6, 7, 8, 9, 10, 11, tzinfo=UTC), tags={"a": "\\"}
    )
    await tx.publish_event_tx(run_key, "news", ["\\", None, 0.1])
    bounds = {"start": START, "end": END, "jitter": 1234567.25}
    await tx.call_tx("schedule_tx", greet, "Ada", "daily", "0 9 1 1 *", timezone="Asia/Tokyo", **bounds)
    assert not await tx.call_tx("schedule_tx", greet, "Ada", "daily", "0 9 1 1 *", timezone="Asia/Tokyo", **bounds)
    ticks = await tx.call_tx(
        "backfill_schedule_tx", "daily", datetime(2002, 1, 1, tzinfo=UTC), datetime(2004, 6, 1, tzinfo=UTC)
    )
    triggered = await tx.call_tx("trigger_schedule_tx", "daily")
    (listed,) = await tx.call_tx("list_schedules_tx")
    info = await tx.call_tx("get_run_info_tx", run_key)
    return run_key, ticks, triggered, listed, info


async def test_no_setting_of_the_callers_session_changes_anything(kind: str, database: str) -> None:
    async with open_transaction(kind, database) as tx:
        for name, value in SETTINGS.items():
            await tx.execute(f"SET LOCAL {name} = '{value}'")
        run_key, ticks, triggered, listed, info = await everything(tx)
        await tx.commit()

    with Client(database) as client:
        assert client.get_run_info(run_key) == info
        assert client.list_schedules() == [listed]
    assert info.next_wake_at == datetime(2050, 6, 7, 8, 9, 10, 11, tzinfo=UTC)
    assert {moment.utcoffset() for moment in (info.created_at, info.updated_at, listed.created_at)} == {timedelta()}
    assert (listed.start, listed.end, listed.jitter) == (START, END, 1234567.25)
    stored = rows(
        database,
        "SELECT run_id::text, scheduled_at FROM durable.runs WHERE schedule_id = 'daily' ORDER BY scheduled_at",
    )
    assert [run_id for run_id, _ in stored] == [key.run_id for key in (*ticks, triggered)]
    assert [moment.astimezone(UTC) for _, moment in stored[:-1]] == [
        datetime(year, 1, 1, tzinfo=UTC) for year in (2002, 2003, 2004)
    ]


@pytest.mark.parametrize("kind", ["psycopg", "psycopg-async"])
@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "WIN1252"])
async def test_a_text_that_the_callers_encoding_lacks_comes_and_goes(kind: str, encoding: str, database: str) -> None:
    text = "é € ☃ 𝄞"
    async with open_transaction(kind, database) as tx:
        await tx.execute(f"SET client_encoding = '{encoding}'")
        await tx.commit()
        run_key = await tx.begin_tx(greet, text, key=text, tags={"ü": text})
        await tx.commit()
        assert rows(database, "SELECT input #>> '{}', key, tags ->> 'ü' FROM durable.runs") == [(text, text, text)]
        rows(
            database,
            "UPDATE durable.runs SET status = 'completed', completed_at = now(), output = to_json(%s::text)",
            text,
        )
        assert await tx.call_tx("get_run_output_tx", run_key) == text
        await tx.execute("SAVEPOINT ours")
        with pytest.raises(psycopg.Error):
            await tx.execute("SELECT 1/0")
        await tx.execute("ROLLBACK TO ours")
        assert await tx.call_tx("get_run_output_tx", run_key) == text
        await tx.commit()
        assert tx.tx.info.parameter_status("client_encoding") == encoding
