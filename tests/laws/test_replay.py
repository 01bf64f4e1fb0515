"""The laws of replay over generated programs: whatever crashes when, a run goes on as if nothing had happened."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings

from tests.laws import laws
from tests.laws.case import Case
from tests.laws.hard_programs import HARD_EDITS, HARD_PROGRAMS, hard_cases, hard_edits
from tests.laws.laws import cases, confluent_cases, edits, edits_of_timers
from tests.laws.programs import Node, programs, timed_programs, wide_programs
from tests.laws.world import quiet

FEW: dict[str, Any] = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": (HealthCheck.too_slow,),
}


@pytest.fixture(autouse=True)
def _forget_what_programs_left_behind() -> Iterator[None]:
    """Tasks that nobody awaits complain to the log when they are collected."""
    yield
    with quiet():
        gc.collect()


@settings(max_examples=2500, **FEW)
@given(cases())
def test_whatever_crashes_when_a_run_is_what_its_history_says(case: Case) -> None:
    world = laws.a_run_is_what_its_history_says(case)
    event(world.tables.status)


@pytest.mark.parametrize("name", HARD_PROGRAMS)
def test_what_once_went_wrong_goes_well_under_every_schedule(name: str) -> None:
    for case in hard_cases(HARD_PROGRAMS[name], 400):
        laws.a_run_is_what_its_history_says(case)


@settings(max_examples=1000, **FEW)
@given(cases(timed_programs()))
def test_whatever_crashes_when_timers_fire_in_their_order_and_at_their_times(case: Case) -> None:
    world = laws.a_run_is_what_its_history_says(case)
    event(f"{len(world.tables.fired)} timers fired")


@settings(max_examples=1000, **FEW)
@given(cases(programs() | timed_programs() | wide_programs()))
def test_a_run_that_takes_turns_after_every_command_and_every_step_is_what_its_history_says(case: Case) -> None:
    laws.a_run_that_takes_turns_is_what_its_history_says(case)


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
@given(edits() | edits_of_timers())
def test_changed_code_goes_on_in_step_with_the_history_or_executes_nothing(drawn: tuple[Case, int, Node]) -> None:
    event("set aside" if laws.changed_code_goes_on_or_is_set_aside(*drawn) else "goes on")


@pytest.mark.parametrize("name", HARD_EDITS)
def test_timers_whose_numbers_move_in_changed_code_fire_at_the_time_of_one_of_them(name: str) -> None:
    outcomes = Counter(
        laws.changed_code_goes_on_or_is_set_aside(*drawn) for drawn in hard_edits(*HARD_EDITS[name], 400)
    )
    assert outcomes[False] > 100
