"""The invariants, checked by SQL and the journal once all is at rest. Violations are values; nothing is raised."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from durable.core.schedules.expressions import parse_schedule
from durable.core.schedules.timetable import Timetable
from tests.faults.model import wrong_outputs
from tests.faults.stage import Violation

Rows = Callable[..., Awaitable[list[tuple[Any, ...]]]]

_GRACE_SECONDS = 3.0
"""A worker that was declared dead learns of it with its next beat; what it starts until then, nobody can prevent."""
_MOST_SHOWN = 5
_MOST_TICKS = 100_000


class Known(msgspec.Struct, frozen=True):
    """What the application was told, and the processes that were out of the world, with the moment of their return."""

    acknowledged: Mapping[int, str]
    doubtful: Collection[int] = ()
    rolled_back: Collection[int] = ()
    stalls: Mapping[int, float] = {}


async def check_tables(rows: Rows, known: Known) -> list[Violation]:
    """I1 to I9."""
    return [
        violation
        for found in (
            await _finished_steps_started_again(rows, known),
            await _memos_without_calls(rows),
            await _rewritten(rows),
            await _begins(rows, known),
            await _ends(rows),
            await _events(rows),
            await _children(rows),
            await _bank(rows),
            await _ticks(rows),
            await _strangers(rows),
            await _owners(rows),
            [Violation("I9", what) for what in await wrong_outputs(rows)],
        )
        for violation in found
    ]


async def _finished_steps_started_again(rows: Rows, known: Known) -> list[Violation]:
    found = await rows("""
        WITH memo AS (
            SELECT step.run_id, step.step_key, pg_xact_commit_timestamp(wrote.xid) AS committed_at
            FROM durable.steps AS step
            JOIN LATERAL (
                SELECT xid FROM writes
                WHERE writes.run_id = step.run_id AND key = step.step_key AND relation = 'steps' AND is_new
                ORDER BY id DESC LIMIT 1) AS wrote ON true
        ), again AS (
            SELECT journal.run_id, journal.step_key, journal.process_id, journal.at, memo.committed_at
            FROM journal JOIN memo USING (run_id, step_key)
            WHERE journal.what = 'start' AND journal.at > memo.committed_at
        )
        SELECT again.run_id, again.step_key, again.process_id, extract(epoch FROM again.at)::float8,
               (SELECT identities.process_id FROM transitions LEFT JOIN identities ON worker_id = new_worker
                WHERE transitions.run_id = again.run_id AND pg_xact_commit_timestamp(xid) <= again.at
                ORDER BY id DESC LIMIT 1),
               (SELECT extract(epoch FROM max(pg_xact_commit_timestamp(xid)))::float8
                FROM transitions JOIN identities ON worker_id = old_worker
                WHERE transitions.run_id = again.run_id AND pg_xact_commit_timestamp(xid) <= again.at
                  AND identities.process_id = again.process_id)
        FROM again""")
    violations: list[Violation] = []
    for run_id, key, process_id, at, owner, lost_at in found:
        returned = max(lost_at or 0.0, known.stalls.get(process_id, 0.0))
        if owner == process_id or at > returned + _GRACE_SECONDS:
            what = f"step {key!r} of {run_id} was started by worker {process_id} after its memo was committed"
            violations.append(Violation("I1", what))
    return violations


async def _memos_without_calls(rows: Rows) -> list[Violation]:
    """A call that may be made at most once may not have been made at all when its worker ended, and leaves no trace if
    the journal is away. Then its memo says that it has failed."""
    return await _each(
        rows,
        "I9",
        "the memo of {1!r} of run {0} was written {2} times, by {3} calls",
        """
            SELECT step.run_id, step.step_key, wrote.times, coalesce(called.times, 0)
            FROM durable.steps AS step
            JOIN (SELECT run_id, key, count(*) AS times FROM writes WHERE relation = 'steps' AND is_new GROUP BY 1, 2)
              AS wrote ON wrote.run_id = step.run_id AND wrote.key = step.step_key
            LEFT JOIN (SELECT run_id, step_key, count(*) AS times FROM journal WHERE what = 'start' GROUP BY 1, 2)
              AS called ON called.run_id = step.run_id AND called.step_key = step.step_key
            WHERE step.kind IN ('execute', 'transaction') AND wrote.times > coalesce(called.times, 0)
              AND NOT (step.step_key = 'once' AND step.status = 'failed')""",
    )


async def _rewritten(rows: Rows) -> list[Violation]:
    return await _each(
        rows,
        "I9",
        "the answer to {1!r} of run {0} was recorded, and then another by worker {2}",
        """
        SELECT run_id, key, writer FROM rewrites""",
    )


async def _begins(rows: Rows, known: Known) -> list[Violation]:
    found = await rows("""
        SELECT workflow_name_shard || ':' || run_id, (input ->> 'number')::bigint
        FROM durable.runs WHERE schedule_id IS NULL AND json_typeof(input) = 'object' AND input ->> 'number' <> ''""")
    by_number: dict[int, list[str]] = {}
    violations: list[Violation] = []
    for run_key, number in found:
        by_number.setdefault(number, []).append(run_key)
    violations += [
        Violation("I2", f"run {row[0]} has not ended: it is {row[1]}")
        for row in await rows("SELECT run_id, status FROM durable.runs WHERE completed_at IS NULL")
    ]
    for number, run_key in known.acknowledged.items():
        if by_number.get(number) != [run_key]:
            there = by_number.get(number)
            violations.append(Violation("I2", f"begin {number} was confirmed as {run_key}, there is {there}"))
    for number, run_keys in by_number.items():
        if number in known.rolled_back:
            violations.append(Violation("I2", f"begin {number} was rolled back, there is {run_keys}"))
        elif number not in known.acknowledged and (number not in known.doubtful or len(run_keys) > 1):
            violations.append(Violation("I2", f"nobody has begun {number}, there is {run_keys}"))
    for (number,) in await rows(
        "SELECT number FROM orders WHERE NOT EXISTS (SELECT FROM durable.runs WHERE schedule_id IS NULL"
        " AND json_typeof(input) = 'object' AND input ->> 'number' = number::text)"
    ):
        violations.append(Violation("I2", f"order {number} was committed, and its run is not there"))
    return violations


async def _ends(rows: Rows) -> list[Violation]:
    terminal = "('completed', 'failed', 'cancelled')"
    return [
        *await _each(
            rows,
            "I3",
            "ended {1} times, reopened {2} times by {3} requests: run {0}",
            f"""
            SELECT run_id, ends, reopened, asked FROM (
                SELECT run_id,
                       count(*) FILTER (WHERE new_status IN {terminal} AND old_status NOT IN {terminal}) AS ends,
                       count(*) FILTER (WHERE old_status IN {terminal} AND new_status NOT IN {terminal}) AS reopened,
                       (SELECT count(*) FROM durable.events
                        WHERE events.run_id = transitions.run_id AND kind = 'retry') AS asked
                FROM transitions GROUP BY run_id) AS counted
            WHERE ends <> reopened + 1 AND EXISTS (SELECT FROM durable.runs
                  WHERE runs.run_id = counted.run_id AND completed_at IS NOT NULL) OR reopened > asked""",
        ),
        *await _each(
            rows,
            "I3",
            "run {0} was {1} and its result was changed",
            """
            SELECT run_id, old_status FROM transitions WHERE is_rewritten""",
        ),
    ]


async def _events(rows: Rows) -> list[Violation]:
    # Only a run that does nothing beside its wait is parked: beside steps the wait ends by a timer of the worker, begun
    # when it was called and not when it was written.
    return [
        *await _each(
            rows,
            "I4",
            "run {0} took its events {1!r} in another order than they were published",
            """
            SELECT run_id, event_name FROM (
                SELECT run_id, wait.event_name,
                       row_number() OVER (PARTITION BY run_id, event_name ORDER BY wait.seq) AS taken,
                       row_number() OVER (PARTITION BY run_id, event_name ORDER BY event.created_at, event_id) AS sent
                FROM durable.waits AS wait JOIN durable.events AS event USING (workflow_name_shard, run_id, event_id)
                WHERE wait.seq IS NOT NULL AND wait.event_name IS NOT NULL) AS heard
            WHERE taken <> sent""",
        ),
        *await _each(
            rows,
            "I4",
            "run {0} took an event {1!r} before an older one",
            """
            SELECT DISTINCT older.run_id, older.name
            FROM durable.events AS older
            JOIN durable.events AS newer ON newer.workflow_name_shard = older.workflow_name_shard
             AND newer.run_id = older.run_id AND newer.name = older.name
             AND (newer.created_at, newer.event_id) > (older.created_at, older.event_id)
            JOIN durable.waits AS wait ON wait.workflow_name_shard = newer.workflow_name_shard
             AND wait.run_id = newer.run_id AND wait.event_id = newer.event_id
            WHERE older.kind = 'event' AND older.consumed_by IS NULL
              -- It may be of a transaction that began before and ended after the newer one was taken.
              AND coalesce(older.routed_at, pg_xact_commit_timestamp(older.xmin)) < wait.satisfied_at""",
        ),
        *await _each(
            rows,
            "I4",
            "of run {0} event {1} was taken by {2!r}, as the wait has it by {3!r}",
            """
            SELECT event.run_id, event.event_id, event.consumed_by, wait.wait_key
            FROM (SELECT * FROM durable.events WHERE kind IN ('event', 'child') AND consumed_by IS NOT NULL) AS event
            FULL JOIN (SELECT * FROM durable.waits WHERE event_id IS NOT NULL) AS wait
              ON wait.workflow_name_shard = event.workflow_name_shard AND wait.run_id = event.run_id
             AND wait.event_id = event.event_id
            WHERE event.consumed_by IS DISTINCT FROM wait.wait_key
               OR event.payload::text IS DISTINCT FROM wait.payload::text""",
        ),
        *await _each(
            rows,
            "I4",
            "run {0} sleeps with its event {1!r} present",
            """
            SELECT run.run_id, event.name FROM durable.runs AS run
            JOIN durable.events AS event ON event.workflow_name_shard = run.workflow_name_shard
             AND event.run_id = run.run_id
            WHERE run.status = 'waiting_event' AND event.consumed_by IS NULL AND event.kind = 'event'
              AND event.name = ANY(run.awaits)""",
        ),
        *await _each(
            rows,
            "I4",
            "wait {1!r} of run {0} timed out with its event there for two seconds",
            """
            SELECT wait.run_id, wait.wait_key FROM durable.waits AS wait
            JOIN durable.events AS event ON event.workflow_name_shard = wait.workflow_name_shard
             AND event.run_id = wait.run_id AND event.name = wait.event_name AND event.kind = 'event'
            WHERE wait.timed_out AND event.consumed_by IS NULL
              AND event.created_at < wait.wake_at - interval '2 seconds'""",
        ),
        *await _each(
            rows,
            "I4",
            "wait {1!r} of run {0} ended {2} s too early",
            """
            SELECT run_id, wait_key, extract(epoch FROM wake_at - satisfied_at)
            FROM durable.waits JOIN durable.runs USING (workflow_name_shard, run_id)
            WHERE (wait_type = 'sleep' OR timed_out) AND satisfied_at < wake_at - interval '1 millisecond'
              AND workflow_name IN ('sleepy', 'deciding')""",
        ),
        # A timer has ended at the moment that the run saw, which a worker that has just taken the run over dates a
        # little too early: what counts is when the end was written.
        *await _each(
            rows,
            "I4",
            "the end of {1!r} of run {0} was written {2} s too early",
            """
            SELECT run_id, wait_key, extract(epoch FROM wake_at - wrote.at)
            FROM durable.waits JOIN durable.runs USING (workflow_name_shard, run_id)
            JOIN LATERAL (SELECT max(pg_xact_commit_timestamp(xid)) AS at FROM writes
                          WHERE writes.run_id = waits.run_id AND key = wait_key AND relation = 'waits') AS wrote ON true
            WHERE wait_key = 'asyncio:timer:1' AND satisfied_at IS NOT NULL AND wrote.at < wake_at - interval '1 ms'""",
        ),
    ]


async def _children(rows: Rows) -> list[Violation]:
    return [
        *await _each(
            rows,
            "I2",
            "of run {0} the memo says that child {1} was begun, the runs have child {2}",
            """
            SELECT coalesce(memo.run_id, child.parent_run_id), memo.begun, child.run_key
            FROM (SELECT run_id, output #>> '{}' AS begun, child_shard || ':' || child_run_id AS noted
                  FROM durable.steps WHERE kind = 'child') AS memo
            FULL JOIN (SELECT parent_run_id, workflow_name_shard || ':' || run_id AS run_key FROM durable.runs
                       WHERE parent_run_id IS NOT NULL) AS child
              ON child.parent_run_id = memo.run_id AND child.run_key = memo.begun
            WHERE memo.begun IS NULL OR child.run_key IS NULL OR memo.noted IS DISTINCT FROM memo.begun""",
        ),
        *await _each(
            rows,
            "I4",
            "child {0} is {1}, its parent was told that it is {2}",
            """
            SELECT child.run_id, child.status, told.payload ->> 'status'
            FROM durable.runs AS child
            LEFT JOIN durable.events AS told ON told.workflow_name_shard = child.parent_shard
             AND told.run_id = child.parent_run_id AND told.event_id = child.run_id AND told.kind = 'child'
            WHERE child.parent_run_id IS NOT NULL AND child.completed_at IS NOT NULL
              AND (told.payload ->> 'status' IS DISTINCT FROM child.status
                   OR told.child_status IS DISTINCT FROM child.status)""",
        ),
    ]


async def _bank(rows: Rows) -> list[Violation]:
    return [
        *await _each(
            rows,
            "I5",
            "account {0} holds {1}, its ledger says {2}",
            """
            SELECT account, balance, 1000 + coalesce(sum(amount), 0)
            FROM accounts LEFT JOIN ledger USING (account) GROUP BY account, balance
            HAVING balance <> 1000 + coalesce(sum(amount), 0)""",
        ),
        *await _each(
            rows,
            "I5",
            "the accounts hold {0}, not {1}",
            """
            SELECT sum(balance), 1000 * count(*) FROM accounts
            HAVING sum(balance) <> 1000 * count(*)""",
        ),
        *await _each(
            rows,
            "I5",
            "run {0} of {1} is {2}, its ledger has {3}",
            """
            SELECT run.run_id, run.workflow_name, run.status, booked.entries
            FROM durable.runs AS run
            LEFT JOIN (SELECT run_id, array_agg(entry ORDER BY id) AS entries FROM ledger GROUP BY run_id) AS booked
              USING (run_id)
            WHERE run.completed_at IS NOT NULL AND CASE
                WHEN run.workflow_name = 'transfer' OR run.workflow_name = 'compensating' AND run.status = 'completed'
                THEN booked.entries IS DISTINCT FROM '{debit,credit}'
                WHEN run.workflow_name = 'compensating'
                THEN coalesce(booked.entries, '{}') NOT IN ('{}', '{debit,refund}', '{debit,credit}')
                ELSE booked.entries IS NOT NULL END""",
        ),
    ]


async def _ticks(rows: Rows) -> list[Violation]:
    violations: list[Violation] = []
    schedules = await rows("SELECT schedule_id, expression, timezone, anchor_at, last_tick_at FROM durable.schedules")
    for schedule_id, expression, timezone, anchor, last_tick in schedules:
        begun: list[datetime] = [
            row[0]
            for row in await rows(
                "SELECT scheduled_at FROM durable.runs WHERE schedule_id = %s AND scheduled_at IS NOT NULL"
                " ORDER BY scheduled_at",
                (schedule_id,),
            )
        ]
        timetable = Timetable(schedule=parse_schedule(expression), anchor=anchor, timezone=timezone)
        due = list(timetable.ticks(anchor, last_tick, _MOST_TICKS)) if last_tick is not None else []
        if begun != due:
            missing, surplus = sorted(set(due) - set(begun)), sorted(set(begun) - set(due))
            what = f"schedule {schedule_id!r} has {len(begun)} runs for {len(due)} ticks"
            violations.append(Violation("I6", f"{what}: missing {missing[:3]}, surplus {surplus[:3]}"))
    return violations


async def _strangers(rows: Rows) -> list[Violation]:
    return [
        *await _each(
            rows,
            "I7",
            "worker {3} wrote {1} {2!r} of run {0}, of an epoch that worker {4} had claimed",
            """
            SELECT wrote.run_id, wrote.relation, wrote.key, wrote.writer, owner.process_id
            FROM writes AS wrote
            LEFT JOIN transitions AS claim ON claim.run_id = wrote.run_id AND claim.new_epoch = wrote.epoch
             AND claim.new_status = 'running'
            LEFT JOIN identities AS owner ON owner.worker_id = claim.new_worker
            WHERE wrote.writer IS DISTINCT FROM owner.process_id
              AND NOT EXISTS (SELECT FROM transitions AS moved WHERE moved.run_id = wrote.run_id
                              AND moved.xid = wrote.xid AND moved.old_status IN ('failed', 'cancelled'))""",
        ),
        *await _each(
            rows,
            "I7",
            "worker {2} made run {0} {1}, which worker {3} owned",
            """
            SELECT moved.run_id, moved.new_status, moved.writer, owner.process_id
            FROM transitions AS moved LEFT JOIN identities AS owner ON owner.worker_id = moved.old_worker
            WHERE moved.old_status = 'running' AND moved.new_epoch = moved.old_epoch
              AND moved.writer IS DISTINCT FROM owner.process_id""",
        ),
    ]


async def _owners(rows: Rows) -> list[Violation]:
    return [
        *await _each(
            rows,
            "I8",
            "run {0} went from worker {1}, epoch {2}, to worker {3}, epoch {4}",
            """
            SELECT run_id, old_worker, old_epoch, new_worker, new_epoch FROM transitions
            WHERE old_worker IS NOT NULL AND new_worker IS NOT NULL AND old_worker <> new_worker
               OR new_worker IS NOT NULL AND old_worker IS NULL AND new_epoch <> old_epoch + 1
               OR new_epoch < old_epoch""",
        ),
        *await _each(
            rows,
            "I8",
            "the history of run {0} has a gap: epoch {1} follows {2}",
            """
            SELECT run_id, old_epoch, previous FROM (
                SELECT run_id, old_epoch, lag(new_epoch) OVER (PARTITION BY run_id ORDER BY id) AS previous
                FROM transitions) AS chain
            WHERE old_epoch <> previous""",
        ),
    ]


async def _each(rows: Rows, invariant: str, what: str, statement: str) -> list[Violation]:
    return [Violation(invariant, what.format(*row)) for row in await rows(statement)]


def shown(violations: Sequence[Violation]) -> list[str]:
    """A few of each invariant, for people."""
    by_invariant: dict[str, list[str]] = {}
    for violation in violations:
        by_invariant.setdefault(violation.invariant, []).append(violation.what)
    lines: list[str] = []
    for invariant, whats in sorted(by_invariant.items()):
        lines += [f"{invariant}: {what}" for what in whats[:_MOST_SHOWN]]
        if len(whats) > _MOST_SHOWN:
            lines.append(f"{invariant}: and {len(whats) - _MOST_SHOWN} more")
    return lines
