"""Why a run that has left its worker has not come back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from difflib import SequenceMatcher

from durable.core.diagnosis.cause import Cause
from durable.core.diagnosis.common import being_tried, unserved
from durable.core.diagnosis.facts import Facts, WaitFacts
from durable.core.diagnosis.words import clock, first_line, living, span
from durable.core.runs import RunKey

_PATIENCE = timedelta(seconds=5)
_ALIKE = 0.8
"""From which ratio of ``SequenceMatcher`` on, a name is taken for a misspelled other one."""


def parked(facts: Facts, of_children: Mapping[RunKey, tuple[Cause, ...]]) -> Iterator[Cause]:
    """Yields what a run that has left its worker waits for. ``of_children`` are the causes of those of its children
    for which it waits."""
    run = facts.run
    if run.next_wake_at is not None and run.now - run.next_wake_at > _PATIENCE:
        late = f"It should have woken {span(run.now - run.next_wake_at)} ago"
        if living(facts):
            yield Cause(
                code="overdue",
                sentence=f"{late}, and living workers have {run.workflow_name!r}.",
                severity="wrong",
                since=run.next_wake_at,
                remedy="look at the logs of these workers",
            )
        else:
            yield unserved(facts, f"{late}, but no living worker has", run.next_wake_at)
    if run.set_asides:
        yield _set_aside(facts)
        return
    if run.isolation is not None and run.isolation != "trial":
        yield Cause(
            code="suspect",
            sentence=f"{run.takeovers} workers died while holding it, so it will be tried apart from others.",
            severity="waiting",
            since=run.updated_at,
        )
        return
    if run.follows is not None:
        yield Cause(
            code="following",
            sentence=f"It starts when the run with the same key before it, {run.follows}, has ended.",
            severity="waiting",
            since=run.created_at,
        )
        return
    waits = list(facts.waits)
    if not waits and run.status == "sleeping":
        yield _asleep(facts)
    for wait in waits:
        yield from _wait(facts, wait, of_children)


def _set_aside(facts: Facts) -> Cause:
    run = facts.run
    times = "once" if run.set_asides == 1 else f"{run.set_asides} times in a row"
    detail = "" if facts.error is None else f" {first_line(facts.error.message)}."
    versions = sorted({worker.version for worker in living(facts) if worker.version is not None})
    known = ", ".join(map(str, versions))
    now = f" Living workers have version {known}; it began on version {run.version}." if known else ""
    return Cause(
        code="set_aside",
        sentence=f"It was set aside {times}, because the deployed code does not match what it has done.{detail} It is "
        f"tried again at {clock(run.next_wake_at)}.{now}",
        severity="wrong",
        since=run.updated_at,
        remedy="deploy code that matches (the fixed or the former one): the run then goes on by itself",
    )


def _asleep(facts: Facts) -> Cause:
    run = facts.run
    if run.attempts:
        error = "" if facts.error is None else f" with {facts.error.type}: {first_line(facts.error.message)}"
        return Cause(
            code="attempt_failed",
            sentence=f"Attempt {run.attempts} has failed{error}; the next one begins at {clock(run.next_wake_at)}.",
            severity="waiting",
            since=run.updated_at,
        )
    return Cause(
        code="delayed",
        sentence=f"It has not started yet: it begins at {clock(run.next_wake_at)}.",
        severity="waiting",
        since=run.created_at,
    )


def _wait(facts: Facts, wait: WaitFacts, of_children: Mapping[RunKey, tuple[Cause, ...]]) -> Iterator[Cause]:
    match wait.kind:
        case "sleep":
            sentence = f"It sleeps in {wait.key!r} until {clock(wait.wake_at)}."
            yield Cause(code="sleeping", sentence=sentence, severity="waiting", since=wait.created_at)
        case "timer":
            sentence = f"A timer ({wait.key}) ends at {clock(wait.wake_at)}."
            yield Cause(code="timer", sentence=sentence, severity="waiting", since=wait.created_at)
        case "retry":
            yield being_tried(facts, wait)
        case "start":
            pass  # it is about a step, which another cause is about
        case "child_result":
            yield _child(facts, wait, of_children)
        case kind:
            what = "event" if kind == "event" else kind
            limit = "" if wait.wake_at is None else f", until {clock(wait.wake_at)} at the longest"
            near = "".join(f" {miss}" for miss in _near_misses(facts, wait))
            yield Cause(
                code="waiting_for_event",
                sentence=f"It waits in {wait.key!r} for {what} {wait.name!r}{limit}.{near}",
                severity="waiting",
                since=wait.created_at,
                remedy=f"to let it go on: durable events publish {facts.run_key} {wait.name} JSON",
            )


def _near_misses(facts: Facts, wait: WaitFacts) -> Iterator[str]:
    """Yields what has come instead of the event: one whose name is almost the same, or that another wait has taken."""
    wanted = wait.name or ""
    for entry in facts.inbox:
        if entry.kind != wait.kind:
            continue
        if entry.consumed_by:
            if entry.name == wanted and entry.created_at >= wait.created_at:
                yield f"An event {wanted!r} has come, but the wait {entry.consumed_by!r} has taken it."
        elif entry.name != wanted and _are_alike(entry.name, wanted):
            yield f"An event {entry.name!r} lies in its inbox: was {wanted!r} meant?"


def _are_alike(name: str, wanted: str) -> bool:
    plain, plain_wanted = (text.strip().casefold() for text in (name, wanted))
    return plain == plain_wanted or SequenceMatcher(None, plain, plain_wanted).ratio() >= _ALIKE


def _child(facts: Facts, wait: WaitFacts, of_children: Mapping[RunKey, tuple[Cause, ...]]) -> Cause:
    child = next((child for child in facts.children if child.run_key == wait.child), None)
    causes = () if child is None else of_children[child.run_key]
    status = "" if child is None else f", which is {child.run.status}"
    return Cause(
        code="waiting_for_child",
        sentence=f"It waits for its child {wait.child or wait.key}{status}.",
        severity="wrong" if any(cause.severity == "wrong" for cause in causes) else "waiting",
        since=wait.created_at,
        causes=causes,
    )
