"""What follows from the facts about a run: the reasons why it is not moving, worst first."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from durable.core.diagnosis.cause import Cause, Severity
from durable.core.diagnosis.common import being_tried, unserved
from durable.core.diagnosis.facts import Facts
from durable.core.diagnosis.parked import parked
from durable.core.diagnosis.words import clock, first_line, go_first, is_alive, living, named, span, workers_are
from durable.core.runs import TERMINAL

_PATIENCE = timedelta(seconds=5)
_QUEUE_PATIENCE = timedelta(seconds=10)
_GRACE = timedelta(seconds=10)
"""How much later than its lease a dead worker's runs may move."""
_ORDER: dict[Severity, int] = {"wrong": 0, "waiting": 1, "ended": 2}


def causes_of(facts: Facts) -> list[Cause]:
    """Returns why the run is where it is, worst first."""
    return sorted(_causes(facts), key=lambda cause: _ORDER[cause.severity])


def _causes(facts: Facts) -> Iterator[Cause]:
    run = facts.run
    if run.is_standby:
        yield Cause(
            code="standby",
            sentence="This database is a read-only standby: nothing is executed from it.",
            severity="wrong",
            remedy="look at the primary, and have the workers connect to it",
        )
    yield from _locks(facts)
    if run.status in TERMINAL:
        yield from _ended(facts)
        return
    yield from _unrouted(facts)
    if run.paused_at is not None and (run.status == "queued" or _is_due(facts)):
        yield Cause(
            code="workflow_paused",
            sentence=f"Its workflow {run.workflow_name!r} has been paused for {span(run.now - run.paused_at)}.",
            severity="waiting",
            since=run.paused_at,
            remedy=f"to have its runs claimed again: durable workflows resume {run.workflow_name}",
        )
        return
    match run.status:
        case "queued":
            yield _queued(facts)
        case "running":
            yield _running(facts)
            yield from _tries(facts)
        case "paused":
            yield Cause(
                code="paused",
                sentence=f"It has been paused for {span(run.now - run.updated_at)}.",
                severity="waiting",
                since=run.updated_at,
                remedy=f"to let it go on: durable runs resume {facts.run_key}",
            )
        case _:
            yield from parked(facts, {child.run_key: tuple(causes_of(child)) for child in facts.children})


def _is_due(facts: Facts) -> bool:
    return facts.run.next_wake_at is not None and facts.run.next_wake_at <= facts.run.now


# whatever the status


def _locks(facts: Facts) -> Iterator[Cause]:
    now = facts.run.now
    for lock in facts.locks:
        held = "" if lock.began_at is None else f" for {span(now - lock.began_at)}"
        if lock.began_at is not None and now - lock.began_at < _PATIENCE:
            continue
        if lock.process_id is None:
            yield Cause(
                code="locked",
                sentence=f"Its row has been locked{held} by a prepared transaction.",
                severity="wrong",
                since=lock.began_at,
                remedy="commit or roll back that transaction: SELECT * FROM pg_prepared_xacts",
            )
            continue
        session = ", ".join(filter(None, (lock.application, lock.user, lock.state)))
        yield Cause(
            code="locked",
            sentence=f"Its row has been locked{held} by Postgres process {lock.process_id}"
            f"{f' ({session})' if session else ''}.",
            severity="wrong",
            since=lock.began_at,
            remedy=f"end that transaction, or its session: SELECT pg_terminate_backend({lock.process_id})",
        )


def _unrouted(facts: Facts) -> Iterator[Cause]:
    run = facts.run
    if run.status == "running":
        return
    for entry in facts.inbox:
        is_late = not entry.is_routed and run.now - entry.created_at > _PATIENCE
        if is_late and entry.kind != "next" and living(facts):
            yield Cause(
                code="unrouted",
                sentence=f"{named(entry)} has not been routed for {span(run.now - entry.created_at)}, although "
                f"living workers have {run.workflow_name!r}.",
                severity="wrong",
                since=entry.created_at,
                remedy="look at the logs of these workers: the database may refuse them something",
            )
            return


