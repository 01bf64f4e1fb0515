"""Retry policies: pure functions of the number of failures and the error."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import cast

import msgspec

from durable.core.durations import Duration, seconds
from durable.core.errors import InvalidArgument, SerializationError, StepFailed, Terminal, WorkflowCodeError

_HOPELESS = (Terminal, SerializationError, WorkflowCodeError)
_HOPELESS_NAMES = tuple(error.__name__ for error in _HOPELESS)


class Backoff(msgspec.Struct, frozen=True):
    """Delays that start at ``base`` seconds and grow by ``factor`` up to ``maximum`` seconds. Made by
    ``exponential``."""

    base: float
    maximum: float
    factor: float = 2.0

    def __post_init__(self) -> None:
        seconds("base", self.base)
        seconds("maximum", self.maximum)
        if isinstance(self.factor, bool) or not isinstance(self.factor, int | float) or not 1 <= self.factor <= 1000:
            raise InvalidArgument("factor", self.factor, "a number between 1 and 1000")

    def delay(self, failures: int) -> float:
        """Returns the seconds to wait after that many failures (1-based), without jitter: the caller applies it."""
        try:
            return min(self.maximum, self.base * float(self.factor) ** (failures - 1))
        except OverflowError:
            return self.maximum if self.base else 0.0


def exponential(base: Duration, maximum: Duration, factor: float = 2.0) -> Backoff:
    """Returns delays of ``base``, ``base * factor``, … seconds, never more than ``maximum``. Raises ``InvalidArgument``
    unless both durations are between 0 and 100 years and the factor is between 1 and 1000."""
    return Backoff(seconds("base", base), seconds("maximum", maximum), factor)


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How a step is retried: up to ``max_retries`` more calls after the first, with ``backoff`` between them (a plain
    duration means that all delays are equal). Each call is cut off after ``timeout`` (``None``: never). Errors of the
    classes in ``give_up_on`` are not retried at all.

    A plain function runs in a thread, which cannot be cut off. Its time begins when it has a thread; a late result is
    dropped, and no other call begins before the thread has ended. If that takes longer than five seconds, or than the
    delay before the next call, the step fails with ``TimeoutError``.

    With ``heartbeat``, a call that is silent for that long is cut off as well: it must call
    ``current_step().heartbeat()`` more often.

    Tries belong to the run: each that failed is recorded before the next begins, so that restarts of workers do not add
    any. A run whose only work is to wait for its next try leaves its worker for delays of more than a second.

    Durations are ``timedelta`` or seconds. Raises ``InvalidArgument`` for values that could never make sense.
    """

    max_retries: int = 3
    backoff: Backoff | timedelta | float = exponential(0.1, 30)
    timeout: timedelta | float | None = None
    heartbeat: timedelta | float | None = None
    give_up_on: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        _check_count("max_retries", self.max_retries, least=0)
        _delay(self.backoff, 1)
        for argument, limit in (("timeout", self.timeout), ("heartbeat", self.heartbeat)):
            if limit is not None and seconds(argument, limit) == 0:
                raise InvalidArgument(argument, limit, "more than 0 seconds, or None for no limit")
        if not isinstance(self.give_up_on, tuple) or not all(map(_is_exception, self.give_up_on)):
            raise InvalidArgument("give_up_on", self.give_up_on, "a tuple of exception classes, such as (ValueError,)")

    def next_delay(self, failures: int, error: BaseException) -> float | None:
        """Returns the seconds until the next call after that many failures (1-based), or ``None`` to give up.

        ``Terminal``, a result that cannot be stored, use of a Context inside the step, and the classes in
        ``give_up_on`` are not retried. Neither is an exception group that contains one of them, nor an exception that
        was raised from a ``Terminal``.
        """
        if failures > self.max_retries or is_hopeless(error):
            return None
        if self.give_up_on and any(isinstance(member, self.give_up_on) for member in raised_members(error)):
            return None
        return _delay(self.backoff, failures)


class RunRetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How a whole run is retried: at most ``max_attempts`` attempts, including the first, with ``backoff`` between
    them.

    Raises ``InvalidArgument`` for values that could never make sense.
    """

    max_attempts: int = 1
    backoff: Backoff | timedelta | float = exponential(1, 60)

    def __post_init__(self) -> None:
        _check_count("max_attempts", self.max_attempts, least=1)
        _delay(self.backoff, 1)

    def next_delay(self, attempts: int, error: BaseException) -> float | None:
        """Returns the seconds until the next attempt after that many failed ones, including this one, or ``None`` to
        give up.

        ``Terminal`` and errors about values that cannot be stored are not retried, whether the workflow or one of its
        steps raised them.
        """
        if attempts >= self.max_attempts or is_hopeless(error):
            return None
        return _delay(self.backoff, attempts)


def _delay(backoff: Backoff | Duration, failures: int) -> float:
    return backoff.delay(failures) if isinstance(backoff, Backoff) else seconds("backoff", backoff)


def _check_count(argument: str, value: object, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidArgument(argument, value, f"a whole number, at least {least}")


def _is_exception(given: object) -> bool:
    return isinstance(given, type) and issubclass(given, BaseException)


def is_hopeless(error: BaseException) -> bool:
    """Returns whether no retry can help, neither of the step that raised the error nor of its run."""
    for member in raised_members(error, with_causes=True):
        if isinstance(member, _HOPELESS):
            return True
        # Of the error that failed a step, only what was recorded is known; the flag was not recorded by older versions.
        if isinstance(member, StepFailed) and (member.is_final or member.error_type in _HOPELESS_NAMES):
            return True
    return False


def raised_members(
    error: BaseException, *, with_causes: bool = False, with_contexts: bool = False
) -> Iterator[BaseException]:
    """Yields the error, the members of its groups and, if ``with_causes``, what they were raised from; with
    ``with_contexts`` also what was being handled when they were raised. Each is yielded once, because causes may form a
    cycle."""
    stack, seen = [error], set[int]()
    while stack:
        member = stack.pop()
        if id(member) in seen:
            continue
        seen.add(id(member))
        yield member
        if isinstance(member, BaseExceptionGroup):
            stack.extend(cast("BaseExceptionGroup[BaseException]", member).exceptions)
        if with_causes and member.__cause__ is not None:
            stack.append(member.__cause__)
        if with_contexts and member.__context__ is not None:
            stack.append(member.__context__)
