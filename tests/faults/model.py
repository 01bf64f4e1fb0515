"""What each run must have returned, told from its input and from what is recorded of it (I9)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import msgspec

from durable.core.replay.history import ChildEnd
from tests.faults.timing import ALARM_TIMER, SLEEP_TIMER, Race, Timed, Timing
from tests.faults.workload import (
    Bearing,
    Branches,
    Breaking,
    Chapters,
    Deciding,
    Effects,
    Leaf,
    Listening,
    Nap,
    Raced,
    Slept,
    Told,
)

Rows = Callable[..., Awaitable[list[tuple[Any, ...]]]]
_decode = msgspec.json.decode


class Memo(msgspec.Struct, frozen=True):
    """``output`` and ``error`` are JSON."""

    kind: str
    seq: int | None
    output: str | None
    error: str | None

    def value(self, type: Any = Any) -> Any:
        """Raises ``Missing`` where the step failed."""
        if self.output is None:
            raise Missing("a failed memo was returned")
        return _decode(self.output, type=type)


class Wait(msgspec.Struct, frozen=True):
    """``seq``: its place among the answers, ``None`` if there was none."""

    seq: int | None
    timed_out: bool
    payload: str | None


class Facts(msgspec.Struct):
    """All that is recorded of one run. ``done``: what its steps journalled, by key."""

    status: str
    input: str
    output: str | None
    error: str | None
    is_cancel_asked: bool
    scheduled_at: datetime | None
    memos: dict[str, Memo] = {}
    waits: dict[str, Wait] = {}
    done: dict[str, set[str]] = {}

    def memo(self, key: str, type: Any = Any) -> Any:
        """The recorded value. Raises ``Missing``."""
        if key not in self.memos:
            raise Missing(f"it needs a memo {key!r}, and there is none")
        return self.memos[key].value(type)


class Missing(Exception):
    """The output of a run needs something that is not recorded."""


async def wrong_outputs(rows: Rows) -> list[str]:
    """What is wrong with the runs that have ended."""
    facts = await _collect(rows)
    wrong: list[str] = []
    for run_id, (workflow, each) in facts.items():
        if each.status in ("completed", "failed", "cancelled"):
            wrong += [f"run {run_id} of {workflow}: {what}" for what in _judge(workflow, each)]
    return wrong


def _judge(workflow: str, facts: Facts) -> list[str]:
    wrong = [
        f"the memo of {key!r} holds what no call returned"
        for key, memo in facts.memos.items()
        if memo.kind == "execute" and memo.output is not None and _journalled(memo) not in facts.done.get(key, ())
    ]
    judge = JUDGES.get(workflow)
    if judge is None:
        return wrong
    try:
        complaint = judge(facts)
    except (Missing, msgspec.MsgspecError) as error:
        complaint = str(error)
    return [*wrong, complaint] if complaint else wrong


def _journalled(memo: Memo) -> str:
    """As steps journal what they return: a text as it is, anything else as JSON."""
    value = memo.value()
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def completed(expected: Callable[[Facts], Any], type: Any) -> Callable[[Facts], str | None]:
    """A judge of runs that must complete with the value that is told from their facts."""

    def judge(facts: Facts) -> str | None:
        if facts.status != "completed" or facts.output is None:
            return f"it is {facts.status}: {facts.error}"
        wanted, given = expected(facts), _decode(facts.output, type=type)
        return None if given == wanted else f"it returned {given!r} instead of {wanted!r}"

    return judge


def _transfer(facts: Facts) -> list[int]:
    return [facts.memo("debit"), facts.memo("credit")]


def _effects(facts: Facts) -> list[str]:
    steps = _decode(facts.input, type=Effects).steps
    return [str(facts.memo(f"{kind} {index}")) for index in range(steps) for kind in ("effect", "draw")]


def _slept(facts: Facts) -> Slept:
    slept = Slept(facts.memo("before", datetime), facts.memo("after", datetime))
    if (slept.after - slept.before).total_seconds() < _decode(facts.input, type=Nap).seconds - 0.001:
        raise Missing(f"it slept too short: {slept}")
    return slept


def _listening(facts: Facts) -> list[Told]:
    names = _decode(facts.input, type=Listening).names
    return [Told(name, names[:position].count(name)) for position, name in enumerate(names)]


def _deciding(facts: Facts) -> str:
    wait = facts.waits.get("decision")
    if wait is None:
        raise Missing("it ended without its wait")
    if wait.timed_out:
        return str(facts.memo("undecided"))
    return f"decided {_decode(facts.input, type=Deciding).number}"


def _timing(facts: Facts) -> Timed:
    order = _decode(facts.input, type=Timing)
    given = _decode(facts.output or "", type=Timed)
    before, after = facts.memo("before", datetime), facts.memo("after", datetime)
    if _place(facts, SLEEP_TIMER) is None:
        raise Missing("it slept, and its timer is not recorded")
    if min((after - before).total_seconds(), given.slept) < order.nap - 0.001:
        raise Missing(f"it slept too short: {given}")
    outcomes = [_outcome(facts, number, race) for number, race in enumerate(order.races)]
    alarms = 0 if _place(facts, ALARM_TIMER) is None else 1
    return Timed(before, after, given.slept, alarms, outcomes)


def _outcome(facts: Facts, number: int, race: Race) -> str:
    """What was recorded first decides the race."""
    key = f"race {number}"
    answered, timed_out = _place(facts, key), _place(facts, race.timer(number))
    if answered is None and timed_out is None:
        raise Missing(f"{key!r} has no winner")
    is_late = answered is None or (timed_out is not None and timed_out < answered)
    if is_late != (f"late {number}" in facts.memos):
        raise Missing(f"{key!r} is recorded as {'late' if is_late else 'in time'}, and the run went the other way")
    if is_late or race.of == "step":
        return str(facts.memo(f"late {number}" if is_late else key))
    return str(_decode(facts.waits[key].payload or ""))


def _place(facts: Facts, key: str) -> int | None:
    """The place of what was answered, among all answers of the run; ``None`` if it was not."""
    recorded = facts.memos.get(key) or facts.waits.get(key)
    return None if recorded is None else recorded.seq


def _parallel(facts: Facts) -> Raced:
    order = _decode(facts.input, type=Branches)
    raced = [key for key in ("left", "right") if key in facts.memos]
    first, *others = sorted(raced, key=lambda key: facts.memos[key].seq or 0)
    loser = facts.memo(others[0]) if order.waits_for_loser else None
    return Raced([facts.memo(f"branch {index}") for index in range(order.branches)], facts.memo(first), loser)


def _compensating(facts: Facts) -> str | None:
    if facts.status == "cancelled":
        return None if facts.is_cancel_asked else "it is cancelled, and nobody asked for that"
    return completed(lambda _: "credited", str)(facts)


def _trying(facts: Facts) -> list[str]:
    if len(facts.done.get("once", ())) > 1:
        raise Missing("what may be done at most once was done more often")
    once = facts.memos.get("once")
    if once is None or once.error is None:
        return [facts.memo("stumble"), facts.memo("once")]
    is_interrupted = _decode(once.error)["type"] == "StepInterrupted"
    return [facts.memo("stumble"), "StepInterrupted" if is_interrupted else "StepFailed"]


def _continuing(facts: Facts) -> list[str]:
    order = _decode(facts.input, type=Chapters)
    if order.chapter != order.chapters:
        raise Missing(f"it ended in chapter {order.chapter} of {order.chapters}")
    facts.memo("undone:undo")
    return [*(facts.memo(f"chapter {order.chapter}[{index}]") for index in range(order.items)), "undone"]


def _failing(facts: Facts) -> str | None:
    order = _decode(facts.input, type=Breaking)
    memo = facts.memos.get("break")
    if memo is None:
        return "it ended without its memo"
    if memo.error is not None and not order.is_caught:
        return None if facts.status == "failed" else f"its step failed, and it is {facts.status}"
    if memo.error is not None:
        kind = _decode(memo.error)["type"]
        return completed(lambda _: f"caught {kind}", str)(facts)
    return completed(lambda _: facts.memo("break"), str)(facts)


def _leaf(facts: Facts) -> str | None:
    order = _decode(facts.input, type=Leaf)
    if facts.status == "cancelled":
        if order.fate == "waits" and "leaf" in facts.memos and "tidy" not in facts.memos:
            return "it is cancelled, and has not tidied up"
        return None if facts.is_cancel_asked else "it is cancelled, and nobody asked for that"
    if order.fate == "fails":
        return None if facts.status == "failed" else f"it raises, and is {facts.status}"
    if order.fate == "waits":
        return f"it waits for what never comes, and is {facts.status}"
    return completed(lambda _: facts.memo("leaf"), str)(facts)


def _parent(facts: Facts) -> str | None:
    order = _decode(facts.input, type=Bearing)
    if facts.status == "cancelled":
        return None if facts.is_cancel_asked else "it is cancelled, and nobody asked for that"

    def told(key: str) -> Any:
        wait = facts.waits.get(f"{key}:result")
        if wait is None or wait.payload is None:
            raise Missing(f"it needs the end of child {key!r}")
        end = _decode(wait.payload, type=ChildEnd)
        return f"caught {end.error.type}" if end.error else _decode(end.output_text)

    def expected(_: Facts) -> list[str]:
        borne = [told(f"child {index}") for index in range(len(order.children))]
        return [*borne, *(told("nested") if order.nested else []), told("beside")]

    return completed(expected, list[str])(facts)


JUDGES: dict[str, Callable[[Facts], str | None]] = {
    "transfer": completed(_transfer, list[int]),
    "effects": completed(_effects, list[str]),
    "sleepy": completed(_slept, Slept),
    "listening": completed(_listening, list[Told]),
    "deciding": completed(_deciding, str),
    "timing": completed(_timing, Timed),
    "parallel": completed(_parallel, Raced),
    "compensating": _compensating,
    "continuing": completed(_continuing, list[str]),
    "trying": completed(_trying, list[str]),
    "failing": _failing,
    "leaf": _leaf,
    "parent": _parent,
    "ticking": completed(lambda facts: facts.scheduled_at, datetime),
}
"""By workflow: what is wrong with a run that has ended. Faults with workflows of their own add theirs."""


async def _collect(rows: Rows) -> dict[str, tuple[str, Facts]]:
    facts: dict[str, tuple[str, Facts]] = {}
    for run_id, workflow, *columns in await rows(
        "SELECT run_id::text, workflow_name, status, input::text, output::text, error::text,"
        " EXISTS (SELECT FROM durable.events WHERE events.workflow_name_shard = runs.workflow_name_shard"
        " AND events.run_id = runs.run_id AND kind = 'cancel'), scheduled_at FROM durable.runs"
    ):
        facts[run_id] = (workflow, Facts(*columns))
    for run_id, key, *columns in await rows(
        "SELECT run_id::text, step_key, kind, seq, steps.output::text, steps.error::text"
        " FROM durable.steps JOIN durable.runs USING (workflow_name_shard, run_id)"
    ):
        facts[run_id][1].memos[key] = Memo(*columns)
    for run_id, key, *columns in await rows(
        "SELECT run_id::text, wait_key, seq, timed_out, payload::text"
        " FROM durable.waits JOIN durable.runs USING (workflow_name_shard, run_id)"
    ):
        facts[run_id][1].waits[key] = Wait(*columns)
    for run_id, key, value in await rows(
        "SELECT run_id::text, step_key, value FROM journal JOIN durable.runs USING (run_id) WHERE what = 'done'"
    ):
        facts[run_id][1].done.setdefault(key, set()).add(value)
    return facts
