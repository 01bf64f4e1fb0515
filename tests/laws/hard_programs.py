"""Programs in which something once went wrong, for orders of events that random programs seldom meet."""

from __future__ import annotations

import random
from collections.abc import Iterator

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
}


def hard_cases(program: Node, count: int) -> Iterator[Case]:
    """The program under that many schedules, with crashes, stops, cancels and deadlines in turn."""
    for seed in range(count):
        chosen = random.Random(seed)
        yield Case(
            program=program,
            seed=seed,
            crashes=frozenset(chosen.sample(range(1, 40), k=2 if seed % 2 else 0)),
            stops=frozenset(chosen.sample(range(1, 40), k=2 if seed % 5 == 4 else 0)),
            request_at=chosen.randrange(1, 40) if seed % 4 == 2 else None,
            deadline=0.5 if seed % 8 in (2, 5) else None,
            max_attempts=3,
            events=seed % 7,
        )
