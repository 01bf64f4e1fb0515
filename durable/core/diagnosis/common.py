"""Causes that runs can have in more than one status."""

from __future__ import annotations

from datetime import datetime

from durable.core.diagnosis.cause import Cause
from durable.core.diagnosis.facts import Facts, WaitFacts
from durable.core.diagnosis.words import clock, first_line, is_alive


def unserved(facts: Facts, what: str, since: datetime) -> Cause:
    """Returns that nobody executes the workflow; ``what`` goes before its name."""
    others = sorted({name for worker in facts.workers if is_alive(worker) for name in worker.workflows})
    known = f"Those that are alive have: {', '.join(others)}." if others else "No worker is alive at all."
    return Cause(
        code="unserved",
        sentence=f"{what} {facts.run.workflow_name!r}. {known}",
        severity="wrong",
        since=since,
        remedy=f"start a worker that has it: durable worker module:{facts.run.workflow_name}",
    )


def being_tried(facts: Facts, wait: WaitFacts) -> Cause:
    """Returns that a step is tried again."""
    # What the run shows while a step is tried again says more than that (``still_failing``); its end is the error.
    last = "" if facts.error is None else first_line(facts.error.message).partition(" will be tried again: ")[2]
    return Cause(
        code="retrying",
        sentence=f"Step {wait.key!r} ({wait.name}) has failed and is tried again at {clock(wait.wake_at)}"
        f"{f': {last}' if last else '.'}",
        severity="waiting",
        since=wait.created_at,
    )
