"""What a worker does while something keeps it from its work, above all a database that is away or refuses a statement.

Every duty that fails comes here. Duties that fail for the same cause share one line of tries: one try at a time, with
growing pauses between them, however many duties there are. As soon as one of them succeeds, all are tried again at
once. Without that, a read-only database would get hundreds of hopeless statements a second, and the log as many lines.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable
from functools import partial

import psycopg

from durable.postgres.outages import is_outage, reason_of

_logger = logging.getLogger("durable.worker")

_FIRST_SECONDS = 0.1
_LONGEST_SECONDS = 2.0
"""Between two tries, once they have failed for a while. Work continues at most this long after the cause has gone."""
_MOST_SECONDS = 60.0
"""A duty waits at most this long for its turn, even if a hundred others wait for theirs."""
_JITTER = 0.25
_QUIET_SECONDS = 5.0
"""After this long without a failure, a cause begins with short pauses again. A success alone does not reset them,
because a database may accept one statement and refuse the next for hours."""
_UNREACHABLE = "unreachable"
_OWN = " of "
"""Stands in the name of a cause that is the duty's own."""
_LINE_SECONDS = 60.0
_MAX_TEXTS = 5
"""Different texts that are logged in a minute for errors of one kind, unless they come from an outage."""


class FailureLog:
    """Logs at most one line a minute for each cause, whichever duties fail because of it. Used from the event loop and
    from the thread of the lease, which see the same outages."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said: dict[str, dict[str, float]] = {}
        self._unsaid: dict[str, int] = {}

    def failed(self, duty: str, error: BaseException, **extra: str) -> None:
        """Logs that a duty failed: a warning during an outage, otherwise an error with its traceback."""
        cause = cause_of(error)
        # The loss of a connection and the reason why there is no new one are worth two lines.
        most = _MAX_TEXTS if not is_outage(error) else 2 if cause == _UNREACHABLE else 1
        unsaid = self._may_say(cause, reason_of(error), most)
        if unsaid is None:
            return
        since = f" ({unsaid} more failures since the last such line)" if unsaid else ""
        if is_conflict(error):
            _logger.warning("%s will be tried again: %s%s", duty, reason_of(error), since, extra=extra)
        elif is_outage(error):
            text = reason_of(error) or "no answer in time"
            _logger.warning("%s paused: database unavailable: %s%s", duty, text, since, extra=extra)
        else:
            # The traceback of an error of Postgres repeats the row, payloads included.
            trace = None if isinstance(error, psycopg.Error) else error
            _logger.error(
                "%s failed and will be tried again: %s%s", duty, reason_of(error), since, exc_info=trace, extra=extra
            )

    def say(self, level: int, message: str, *arguments: object, **extra: str) -> None:
        """Logs something else that may keep happening, whatever the arguments."""
        if self._may_say(message, message, 1) is not None:
            _logger.log(level, message, *arguments, extra=extra)

    def _may_say(self, cause: str, text: str, most: int) -> int | None:
        """Returns how many lines of that cause were left out before this one, ``None`` if this one is to be left out
        as well."""
        now = time.monotonic()
        with self._lock:
            said = self._said.setdefault(cause, {})
            for old in [old for old, moment in said.items() if now - moment >= _LINE_SECONDS]:
                del said[old]
            if text in said or len(said) >= most:
                self._unsaid[cause] = self._unsaid.get(cause, 0) + 1
                return None
            said[text] = now
            return self._unsaid.pop(cause, 0)


def cause_of(error: BaseException) -> str:
    """Returns what is to blame, in so far as the error tells: errors of the same cause are likely to go together."""
    if not isinstance(error, psycopg.Error):
        return _UNREACHABLE if isinstance(error, OSError) else type(error).__name__
    state = error.sqlstate
    if state is None:
        return _UNREACHABLE if is_outage(error) else type(error).__name__
    return _UNREACHABLE if state[:2] == "08" or state[:3] == "57P" else state


def is_conflict(error: BaseException) -> bool:
    """Returns whether the statement met another transaction, and would have succeeded at another moment."""
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    return state is not None and (state[:2] == "40" or state == "55P03")


class Outages:
    """The failing duties of one event loop. ``longest`` is the longest pause between two tries, in seconds."""

    def __init__(self, log: FailureLog, longest: float = _LONGEST_SECONDS) -> None:
        self.log = log
        self._longest = longest
        self._causes: dict[str, _Cause] = {}
        self._failing: dict[str, str] = {}

    def failed(self, duty: str, error: Exception, try_again: Callable[[], None], **extra: str) -> Callable[[], None]:
        """Logs the failure, and calls ``try_again`` when it is the duty's turn. Returns what prevents that call."""
        self.log.failed(duty, error, **extra)
        cause = _cause_for(duty, error)
        self._failing[duty] = cause
        return self._causes.setdefault(cause, _Cause(self._longest)).wait(try_again)

    async def pause(self, duty: str, error: Exception, **extra: str) -> None:
        """Logs the failure, and returns when it is the duty's turn to try again."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        leave = self.failed(duty, error, partial(_resolve, turn), **extra)
        try:
            await turn
        except asyncio.CancelledError:
            leave()
            self.forget(duty)
            raise

    def succeeded(self, duty: str) -> None:
        """Notes that the duty could do its work. If it had failed before, all others that failed for the same cause are
        tried again now."""
        cause = self._failing.pop(duty, None) if self._failing else None
        if cause is None:
            return
        self._causes[cause].is_over()
        for other in [other for other, its_cause in self._failing.items() if its_cause == cause]:
            del self._failing[other]
        if _is_own(cause):
            del self._causes[cause]

    def forget(self, duty: str) -> None:
        """Notes that the duty will not be tried again."""
        cause = self._failing.pop(duty, None)
        if cause is not None and _is_own(cause):
            del self._causes[cause]

    def are_over(self) -> None:
        """Has everything tried again now, because the database answers again."""
        self._failing.clear()
        for cause in list(self._causes.values()):
            cause.is_over()
        self._causes = {name: cause for name, cause in self._causes.items() if not _is_own(name)}


class _Cause:
    """The duties that wait because of one cause, and the moment of the last of their tries."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._failures = 0
        self._last_failure = self._last_turn = float("-inf")
        self._waiting: dict[object, tuple[asyncio.TimerHandle, Callable[[], None]]] = {}

    def wait(self, try_again: Callable[[], None]) -> Callable[[], None]:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now - self._last_failure > _QUIET_SECONDS:
            self._failures = 0
        pause = min(_FIRST_SECONDS * 2 ** min(self._failures, 16), self._longest)
        self._failures += 1
        self._last_failure = now
        turn = max(self._last_turn, now) + pause * random.uniform(1 - _JITTER, 1 + _JITTER)
        self._last_turn = turn = min(turn, now + _MOST_SECONDS)
        place = object()
        self._waiting[place] = loop.call_at(turn, self._take_turn, place), try_again
        return partial(self._leave, place)

    def _take_turn(self, place: object) -> None:
        _, try_again = self._waiting.pop(place)
        try_again()

    def _leave(self, place: object) -> None:
        if place in self._waiting:
            timer, _ = self._waiting.pop(place)
            timer.cancel()

    def is_over(self) -> None:
        waiting, self._waiting = self._waiting, {}
        self._last_turn = float("-inf")
        for timer, try_again in waiting.values():
            timer.cancel()
            try_again()


def _cause_for(duty: str, error: Exception) -> str:
    """Conflicts have nothing in common with each other, so each duty waits for itself."""
    cause = cause_of(error)
    return f"{cause}{_OWN}{duty}" if is_conflict(error) else cause


def _is_own(cause: str) -> bool:
    return _OWN in cause


def _resolve(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)
