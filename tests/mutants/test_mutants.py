"""Every planted bug is found by the law that is there for it; a harness that misses one proves nothing."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyFailure, HypothesisException

from tests.laws import fleet, generations, laws, requests, statements
from tests.laws.hard_programs import HARD_EDITS, HARD_PROGRAMS, hard_cases, hard_edits
from tests.laws.programs import programs, timed_programs, wide_programs
from tests.laws.world import quiet
from tests.mutants import properties
from tests.mutants.planted import (
    ARGUMENTS,
    ASYNCIO,
    BLOCKED,
    CHANGED_TIMERS,
    CHAPTERS,
    CLOSING,
    CODE,
    CODEC,
    CRASHES,
    DECIDED,
    ENDINGS,
    FORGETS,
    GENERATIONS,
    GUILT,
    IN_TURNS,
    KEYS,
    LOADS,
    MUTANTS,
    PRECEDENCE,
    QUERIES,
    REQUESTS,
    REQUESTS_OF_CLIENTS,
    RESERVED,
    RETRIES,
    SALT,
    SHARDS,
    TICKS,
    TIMERS,
    TYPES,
)
from tests.mutants.planting import Mutant, QueryMutant

small = st.integers(0, 5)

LAWS: dict[str, tuple[Any, Callable[[Any], object], int]] = {
    CRASHES: (laws.cases(), laws.a_run_is_what_its_history_says, 2500),
    CODE: (laws.edits(), lambda drawn: laws.changed_code_goes_on_or_is_set_aside(*drawn), 3000),
    TYPES: (
        st.tuples(st.sampled_from(("execute", "event")), st.booleans()),
        lambda drawn: properties.what_does_not_fit_its_type_sets_the_run_aside(*drawn),
        10,
    ),
    KEYS: (st.tuples(*[st.sampled_from(("execute", "sleep"))] * 2), properties.a_key_is_used_once, 10),
    CLOSING: (st.integers(10, 20), properties.a_closed_machine_calls_nothing_more_and_sets_have_one_order, 10),
    RETRIES: (
        st.tuples(small, small, st.integers(1, 3)),
        lambda drawn: properties.retries_are_counted_and_spaced(*drawn),
        50,
    ),
    ENDINGS: (
        st.tuples(small, small, st.integers(1, 5)),
        lambda drawn: properties.a_run_is_tried_anew_without_what_failed(*drawn),
        50,
    ),
    CODEC: (st.lists(st.floats(), max_size=3), properties.a_number_comes_back_or_is_refused, 200),
    TICKS: (
        st.tuples(st.integers(1, 20), st.lists(st.integers(0, 50), max_size=8), st.lists(st.booleans(), max_size=6)),
        lambda drawn: properties.every_tick_begins_one_run(*drawn),
        100,
    ),
    ASYNCIO: (small, properties.asyncio_is_the_same_on_every_replay, 6),
    IN_TURNS: (
        laws.cases(programs() | timed_programs() | wide_programs()),
        laws.a_run_that_takes_turns_is_what_its_history_says,
        3000,
    ),
    TIMERS: (laws.cases(timed_programs()), laws.a_run_is_what_its_history_says, 1000),
    CHANGED_TIMERS: (
        laws.edits_of_timers(),
        lambda drawn: laws.changed_code_goes_on_or_is_set_aside(*drawn),
        800,
    ),
    SALT: (
        st.tuples(st.integers(2, 30), st.integers(0, 2**40)),
        lambda drawn: properties.tasks_have_hashes_of_their_run(*drawn),
        20,
    ),
    ARGUMENTS: (st.lists(st.lists(st.integers())), properties.a_step_changes_none_of_its_arguments, 20),
    GUILT: (fleet.fleets(), fleet.only_what_kills_its_workers_is_condemned, 300),
    PRECEDENCE: (
        st.tuples(st.integers(2, 9), st.integers(0, 250), st.integers(0, 9)),
        lambda drawn: properties.one_worker_comes_first_and_another_stands_in(*drawn),
        60,
    ),
    SHARDS: (st.integers(1, 8), lambda count: properties.a_run_has_one_shard_of_all("flow", count), 20),
    RESERVED: (st.uuids(), properties.the_ids_of_a_run_s_children_are_reserved_in_its_inbox, 50),
    BLOCKED: (
        st.lists(st.booleans(), min_size=2, max_size=8),
        properties.what_is_not_blocked_is_written_although_its_neighbors_are,
        5,
    ),
}


def hold(law: str) -> None:
    """Raises for the first example that breaks the law; the smallest is not looked for."""
    drawn, check, most = LAWS[law]

    @settings(
        max_examples=most,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(drawn)
    def keeps(example: Any) -> None:
        check(example)

    if law == CHANGED_TIMERS:
        for changed in zip(*(hard_edits(*edit, 200) for edit in HARD_EDITS.values()), strict=True):
            for edit in changed:
                laws.changed_code_goes_on_or_is_set_aside(*edit)
    if law in (CRASHES, TIMERS):
        for several in zip(*(hard_cases(program, 150) for program in HARD_PROGRAMS.values()), strict=True):
            for case in several:
                check(case)
    keeps()


@pytest.fixture(autouse=True)
def _forget_what_programs_left_behind() -> Iterator[None]:
    yield
    with quiet():
        gc.collect()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_found(mutant: Mutant) -> None:
    with mutant.planted(), quiet(), pytest.raises(Exception) as found:
        hold(mutant.law)
    broken: BaseException = found.value
    if isinstance(broken, FlakyFailure):  # a bug that goes by the clock is not met each time
        (broken,) = broken.exceptions
    assert not isinstance(broken, HypothesisException), "something else was found"
    for error in (broken, broken.__cause__):
        assert not isinstance(error, AttributeError | NameError | TypeError), "the mutant does not run"


LAWS_OF_STATEMENTS: dict[str, tuple[Any, Callable[[str, Any], object]]] = {
    LOADS: (statements.timers(), statements.waits_come_back_in_the_order_of_their_times),
    FORGETS: (statements.kinds(), statements.a_retry_keeps_and_forgets_the_same),
    DECIDED: (st.lists(st.booleans(), min_size=1, max_size=4), statements.a_decision_is_recorded_the_same),
    CHAPTERS: (statements.kinds(), statements.a_chapter_ends_the_same),
    GENERATIONS: (generations.moves(), generations.a_key_has_one_run_at_a_time_and_loses_nothing),
    REQUESTS: (st.integers(0, 10_000), requests.a_key_has_one_answer),
}


@pytest.mark.parametrize("mutant", [*QUERIES, *REQUESTS_OF_CLIENTS], ids=lambda mutant: mutant.name)
def test_a_bug_planted_in_a_statement_is_found(mutant: QueryMutant | Mutant, database: str) -> None:
    drawn, check = LAWS_OF_STATEMENTS[mutant.law]

    @settings(
        max_examples=150,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.generate,),
        report_multiple_bugs=False,
    )
    @given(drawn)
    def keeps(example: Any) -> None:
        check(database, example)

    with mutant.planted(), pytest.raises(AssertionError):
        keeps()


def test_a_key_that_is_the_same_for_events_and_requests_is_found(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP INDEX durable.events_key")
        columns = "workflow_name_shard, run_id, name, key"
        connection.execute(f"CREATE UNIQUE INDEX events_key ON durable.events ({columns}) WHERE key IS NOT NULL")
        try:
            with pytest.raises(Exception, match="there is no run|was asked|are there|any longer"):
                for seed in range(150):
                    requests.a_key_has_one_answer(database, seed)
        finally:
            connection.execute("DELETE FROM durable.events; DROP INDEX durable.events_key")
            columns = "workflow_name_shard, run_id, kind, name, key"
            connection.execute(f"CREATE UNIQUE INDEX events_key ON durable.events ({columns}) WHERE key IS NOT NULL")


def test_without_a_bug_each_key_has_one_answer(database: str) -> None:
    for seed in range(60):
        requests.a_key_has_one_answer(database, seed)


@pytest.mark.parametrize("law", [law for law in LAWS if law not in (CRASHES, CODE, TIMERS, CHANGED_TIMERS)])
def test_without_a_bug_nothing_is_found(law: str) -> None:
    hold(law)


def test_there_are_mutants_of_every_law() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 20
    assert set(Counter(mutant.law for mutant in MUTANTS)) == set(LAWS)
    assert {mutant.law for mutant in QUERIES} == set(LAWS_OF_STATEMENTS)
