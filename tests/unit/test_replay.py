"""The laws of replay over generated programs: whatever crashes when, a run goes on as if nothing had happened."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, event, example, given, settings

from tests.unit import laws
from tests.unit.laws import cases, confluent_cases, edits
from tests.unit.programs import Block, Leaf, Node
from tests.unit.world import Case, quiet

FEW: dict[str, Any] = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": (HealthCheck.too_slow,),
}

GIVEN_UP_IN_THE_SAME_TURN = Block(
    "seq",
    (
        Leaf("event_in_time"),
        Leaf("execute"),
        Block("race", (Leaf("random"), Leaf("shared_event"))),
        Leaf("execute"),
        Leaf("event_in_time"),
        Leaf("shared_event"),
    ),
)
LOOSE_TRANSACTION = Block("gather", (Leaf("execute"), Block("race", (Leaf("transaction"), Leaf("sleep")))))
LATE_INBOX = Block(
    "gather",
    (
        Block("loop", (Leaf("sleep"), Leaf("shared_event"), Leaf("sleep"))),
        Block("gather", (Leaf("sleep"), Leaf("random_uuid7"), Leaf("execute"))),
    ),
)


@pytest.fixture(autouse=True)
def _forget_what_programs_left_behind() -> Iterator[None]:
    """Tasks that nobody awaits complain to the log when they are collected."""
    yield
    with quiet():
        gc.collect()


@settings(max_examples=2500, **FEW)
@given(cases())
@example(Case(program=GIVEN_UP_IN_THE_SAME_TURN, seed=112817))
@example(Case(program=LOOSE_TRANSACTION, seed=1, crashes=frozenset((8,))))
@example(Case(program=LATE_INBOX, seed=7))
def test_whatever_crashes_when_a_run_is_what_its_history_says(case: Case) -> None:
    world = laws.a_run_is_what_its_history_says(case)
    event(world.tables.status)


@settings(max_examples=150, **FEW)
@given(cases())
def test_a_crash_before_or_after_any_single_write_changes_nothing(case: Case) -> None:
    laws.every_single_crash_changes_nothing(case)


@settings(max_examples=500, **FEW)
@given(confluent_cases())
def test_neither_crashes_nor_the_order_of_answers_change_the_result_of_a_program_without_races(
    drawn: tuple[Node, int, frozenset[int]],
) -> None:
    laws.crashes_and_order_change_no_result(*drawn)


@settings(max_examples=800, **FEW)
@given(edits())
def test_changed_code_goes_on_in_step_with_the_history_or_executes_nothing(drawn: tuple[Case, int, Node]) -> None:
    event("set aside" if laws.changed_code_goes_on_or_is_set_aside(*drawn) else "goes on")
