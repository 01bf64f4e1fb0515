"""Retry policies: pure functions of the number of failures and the error."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from durable.core.durations import Duration, seconds
from durable.core.errors import InvalidArgument, SerializationError, Terminal


class Backoff(msgspec.Struct, frozen=True):
    """Delays that grow from ``base`` by ``factor`` up to ``maximum``; all in seconds."""

    base: float
    maximum: float
    factor: float = 2.0

    def delay(self, failures: int) -> float:
        """Seconds to wait after that many failures (1-based). No jitter: the caller applies it."""
        if self.base <= 0:
            return 0.0
        try:
            return min(self.maximum, self.base * self.factor ** (failures - 1))
        except OverflowError:
            return self.maximum


def exponential(base: Duration, maximum: Duration, factor: float = 2.0) -> Backoff:
    """Delays of ``base``, ``base * factor``, … seconds, never more than ``maximum``."""
    if not 1 <= factor <= 1000:
        raise InvalidArgument("factor", factor, "between 1 and 1000")
    return Backoff(seconds("base", base), seconds("maximum", maximum), factor)


def _delay(backoff: Backoff | Duration, failures: int) -> float:
    return backoff.delay(failures) if isinstance(backoff, Backoff) else seconds("backoff", backoff)


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How a step is retried: ``max_retries`` calls after the first, ``backoff`` between them, each call cut off after
    ``timeout`` seconds (``None``: never), errors of ``give_up_on`` not retried at all."""

    max_retries: int = 3
    backoff: Backoff | timedelta | float = exponential(0.1, 30)
    timeout: timedelta | float | None = None
    give_up_on: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.max_retries, bool) or not isinstance(self.max_retries, int) or self.max_retries < 0:
            raise InvalidArgument("max_retries", self.max_retries, "a whole number, 0 or more")
        _delay(self.backoff, 1)
        if self.timeout is not None:
            seconds("timeout", self.timeout)

    def next_delay(self, failures: int, error: BaseException) -> float | None:
        """Seconds until the next call after that many failures (1-based), ``None`` to give up."""
        if failures > self.max_retries or isinstance(error, (Terminal, SerializationError, *self.give_up_on)):
            return None
        return _delay(self.backoff, failures)


class RunRetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How a whole run is retried: at most ``max_attempts`` attempts, the first included."""

    max_attempts: int = 1
    backoff: Backoff | timedelta | float = exponential(1, 60)

    def __post_init__(self) -> None:
        if isinstance(self.max_attempts, bool) or not isinstance(self.max_attempts, int) or self.max_attempts < 1:
            raise InvalidArgument("max_attempts", self.max_attempts, "a whole number, 1 or more")
        _delay(self.backoff, 1)

    def next_delay(self, attempts: int, error: BaseException) -> float | None:
        """Seconds until the next attempt after that many failed ones, ``None`` to give up."""
        if attempts >= self.max_attempts or isinstance(error, (Terminal, SerializationError)):
            return None
        return _delay(self.backoff, attempts)
