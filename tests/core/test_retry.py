from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.core.errors import InvalidArgument, SerializationError, StepFailed, Terminal
from durable.core.failures import ErrorInfo
from durable.core.retry import Backoff, RetryPolicy, RunRetryPolicy, exponential

FAILURE = RuntimeError("once more")


def raised_from(cause: BaseException) -> BaseException:
    error = RuntimeError("wrapped")
    error.__cause__ = cause
    return error


HOPELESS = [
    Terminal("no"),
    type("Declined", (Terminal,), {})("no"),
    SerializationError("the output", "$", "is a lock"),
    raised_from(Terminal("no")),
    raised_from(raised_from(Terminal("no"))),
    ExceptionGroup("many", [ValueError(), ExceptionGroup("inner", [Terminal("no")])]),
    raised_from(ExceptionGroup("many", [Terminal("no")])),
    StepFailed("charge", ErrorInfo("Terminal", "no")),
    StepFailed("charge", ErrorInfo("SerializationError", "no")),
]


def test_exponential_delays_double_up_to_the_maximum() -> None:
    backoff = exponential(0.1, timedelta(seconds=1))

    assert [backoff.delay(failures) for failures in range(1, 7)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_a_backoff_may_grow_by_another_factor_or_not_at_all() -> None:
    assert [exponential(1, 100, 10).delay(failures) for failures in (1, 2, 3, 4)] == [1, 10, 100, 100]
    assert [exponential(5, 60, 1).delay(failures) for failures in (1, 9)] == [5, 5]


@given(st.floats(0, 1e9), st.floats(0, 1e9), st.floats(1, 1000) | st.integers(1, 1000), st.integers(1, 10**400))
def test_delays_are_finite_never_shrink_and_never_exceed_the_maximum(
    base: float, maximum: float, factor: float, failures: int
) -> None:
    backoff = exponential(base, maximum, factor)

    assert 0 <= backoff.delay(failures) <= backoff.delay(failures + 1) <= maximum


@pytest.mark.parametrize("bad", [-1, math.nan, math.inf, 4e9, "1", None, True, timedelta(-1), timedelta.max])
def test_a_backoff_refuses_durations_that_cannot_be(bad: Any) -> None:
    with pytest.raises(InvalidArgument, match="base must be "):
        exponential(bad, 1)
    with pytest.raises(InvalidArgument, match="maximum must be "):
        exponential(1, bad)
    with pytest.raises(InvalidArgument, match="maximum must be "):
        Backoff(1, bad)
    with pytest.raises(InvalidArgument, match="backoff must be "):
        RetryPolicy(backoff=bad)
    with pytest.raises(InvalidArgument, match="backoff must be "):
        RunRetryPolicy(backoff=bad)


@pytest.mark.parametrize("bad", [0.5, -1, math.nan, math.inf, 1001, "2", None, True])
def test_a_backoff_refuses_factors_that_shrink_or_explode(bad: Any) -> None:
    with pytest.raises(InvalidArgument, match="factor must be "):
        exponential(1, 2, bad)


@pytest.mark.parametrize("bad", [0, -1, math.nan, math.inf, 4e9, "1", True, timedelta(0), timedelta.max])
def test_a_policy_refuses_timeouts_that_cannot_be(bad: Any) -> None:
    with pytest.raises(InvalidArgument, match="timeout must be "):
        RetryPolicy(timeout=bad)


@pytest.mark.parametrize("bad", [-1, 1.0, math.inf, "3", None, True])
def test_a_policy_counts_in_whole_numbers(bad: Any) -> None:
    with pytest.raises(InvalidArgument, match="max_retries must be "):
        RetryPolicy(max_retries=bad)
    with pytest.raises(InvalidArgument, match="max_attempts must be "):
        RunRetryPolicy(max_attempts=bad)
    with pytest.raises(InvalidArgument, match="max_attempts must be "):
        RunRetryPolicy(max_attempts=0)


@pytest.mark.parametrize("bad", [ValueError, [ValueError], (ValueError(),), (int,), ("ValueError",), None])
def test_a_policy_gives_up_on_a_tuple_of_exception_classes_only(bad: Any) -> None:
    with pytest.raises(InvalidArgument, match="give_up_on must be .*tuple of exception classes"):
        RetryPolicy(give_up_on=bad)


def test_a_step_without_a_policy_is_retried_three_times() -> None:
    policy = RetryPolicy()

    assert [policy.next_delay(failures, FAILURE) for failures in (1, 2, 3, 4)] == [0.1, 0.2, 0.4, None]


def test_no_retries_means_one_call() -> None:
    assert RetryPolicy(max_retries=0).next_delay(1, FAILURE) is None


@pytest.mark.parametrize("backoff", [2, 2.0, timedelta(seconds=2)])
def test_a_duration_as_backoff_is_always_the_same_delay(backoff: Any) -> None:
    policy = RetryPolicy(max_retries=9, backoff=backoff)

    assert {policy.next_delay(failures, FAILURE) for failures in range(1, 10)} == {2.0}


@pytest.mark.parametrize("error", HOPELESS, ids=repr)
def test_hopeless_errors_are_never_retried(error: BaseException) -> None:
    assert RetryPolicy().next_delay(1, error) is None
    assert RunRetryPolicy(max_attempts=5).next_delay(1, error) is None


def test_a_policy_gives_up_on_the_named_classes_also_inside_a_group() -> None:
    policy = RetryPolicy(give_up_on=(LookupError, OSError))

    assert policy.next_delay(1, KeyError("a")) is None
    assert policy.next_delay(1, ExceptionGroup("many", [FAILURE, OSError()])) is None
    assert policy.next_delay(1, FAILURE) == 0.1
    assert policy.next_delay(1, raised_from(KeyError("a"))) == 0.1  # wrapped on purpose: another kind of failure


def test_other_failed_steps_are_retried_with_their_run() -> None:
    error = StepFailed("charge", ErrorInfo("RuntimeError", "no"))

    assert RunRetryPolicy(max_attempts=2).next_delay(1, error) == 1.0


def test_a_ring_of_causes_is_walked_once() -> None:
    error, other = RuntimeError("a"), RuntimeError("b")
    error.__cause__, other.__cause__ = other, error

    assert RetryPolicy().next_delay(1, error) == 0.1


def test_the_attempts_of_a_run_include_the_first() -> None:
    policy = RunRetryPolicy(max_attempts=3, backoff=exponential(1, 60))

    assert [policy.next_delay(attempts, FAILURE) for attempts in (1, 2, 3, 4)] == [1.0, 2.0, None, None]


def test_a_run_without_a_policy_is_not_retried() -> None:
    assert RunRetryPolicy().next_delay(1, FAILURE) is None
