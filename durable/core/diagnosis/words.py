"""The words that the sentences of a diagnosis share."""

from __future__ import annotations

from datetime import datetime, timedelta

from durable.core.diagnosis.facts import Facts, InboxFacts, WorkerFacts

_MANY = 10_000


def living(facts: Facts) -> list[WorkerFacts]:
    """Returns the living workers that have the workflow."""
    name = facts.run.workflow_name
    return [worker for worker in facts.workers if name in worker.workflows and is_alive(worker)]


def is_alive(worker: WorkerFacts) -> bool:
    """Returns whether the others take it for alive."""
    return worker.is_locked is not False and worker.silent_for <= worker.lease


def named(entry: InboxFacts) -> str:
    """Names an entry of an inbox."""
    return f"An event {entry.name!r}" if entry.kind == "event" else f"A {entry.kind} that was requested"


def workers_are(workers: list[WorkerFacts]) -> str:
    """Says how many workers are …"""
    return "a living worker is" if len(workers) == 1 else f"{len(workers)} living workers are"


def go_first(count: int) -> str:
    """Says how many runs go first."""
    match count:
        case 0:
            return "nothing goes first"
        case 1:
            return "one other goes first"
        case _:
            return f"{min(count, _MANY):,}{'+' if count > _MANY else ''} others go first"


def first_line(text: str) -> str:
    """Returns the first line of a message, without its full stop."""
    return text.strip().partition("\n")[0].rstrip(".")


def clock(moment: datetime | None) -> str:
    """Returns a moment with its zone, to the second."""
    return "an unknown time" if moment is None else moment.strftime("%Y-%m-%d %H:%M:%SZ")


def span(length: timedelta) -> str:
    """Returns a length of time in the largest unit of which it has at least two."""
    seconds = max(length.total_seconds(), 0.0)
    for unit, size in (("days", 86400), ("hours", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
