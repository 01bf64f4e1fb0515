"""Code that blocks the event loop of its worker for longer than the lease."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from tests.faults.load import Family, Life
from tests.faults.model import JUDGES, completed
from tests.faults.stage import Stage, fault
from tests.faults.workloads.blocking import Blocking, blocking, hold_the_loop

_LEASE = 2.0
_SECONDS = 3 * _LEASE
_WORKERS = 8
_AT_ONCE = 6
_HELD = """
    SELECT held.process_id, substring(held.name FROM 6)::bigint,
           extract(epoch FROM held.at)::float8, extract(epoch FROM let.at)::float8,
           (SELECT count(*) FROM transitions WHERE new_status = 'completed' AND writer <> held.process_id
             AND pg_xact_commit_timestamp(xid) BETWEEN held.at AND let.at)
    FROM evidence AS held LEFT JOIN evidence AS let
      ON let.name = replace(held.name, 'held', 'let go') AND let.process_id = held.process_id AND let.id > held.id
    WHERE held.name LIKE 'held %'
"""
_TAKEN = """
    SELECT run_id::text, takeovers FROM durable.runs WHERE takeovers > 0
    UNION ALL
    SELECT 'worker ' || process_id, count(*) FROM identities GROUP BY process_id HAVING count(*) > 1
"""

JUDGES["blocking"] = completed(lambda facts: [facts.memo("before"), facts.memo("held")], list[str])


async def _block(life: Life) -> None:
    order = Blocking(life.number(), life.random.choice(("workflow", "step")), _SECONDS)
    run_key = await life.begin(blocking, order, is_plain=True)
    assert run_key is not None
    await life.load.ended(run_key)


class Stack(msgspec.Struct, frozen=True):
    """The stack of a blocked loop, as a worker has logged it. ``at``: in seconds since the epoch."""

    process_id: int
    at: float
    text: str


async def _every_stack_was_logged(stage: Stage) -> None:
    stacks = [stack for stack in _stacks(Path(stage.options.log)) if hold_the_loop.__name__ in stack.text]
    for process_id, number, held_at, let_at, ended_elsewhere in await stage.observer.rows(_HELD):
        if let_at is None:
            stage.violated("I3", f"run {number} held the loop of worker {process_id} and never let go")
        elif not any(stack.process_id == process_id and held_at < stack.at < let_at for stack in stacks):
            stage.violated("I13", f"no stack of worker {process_id} was logged while run {number} held its loop")
        elif not ended_elsewhere:
            stage.violated("I10", f"no run ended on another worker while run {number} held worker {process_id}")
    for what, times in await stage.observer.rows(_TAKEN):
        stage.violated("I3", f"{what} was taken over {times} times, and nobody had died")


def _stacks(log: Path) -> list[Stack]:
    start = re.compile(r"^(\S+ \S+) (\d+) ERROR durable\.worker the event loop has been blocked", re.MULTILINE)
    text = log.read_text(errors="replace")
    found = list(start.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    return [
        Stack(int(match[2]), _moment(match[1]), text[match.start() : end])
        for match, end in zip(found, ends, strict=False)
    ]


def _moment(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S,%f").astimezone(UTC).timestamp()


@fault(
    row=3,
    how=f"time.sleep for 3 leases of {_LEASE:g} s in workflow code and in async steps",
    target="0 takeovers, 0 runs with two owners; every blocking stack logged",
    sizes={"smoke": 4, "campaign": 200, "soak": 1000},
    workers=_WORKERS,
    options={"lease": _LEASE, "workflows": "tests.faults.workloads.blocking:BLOCKING_WORKFLOWS"},
    # A transaction that is open when its loop is blocked stays open for as long.
    excuses=frozenset({"I12"}),
    verify=_every_stack_was_logged,
)
async def blocked(stage: Stage) -> None:
    family = Family("blocking", 1, _block)
    running: set[asyncio.Task[None]] = set()
    for _ in range(stage.size):
        running.add(stage.load.start(family))
        if len(running) == _AT_ONCE:
            _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.wait(running)
    stage.injected((await stage.observer.rows("SELECT count(*) FROM evidence WHERE name LIKE 'let go %'"))[0][0])
