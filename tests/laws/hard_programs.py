"""Programs in which something once went wrong, for orders of events that random programs seldom meet."""

from __future__ import annotations

import random
from collections.abc import Iterator

from msgspec.structs import replace

from tests.laws.case import Case
from tests.laws.programs import Block, Leaf, Node

HARD_PROGRAMS: dict[str, Node] = {
    "a wait given up in the turn that begins it": Block(
        "seq",
        (
            Leaf("event_in_time"),
            Leaf("execute"),
            Block("race", (Leaf("random"), Leaf("shared_event"))),
            Leaf("execute"),
            Leaf("event_in_time"),
            Leaf("shared_event"),
        ),
    ),
    "a wait given up by a transaction without its order": Block(
        "seq",
        (
            Block("gather", (Leaf("execute"), Block("race", (Leaf("transaction"), Leaf("sleep"))))),
            Leaf("shared_event"),
        ),
    ),
    "events that come before and after a claim": Block(
        "gather",
        (
            Block("loop", (Leaf("sleep"), Leaf("shared_event"), Leaf("sleep"))),
            Block("gather", (Leaf("sleep"), Leaf("random_uuid7"), Leaf("execute"))),
        ),
    ),
    "many events of one name": Block(
        "seq",
        (
            Leaf("execute"),
            Block("loop", (Block("gather", (Leaf("shared_event"), Leaf("execute"))), Leaf("sleep"))),
            Leaf("shared_event"),
        ),
    ),
    "waits for several events beside each other and one after the other": Block(
        "seq",
        (
            Block("gather", (Leaf("events"), Leaf("events_in_time"), Leaf("shared_event"), Leaf("publish"))),
            Block("race", (Leaf("events"), Block("timeout", (Leaf("events"),)))),
            Block("loop", (Leaf("events"), Leaf("publish"), Leaf("events_in_time"))),
        ),
    ),
    "a clean-up that takes its time": Block(
        "finally", (Leaf("event"), Block("seq", (Leaf("sleep"), Leaf("execute"), Leaf("event"), Leaf("sleep"))))
    ),
    "a race between what a retry has kept": Block(
        "seq",
        (
            Block("guard", (Leaf("execute", 1),)),
            Block("race", (Leaf("transaction"), Leaf("transaction"), Leaf("execute"))),
            Block("settled", (Leaf("event_in_time"), Leaf("transaction"))),
            Leaf("execute", 2),
        ),
    ),
    "time that is not asked for after each answer": Block(
        "seq",
        (
            Leaf("execute"),
            Leaf("time"),
            Block("loop", (Leaf("execute"), Leaf("execute"), Leaf("event"), Leaf("execute"), Leaf("time"))),
        ),
    ),
    "limits around steps that hold the run": Block(
        "loop",
        (
            Block("timeout", (Leaf("execute"), Leaf("nap"), Leaf("execute"))),
            Block("gather", (Block("wait_for", (Leaf("event"),)), Leaf("execute"), Leaf("later"))),
            Leaf("time"),
        ),
    ),
    "timers that are overdue together": Block(
        "seq",
        (
            Block("wait", (Leaf("nap"), Block("wait_for", (Leaf("nap"), Leaf("nap"))), Leaf("later"))),
            Block("race", (Leaf("nap"), Leaf("nap"), Block("timeout", (Leaf("child"),)))),
            Block("gather", (Leaf("nap"), Block("timeout", (Leaf("event_in_time"), Leaf("nap"))))),
        ),
    ),
    "a retry with timers of before and after the failure": Block(
        "seq",
        (
            Leaf("glance"),
            Leaf("nap"),
            Leaf("time"),
            Block("settled", (Leaf("execute", 1), Leaf("nap"), Block("timeout", (Leaf("shared_event"),)))),
            Block("strict", (Leaf("execute"), Leaf("shared_event"), Leaf("execute", 2))),
            Leaf("time"),
        ),
    ),
    "a step that a limit has canceled, before the next": Block(
        "seq",
        (
            Block("timeout", (Block("gather", (Leaf("execute"), Leaf("execute"), Leaf("transaction"))),)),
            Block("strict", (Block("swallow", (Leaf("execute"), Leaf("execute"))), Leaf("nap"))),
            Leaf("execute"),
        ),
    ),
}

_NAPS = Block("seq", (Leaf("shared_event"), Leaf("nap"), Leaf("execute"), Leaf("nap")))

HARD_EDITS: dict[str, tuple[Node, Node]] = {
    "a limit in front of a sleep is gone": (
        Block("gather", (Block("seq", (Leaf("glance"), Leaf("nap"))), _NAPS)),
        Block("gather", (Block("seq", (Leaf("time"), Leaf("nap"))), _NAPS)),
    ),
    "a limit in front of a sleep is new": (
        Block("gather", (Block("seq", (Leaf("time"), Leaf("nap"))), _NAPS)),
        Block("gather", (Block("seq", (Leaf("glance"), Leaf("nap"))), _NAPS)),
    ),
    "a sleep is no longer there": (
        Block("gather", (Leaf("nap"), Leaf("later"), _NAPS)),
        Block("gather", (Leaf("time"), Leaf("time"), _NAPS)),
    ),
    "a question is new in front of an open wait": (
        Block("seq", (Leaf("execute"), Leaf("time"), Leaf("event"), Leaf("execute"))),
        Block("seq", (Leaf("execute"), Leaf("patched"), Leaf("event"), Leaf("execute"))),
    ),
}


def hard_cases(program: Node, count: int) -> Iterator[Case]:
    """The program under that many schedules, with crashes, stops, jumps of the clock, cancels and deadlines
    in turn."""
    for seed in range(count):
        chosen = random.Random(seed)
        yield Case(
            program=program,
            seed=seed,
            crashes=frozenset(chosen.sample(range(1, 40), k=2 if seed % 2 else 0)),
            jumps=frozenset(chosen.sample(range(1, 40), k=3 if seed % 3 == 0 else 0)),
            stops=frozenset(chosen.sample(range(1, 40), k=2 if seed % 5 == 4 else 0)),
            request_at=chosen.randrange(1, 40) if seed % 4 == 2 else None,
            pauses=frozenset(chosen.sample(range(1, 40), k=2 if seed % 7 == 3 else 0)),
            deadline=0.5 if seed % 8 in (2, 5) else None,
            max_attempts=3,
            events=seed % 7,
        )


def hard_edits(before: Node, after: Node, count: int) -> Iterator[tuple[Case, int, Node]]:
    """The change at that many moments, under as many schedules."""
    for case in hard_cases(before, count):
        yield replace(case, crashes=frozenset(), request_at=None, deadline=None), 2 + case.seed % 25, after
