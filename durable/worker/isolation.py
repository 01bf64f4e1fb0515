"""Keeps suspects apart in this worker: when one may be tried, and that nothing else is claimed meanwhile."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Protocol

from durable.core.suspicion import TRIAL_SECONDS, Companion, may_begin
from durable.core.suspicion import Isolation as Kind
from durable.worker.clock import Clock

_LEAST_OPEN_SECONDS = 0.25
"""How long ordinary runs have between two trials at least: enough to claim them."""
_MAX_WAIT_SECONDS = 2 * TRIAL_SECONDS
"""For at most this long the worker claims nothing before a trial. What it executes when it closes is company after the
time of one trial; a claim that was under way then may add more."""


class Claimer(Protocol):
    """A dispatcher, which claims nothing while the worker is closed."""

    def reopened(self) -> None:
        """Notes that ordinary runs may be claimed again."""


class Isolation:
    """The worker is *closed* while one of its suspects is on trial alone, and shortly before."""

    def __init__(self, clock: Clock, claimers: Iterable[Claimer]) -> None:
        self._clock = clock
        self._claimers = claimers
        self._here: dict[str, tuple[float, Kind | None]] = {}
        self._claims = 0
        self._trial: str | None = None
        self._closed_at: float | None = None
        self._opened_at = self._quiet_until = float("-inf")

    @property
    def is_open(self) -> bool:
        """Returns whether ordinary runs may be claimed."""
        return self._closed_at is None

    @contextmanager
    def claiming(self) -> Generator[None]:
        """While a claim is under way, no trial begins: what it claims would be company."""
        self._claims += 1
        try:
            yield
        finally:
            self._claims -= 1

    def places(self, kind: Kind) -> int:
        """Returns how many suspects of that kind may be claimed now. Closes the worker if that makes a place soon."""
        now = self._clock.monotonic()
        here = [Companion(now - since, kind) for since, kind in self._here.values()]
        if self._trial is not None:
            return 0
        if kind == "group":
            return may_begin(kind, here) if self.is_open else 0
        if self._closed_at is None:
            aged = [Companion(one.seconds + TRIAL_SECONDS, one.isolation) for one in here]
            quiet_until = self._quiet_until if here else self._opened_at + _LEAST_OPEN_SECONDS
            if now < quiet_until or not may_begin(kind, aged):
                return 0
            self._closed_at = now
        if not self._claims and (places := may_begin(kind, here)):
            return places
        if now - self._closed_at > _MAX_WAIT_SECONDS:
            self._open()
        return 0

    @contextmanager
    def trying(self, kind: Kind) -> Generator[None]:
        """While a suspect is claimed. If none is found, a worker that was closed for it opens again."""
        try:
            yield
        finally:
            if kind != "group" and self._trial is None:
                self._open()

    def entered(self, run_id: str, kind: Kind | None) -> None:
        """Notes that a run is being executed, and how it was claimed."""
        self._here[run_id] = self._clock.monotonic(), kind
        if kind in ("alone", "sole"):
            self._trial = run_id

    def left(self, run_id: str) -> None:
        """Notes that a run is no longer executed here."""
        self._here.pop(run_id, None)
        self.trial_is_over(run_id)

    def is_on_trial(self, run_id: str) -> bool:
        """Returns whether the worker is closed because of that run."""
        return self._trial == run_id

    def trial_is_over(self, run_id: str) -> None:
        """Notes that a run has survived its trial or is gone."""
        if self._trial == run_id:
            self._trial = None
            self._open()

    def _open(self) -> None:
        if self._closed_at is not None:
            self._opened_at = self._clock.monotonic()
            self._quiet_until = 2 * self._opened_at - self._closed_at
            self._closed_at = None
            for claimer in self._claimers:
                claimer.reopened()
