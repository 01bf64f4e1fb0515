"""What ended long ago is deleted, again and again, and put back for the oracle in the end."""

from __future__ import annotations

import asyncio
import time

import psycopg
from psycopg.conninfo import make_conninfo

from durable.prune import prune
from tests.faults.stage import Stage, fault

_PRUNER = "pruner"
_PRUNERS = 2
_EVERY_SECONDS = 0.1
_KEPT_SECONDS = 3.0
"""Long enough for the application to have heard of the end, and to have asked for a retry."""
_KILLS_PER_PURGE = 0.3
_TABLES = ("runs", "steps", "waits", "events")
_ARCHIVE = f"""
    CREATE FUNCTION archive() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        EXECUTE format('INSERT INTO public.archived_%I SELECT ($1).*', TG_TABLE_NAME) USING OLD;
        RETURN NULL;
    END $$;
    {"".join(f"CREATE TABLE archived_{table} AS TABLE durable.{table} WITH NO DATA;" for table in _TABLES)}
    {
    "".join(
        f"CREATE TRIGGER archive AFTER DELETE ON durable.{table} FOR EACH ROW"
        f" WHEN (current_setting('application_name') = '{_PRUNER}') EXECUTE FUNCTION archive();"
        for table in _TABLES
    )
}"""
_KILL = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{_PRUNER}' LIMIT 1"
_ALIVE = "SELECT run_id, status FROM archived_runs WHERE completed_at IS NULL"
_TORN = " UNION ALL ".join(
    f"SELECT run_id, '{table}' FROM {schema}{table} AS own"
    f" WHERE NOT EXISTS (SELECT FROM {schema}runs AS run WHERE run.run_id = own.run_id)"
    for schema in ("durable.", "archived_")
    for table in _TABLES[1:]
)
_PUT_BACK = f"""
    SET LOCAL session_replication_role = replica;
    {"".join(f"INSERT INTO durable.{table} TABLE archived_{table};" for table in _TABLES)}
"""


@fault(
    row=23,
    how=f"{_PRUNERS} at once delete each 100 ms what ended {_KEPT_SECONDS:g} s ago, and are killed now and then",
    target="0 live rows lost, no run deleted in part; what is put back is a history without a gap",
    sizes={"smoke": 10, "campaign": 1000, "soak": 50_000},
    workers=3,
)
async def pruned(stage: Stage) -> None:
    await stage.observer.rows(_ARCHIVE)
    deleted = killed = 0
    while stage.count < stage.size:
        started = time.monotonic()
        if stage.random.random() < _KILLS_PER_PURGE:
            killing = asyncio.create_task(_kill(stage))
            found = await asyncio.gather(*(_prune(stage) for _ in range(_PRUNERS)))
            killed += await killing
        else:
            found = await asyncio.gather(*(_prune(stage) for _ in range(_PRUNERS)))
        deleted += sum(found)
        if sum(found):
            stage.injected()
        await asyncio.sleep(max(0.0, _EVERY_SECONDS - (time.monotonic() - started)))
    for run_id, status in await stage.observer.rows(_ALIVE):
        stage.violated("I2", f"run {run_id} was deleted, and is {status}")
    for run_id, table in await stage.observer.rows(_TORN):
        stage.violated("I2", f"of run {run_id} there are {table}, and no run")
    async with await psycopg.AsyncConnection.connect(stage.options.direct) as connection:
        await connection.execute(_PUT_BACK.encode())
    stage.noted(f"{deleted} runs deleted; {killed} times somebody was killed at it")


async def _prune(stage: Stage) -> int:
    conninfo = make_conninfo(stage.options.direct, application_name=_PRUNER)
    try:
        return await asyncio.to_thread(prune, conninfo, older_than=_KEPT_SECONDS)
    except psycopg.OperationalError:  # killed: the pages before are gone, and were not counted
        return 0


async def _kill(stage: Stage) -> int:
    await asyncio.sleep(stage.random.uniform(0.0, _EVERY_SECONDS / 3))
    return len(await stage.observer.rows(_KILL))
