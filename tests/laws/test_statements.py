"""The tables of the simulated world hold what the statements would have left in the database."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.laws import generations, statements
from tests.laws.statements import Kinds

_ONE_DATABASE = (HealthCheck.function_scoped_fixture,)  # each example leaves it empty


@settings(max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=_ONE_DATABASE)
@given(waits=statements.timers())
def test_waits_come_back_in_the_order_of_their_times(database: str, waits: list[tuple[int, int]]) -> None:
    statements.waits_come_back_in_the_order_of_their_times(database, waits)


@settings(max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=_ONE_DATABASE)
@given(seen=statements.kinds())
def test_a_retry_keeps_and_forgets_the_same(database: str, seen: Kinds) -> None:
    statements.a_retry_keeps_and_forgets_the_same(database, seen)


@settings(max_examples=50, deadline=None, derandomize=True, database=None, suppress_health_check=_ONE_DATABASE)
@given(seen=statements.kinds())
def test_a_chapter_ends_the_same(database: str, seen: Kinds) -> None:
    statements.a_chapter_ends_the_same(database, seen)


@settings(max_examples=10, deadline=None, derandomize=True, database=None, suppress_health_check=_ONE_DATABASE)
@given(decided=st.lists(st.booleans(), min_size=1, max_size=4))
def test_a_decision_is_recorded_the_same(database: str, decided: list[bool]) -> None:
    statements.a_decision_is_recorded_the_same(database, decided)


@settings(max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=_ONE_DATABASE)
@given(moves=generations.moves())
def test_a_key_has_one_run_at_a_time_and_loses_nothing(database: str, moves: generations.Moves) -> None:
    generations.a_key_has_one_run_at_a_time_and_loses_nothing(database, moves)
