"""The next versions of the schema, applied by ``migrate`` while workers and clients of this one are at work."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from unittest.mock import patch

from durable import AsyncClient
from durable.admin.migration import migrate
from durable.store.migrations import Migration, latest_version, migrations
from tests.faults.load import Family, Life
from tests.faults.stage import Stage, fault
from tests.faults.workload import Nap, sleepy

_WORKERS = 4
_PAUSE_SECONDS = 2.0
_TABLES = ("runs", "steps", "waits", "events", "chapters", "schedules", "workers")
_CHANGES = (
    "".join(f"ALTER TABLE durable.{table} ADD COLUMN next text;" for table in _TABLES),
    """ALTER TABLE durable.runs ADD CONSTRAINT runs_next CHECK (length(next) < 9) NOT VALID;
       ALTER TABLE durable.runs VALIDATE CONSTRAINT runs_next;""",
    """CREATE TABLE durable.next (run_id uuid PRIMARY KEY);
       CREATE VIEW durable.next_overview AS SELECT run_id, status, next FROM durable.runs;""",
    "CREATE INDEX steps_next ON durable.steps (next) WHERE next IS NOT NULL;",
    """DROP VIEW durable.next_overview; DROP TABLE durable.next; DROP INDEX durable.steps_next;
       ALTER TABLE durable.runs DROP CONSTRAINT runs_next, ALTER COLUMN strikes SET DEFAULT 0;""",
    "".join(f"ALTER TABLE durable.{table} DROP COLUMN next;" for table in reversed(_TABLES)),
)
"""What a later version may do beside this code, and then undo; the first and the last lock all tables at once."""
_STALE = "cached plan must not change result type"


@fault(
    row=20,
    how="migrations to future versions under load: columns, checks, tables, views and indexes that come and go",
    target="0 lost, 0 failed; each pause < 2 s; workers and clients of the previous version continue, and can start",
    sizes={"smoke": 3, "campaign": 5 * len(_CHANGES), "soak": 200 * len(_CHANGES)},
    workers=_WORKERS,
    recovery=_PAUSE_SECONDS,
)
async def migrated(stage: Stage) -> None:
    later = [
        Migration(latest_version() + 1 + number, f"{latest_version() + 1 + number:04}_next.sql", change)
        for number, change in enumerate(_CHANGES[number % len(_CHANGES)] for number in range(stage.size))
    ]
    conninfo, known = stage.options.direct, migrations()
    log_began = stage.server.log.stat().st_size
    for number, migration in enumerate(later, 1):
        pauses = [0.0]
        with patch("durable.admin.migration.migrations", return_value=(*known, *later[:number])):
            migrating = asyncio.create_task(asyncio.to_thread(migrate, conninfo))
            while not migrating.done():
                began = time.monotonic()
                await stage.observer.rows("SELECT run_id FROM durable.runs WHERE false")
                pauses.append(time.monotonic() - began)
                await asyncio.sleep(0.01)
            applied = await migrating
        stage.recovered(max(pauses))
        version = (await stage.observer.rows("SELECT schema_version FROM durable.settings"))[0][0]
        if applied == [migration.version] == [version]:
            stage.injected()
        await stage.load.start(Family("afresh", 1, partial(_begin_afresh, conninfo)))
        await _replace_one(stage)
    with stage.server.log.open("rb") as log:
        log.seek(log_began)
        stale = log.read().decode(errors="replace").count(_STALE)
    stage.noted(f"{stale} statements met a plan that was stale")


async def _begin_afresh(conninfo: str, life: Life) -> None:
    """By a client that reads the version anew."""
    async with AsyncClient(conninfo) as life.client:
        run_key = await life.begin(sleepy, Nap(life.number(), 0.0), is_plain=True)
    assert run_key is not None
    await life.load.ended(run_key)


async def _replace_one(stage: Stage) -> None:
    leaving = stage.random.choice(stage.fleet.alive)
    stage.fleet.spawn()
    leaving.terminate()
    await stage.until(lambda: leaving.exit_code is not None, 15, "a worker leaves")
    stage.fleet.collect()
    await stage.settle()