def _ended(facts: Facts) -> Iterator[Cause]:
    run = facts.run
    retry = next((entry for entry in facts.inbox if entry.kind == "retry" and not entry.is_routed), None)
    if retry is not None and run.status != "completed":
        if living(facts):
            yield Cause(
                code="retry_requested",
                sentence="Its retry was requested, and a worker is about to queue it.",
                severity="waiting",
                since=retry.created_at,
            )
        else:
            yield unserved(facts, "Its retry was requested, but no living worker has", retry.created_at)
        return
    error = "" if facts.error is None else f": {facts.error.type}: {first_line(facts.error.message)}"
    match run.status:
        case "completed":
            yield Cause(code="completed", sentence="It has completed.", severity="ended", since=run.completed_at)
        case "failed":
            yield Cause(
                code="failed",
                sentence=f"It has failed{error}",
                severity="ended",
                since=run.completed_at,
                remedy=f"once the reason is mended: durable runs retry {facts.run_key}",
            )
        case _:
            yield Cause(
                code="cancelled",
                sentence=f"It was cancelled{error}",
                severity="ended",
                since=run.completed_at,
                remedy=f"to let it continue: durable runs retry {facts.run_key}",
            )


# queued and running


def _queued(facts: Facts) -> Cause:
    run = facts.run
    workers = living(facts)
    if not workers:
        return unserved(facts, "It is queued, and no living worker has", run.updated_at)
    first = go_first(facts.ahead or 0)
    full = [worker for worker in workers if worker.concurrency is not None and worker.running >= worker.concurrency]
    if len(full) == len(workers):
        running, room = sum(worker.running for worker in workers), sum(worker.concurrency or 0 for worker in workers)
        all_are = "The worker that has it is" if len(workers) == 1 else f"All {len(workers)} workers that have it are"
        return Cause(
            code="full",
            sentence=f"{all_are} full, with {running} of {room} runs; {first} in its queue.",
            severity="waiting",
            since=run.updated_at,
            remedy="more workers, or a higher concurrency= of the workflow, would take it sooner",
        )
    if not facts.ahead and run.now - run.updated_at > _QUEUE_PATIENCE:
        return Cause(
            code="unclaimed",
            sentence=f"It should be running: it has been first in its queue for {span(run.now - run.updated_at)}, and "
            f"{workers_are(workers)} free for it.",
            severity="wrong",
            since=run.updated_at,
            remedy="look at the logs of these workers",
        )
    return Cause(code="queued", sentence=f"It waits for its turn; {first}.", severity="waiting", since=run.updated_at)


def _running(facts: Facts) -> Cause:
    run = facts.run
    owner = next((worker for worker in facts.workers if worker.worker_id == run.worker_id), None)
    if owner is not None and is_alive(owner):
        return Cause(
            code="running",
            sentence=f"It is being executed by {owner.place}.",
            severity="waiting",
            since=run.updated_at,
        )
    if owner is None:
        return Cause(
            code="lost",
            sentence="Its worker is gone; another one takes it over within seconds.",
            severity="waiting" if living(facts) else "wrong",
            since=run.updated_at,
            remedy=None if living(facts) else "start a worker: only a living one takes over what others have lost",
        )
    silent = timedelta(seconds=owner.silent_for)
    left = timedelta(seconds=owner.lease) - silent
    is_overdue = left < -_GRACE
    moves = "it should have moved by now" if is_overdue else f"it moves at {clock(run.now + left)} at the latest"
    return Cause(
        code="silent_worker",
        sentence=f"Its worker ({owner.place}) has given no sign of life for {span(silent)}; {moves}.",
        severity="wrong" if is_overdue or not living(facts) else "waiting",
        since=run.now - silent,
        remedy=None if living(facts) and not is_overdue else "start a worker: only a living one takes over runs",
    )


def _tries(facts: Facts) -> Iterator[Cause]:
    for wait in facts.waits:
        if wait.kind == "retry":
            yield being_tried(facts, wait)
