"""Retention at work all the time, with an age of seconds, while runs are retried, sent events and waited for.

What is deleted is kept in a graveyard, and put back at the end: so the oracle judges every run.
"""

from __future__ import annotations

import asyncio
import time

from psycopg.conninfo import make_conninfo

from durable import RunFailed, RunNotFound, RunNotRetryable, RunTerminal
from durable.admin.pruning import prune
from tests.faults.families import FAMILIES, remedy
from tests.faults.load import Family, Life
from tests.faults.play import quantile
from tests.faults.stage import Stage, fault
from tests.faults.workload import Bearing, Breaking, Leaf, Nap, failing, parent, sleepy

_AGE_SECONDS = 3.0
_PRUNERS = 2
_PAUSE_SECONDS = 0.1
_TABLES = ("runs", "steps", "waits", "events", "chapters")
_PRUNER = "pruner"
_NOTE = """
    CREATE TABLE burials (
        id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        run_id       uuid        NOT NULL,
        status       text        NOT NULL,
        at           timestamptz NOT NULL DEFAULT now(),
        completed_at timestamptz,
        parent       uuid
    );
    CREATE FUNCTION bury() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        EXECUTE format('INSERT INTO public.buried_%s SELECT ($1).*', TG_TABLE_NAME) USING OLD;
        IF TG_TABLE_NAME = 'runs' THEN
            INSERT INTO public.burials (run_id, status, completed_at, parent)
            VALUES (OLD.run_id, OLD.status, OLD.completed_at, OLD.parent_run_id);
        END IF;
        RETURN NULL;
    END $$;
""" + "".join(
    f"""
    CREATE TABLE buried_{table} (LIKE durable.{table});
    CREATE TRIGGER bury AFTER DELETE ON durable.{table} FOR EACH ROW
        WHEN (current_setting('application_name') = '{_PRUNER}') EXECUTE FUNCTION bury();
    """
    for table in _TABLES
)
_PUT_BACK = (
    "SET session_replication_role = replica;"  # no trigger sees it
    + "".join(f"INSERT INTO durable.{table} SELECT * FROM buried_{table} ON CONFLICT DO NOTHING;" for table in _TABLES)
    + "RESET session_replication_role"
)
_TOO_YOUNG = f"""
    SELECT run_id::text, status, extract(epoch FROM at - completed_at)::float8 FROM burials
    WHERE completed_at IS NULL OR at - completed_at < interval '{_AGE_SECONDS} s'
"""
_LOST_FAMILIES = f"""
    SELECT child.run_id::text, child.parent::text FROM burials AS child
    LEFT JOIN burials AS parent ON parent.run_id = child.parent
    WHERE child.parent IS NOT NULL AND (parent.id IS NULL OR parent.at > child.at
       OR parent.at - child.completed_at < interval '{_AGE_SECONDS} s')
"""
_LOST_RETRIES = """
    SELECT run_id::text FROM buried_events JOIN burials USING (run_id)
    WHERE kind = 'retry' AND (routed_at IS NULL OR buried_events.created_at > burials.completed_at)
"""
_LEFT = " UNION ALL ".join(
    f"SELECT '{table}', run_id::text FROM durable.{table} JOIN burials USING (run_id)"
    f" WHERE NOT EXISTS (SELECT FROM durable.runs WHERE runs.run_id = {table}.run_id)"
    for table in _TABLES
    if table != "runs"
)


async def _late(life: Life) -> None:
    """A failed run is retried about when it may go: it is there and retried, or gone."""
    number = life.number()
    run_key = await life.begin(failing, Breaking(number, is_caught=False), is_plain=True)
    assert run_key is not None
    await life.load.ended(run_key)
    await life.load.surely(lambda: remedy(life, number))
    await asyncio.sleep(life.random.uniform(_AGE_SECONDS - 0.5, _AGE_SECONDS + 0.3))
    handle = life.client.handle(run_key, failing)
    try:
        await life.load.surely(handle.retry)
    except (RunNotFound, RunNotRetryable):
        return
    try:
        await life.load.surely(lambda: handle.result(timeout=20))
    except RunNotFound:
        return  # it has ended long enough ago once more
    except RunFailed:
        life.load.problems.append(f"run {run_key} was retried, and failed as if it had not been")


async def _told_late(life: Life) -> None:
    run_key = await life.begin(sleepy, Nap(life.number(), 0.0), is_plain=True)
    assert run_key is not None
    await life.load.ended(run_key)
    await asyncio.sleep(life.random.uniform(_AGE_SECONDS - 0.5, _AGE_SECONDS + 0.3))
    try:
        await life.load.surely(lambda: life.client.publish_event(run_key, "late", "news"))
    except (RunNotFound, RunTerminal):
        return
    life.load.problems.append(f"run {run_key} had ended, and took an event")


async def _long_family(life: Life) -> None:
    """One child has ended long before the other, and stays as long as the whole family."""
    order = Bearing(life.number(), [Leaf("well"), Leaf("waits")])
    run_key = await life.begin(parent, order, is_plain=True)
    assert run_key is not None
    await asyncio.sleep(life.random.uniform(_AGE_SECONDS, 2 * _AGE_SECONDS))
    await life.load.surely(lambda: life.client.cancel_run(run_key, "they have waited for long enough"))
    await life.load.ended(run_key)


@fault(
    row=23,
    how=f"{_PRUNERS} threads prune every {_PAUSE_SECONDS * 1000:g} ms what ended {_AGE_SECONDS:g} s ago, while runs of"
    " that age are retried and sent events, and children wait for their parents",
    target="0 live rows lost, 0 retries lost; families go as a whole, with all their rows",
    sizes={"smoke": 10, "campaign": 200, "soak": 20_000},
    workers=3,
    families=(
        *FAMILIES,
        Family("late", 4, _late),
        Family("told late", 2, _told_late),
        Family("long family", 2, _long_family),
    ),
)
async def pruned(stage: Stage) -> None:
    await stage.observer.rows(_NOTE)
    conninfo = make_conninfo(stage.options.direct, application_name=_PRUNER)
    seconds: list[float] = []
    deleted = 0

    async def prune_now_and_then() -> None:
        nonlocal deleted
        while stage.count < stage.size:
            began = time.monotonic()
            gone = await asyncio.to_thread(prune, conninfo, older_than=_AGE_SECONDS)
            seconds.append(time.monotonic() - began)
            deleted += gone
            if gone:
                stage.injected()
            await asyncio.sleep(_PAUSE_SECONDS)

    await asyncio.gather(*(prune_now_and_then() for _ in range(_PRUNERS)))
    for table, run_id in await stage.observer.rows(_LEFT):
        stage.violated("I11", f"run {run_id} is gone, and some of its {table} are left")
    for run_id, status, age in await stage.observer.rows(_TOO_YOUNG):
        stage.violated("I2", f"run {run_id} was deleted while it was {status}, {age} s after its end")
    for child, parent_id in await stage.observer.rows(_LOST_FAMILIES):
        stage.violated("I2", f"child {child} was deleted apart from its parent {parent_id}")
    for (run_id,) in await stage.observer.rows(_LOST_RETRIES):
        stage.violated("I2", f"run {run_id} was deleted although it was to be retried")
    await stage.observer.rows(_PUT_BACK)
    stage.noted(
        f"{deleted} runs were deleted by {len(seconds)} prunings, each in {quantile(sorted(seconds), 0.5) or 0:.2f} s"
        f" (p99 {quantile(sorted(seconds), 0.99) or 0:.2f} s)"
    )
