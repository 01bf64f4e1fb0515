"""Workers that die, some of them because of a run, simulated: real decisions about suspects over rows in memory."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from hypothesis import strategies as st

from durable.core import suspicion
from durable.core.suspicion import Isolation as Kind
from durable.worker.clock import Clock
from durable.worker.isolation import Isolation

_STEP = 0.25
_TAKEOVER_SECONDS = 1.5
_MAX_STRIKES = 5
_MAX_SECONDS = 5000.0
"""Without a death, all innocents together take a tenth of this."""


class Kinds(msgspec.Struct, frozen=True):
    """Runs by how they behave, in seconds: when innocent ones end and when the others kill their worker; when each
    begins; and when an operator kills all workers."""

    innocent: tuple[float, ...]
    poisonous: tuple[float, ...]
    begin: tuple[float, ...]
    kills: frozenset[int]
    workers: int


def fleets() -> st.SearchStrategy[Kinds]:
    seconds = st.sampled_from((0.5, 2.0, 6.0, 9.5, 12.0, 25.0, 40.0))
    return st.builds(
        Kinds,
        innocent=st.lists(seconds, min_size=1, max_size=8).map(tuple),
        poisonous=st.lists(seconds, max_size=4).map(tuple),
        begin=st.lists(st.sampled_from((0.0, 0.0, 3.0, 20.0, 45.0)), min_size=12, max_size=12).map(tuple),
        kills=st.frozensets(st.integers(1, 60), max_size=4),
        workers=st.integers(1, 2),
    )


class _Clock(Clock):
    now = 0.0

    def monotonic(self) -> float:
        return self.now


class _Run(msgspec.Struct):
    """Written like the statement ``take_over_runs``."""

    name: int
    seconds: float
    is_poison: bool
    wakes_at: float
    status: str = "queued"
    isolation: Kind | None = None
    is_on_trial: bool = False
    strikes: int = 0
    lone_strikes: int = 0
    had_company: bool = False
    since: float = 0.0

    def lose_its_worker(self, now: float, *, has_company: bool) -> None:
        self.strikes += 1
        self.lone_strikes += self.is_on_trial
        self.had_company |= has_company
        self.is_on_trial, self.status = False, "queued"
        self.isolation = suspicion.isolation_after(self.strikes, had_company=self.had_company)
        pause = suspicion.PAUSE.delay(self.strikes - suspicion.SUSPECT_STRIKES + 1) if self.isolation else 0.0
        self.wakes_at = now + _TAKEOVER_SECONDS + pause
        if self.lone_strikes >= _MAX_STRIKES:
            self.status = "failed"


class _Worker:
    def __init__(self, clock: _Clock) -> None:
        self.runs: list[_Run] = []
        self._clock = clock
        self.isolation = Isolation(clock, ())

    def claim(self, run: _Run, kind: Kind | None) -> None:
        run.status, run.since, run.isolation = "running", self._clock.now, kind
        run.is_on_trial = kind in ("alone", "sole")
        self.runs.append(run)
        self.isolation.entered(str(run.name), kind)

    def let_go(self, run: _Run) -> None:
        self.runs.remove(run)
        self.isolation.left(str(run.name))

    def acquit(self) -> None:
        for run in self.runs:
            if self.isolation.is_on_trial(str(run.name)) and self._clock.now - run.since >= suspicion.TRIAL_SECONDS:
                run.is_on_trial = run.isolation == "sole"
                self.isolation.trial_is_over(str(run.name))


class Fleet:
    def __init__(self, kinds: Kinds) -> None:
        self.clock = _Clock()
        all_seconds = [*((one, False) for one in kinds.innocent), *((one, True) for one in kinds.poisonous)]
        self.runs = [
            _Run(name, seconds, is_poison, begin)
            for name, ((seconds, is_poison), begin) in enumerate(zip(all_seconds, kinds.begin, strict=False))
        ]
        self._workers = [_Worker(self.clock) for _ in range(kinds.workers)]
        self._kills = kinds.kills

    def run(self) -> None:
        while any(run.status in ("queued", "running") for run in self.runs):
            self.clock.now += _STEP
            assert self.clock.now < _MAX_SECONDS, f"no end of {self.runs}"
            for number, worker in enumerate(self._workers):
                if self._ends(worker):
                    self._workers[number] = _Worker(self.clock)
                else:
                    worker.acquit()
                    self._claim(worker)

    def _ends(self, worker: _Worker) -> bool:
        """Ends the runs that are done, and the worker if one of them kills it."""
        over = [run for run in worker.runs if self.clock.now - run.since >= run.seconds]
        for run in over:
            if not run.is_poison:
                worker.let_go(run)
                run.status = "completed"
        is_dead = any(run.is_poison for run in over) or self.clock.now in self._kills
        if is_dead:
            self._check_evidence(worker)
            for run in worker.runs:
                run.lose_its_worker(self.clock.now, has_company=len(worker.runs) > 1)
        return is_dead

    def _check_evidence(self, worker: _Worker) -> None:
        """What counts against a run that is on trial: nothing beside it was new here, or as suspect as a sole one."""
        for tried in worker.runs:
            for other in worker.runs:
                if tried.is_on_trial and other is not tried:
                    lead = tried.since - other.since
                    is_apart = lead >= suspicion.TRIAL_SECONDS
                    if tried.isolation == "sole":
                        has_begun_later = self.clock.now - tried.since >= suspicion.TRIAL_SECONDS
                        is_apart = other.isolation is None and (is_apart or (lead < 0 and has_begun_later))
                    assert is_apart, f"{tried} is judged beside {other}"

    def _claim(self, worker: _Worker) -> None:
        for run in self._due():
            if run.isolation is None and worker.isolation.is_open:
                worker.claim(run, None)
        for kind in ("group", "alone", "sole"):
            suspects = [run for run in self._due() if run.isolation == kind]
            places = worker.isolation.places(kind) if suspects else 0
            if places:
                with worker.isolation.trying(kind):
                    for run in suspects[:places]:
                        worker.claim(run, kind)

    def _due(self) -> Iterator[_Run]:
        return (run for run in self.runs if run.status == "queued" and run.wakes_at <= self.clock.now)


def only_what_kills_its_workers_is_condemned(kinds: Kinds) -> Fleet:
    """Whatever else dies with it, and however often an operator kills everything, short of what condemns a run that is
    alone in its worker."""
    fleet = Fleet(kinds)
    fleet.run()
    for run in fleet.runs:
        assert run.status == ("failed" if run.is_poison else "completed"), run
        assert run.strikes <= 40, f"so many deaths until the end: {run}"
    return fleet
