"""Which worker looks when: laws of the decision, and fleets of up to a thousand in virtual time."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import partial
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable.store.channels import TICKETS, number_of
from durable.worker.precedence import STAND_IN_SECONDS, Precedence, comes_first, order

SHARD = "greet_0"
FLEETS = st.lists(st.uuids(version=4).map(str), min_size=1, max_size=40, unique=True)
A_TICKET = st.integers(0, TICKETS - 1).map(str)


def known(worker_id: str, workers: Sequence[str]) -> Precedence:
    precedence = Precedence(lambda: worker_id)
    precedence.know(workers)
    return precedence


def ids(count: int) -> list[str]:
    source = random.Random(count)
    return [str(UUID(int=source.getrandbits(128), version=4)) for _ in range(count)]


# laws


@given(FLEETS, A_TICKET)
def test_exactly_one_worker_comes_first_and_one_other_stands_in_soon(workers: list[str], ticket: str) -> None:
    pauses = sorted(known(worker, workers).pause(SHARD, ticket) for worker in workers)
    assert pauses[0] == 0
    assert all(0 < pause <= STAND_IN_SECONDS for pause in pauses[1:2])
    assert all(pause > 0 for pause in pauses[2:])


@settings(max_examples=30, deadline=None)
@given(FLEETS, st.integers(0, TICKETS - 1))
def test_exactly_the_first_one_and_two_that_stand_in_hear_of_a_run(workers: list[str], ticket: int) -> None:
    numbers = {worker: known(worker, workers).numbers() for worker in workers}
    (first,) = [worker for worker in workers if ticket in numbers[worker]]
    assert comes_first(first, workers, str(ticket))
    assert {worker for worker in workers if number_of(SHARD) in numbers[worker]} == set(
        order(workers, number_of(SHARD))[:2]
    )


@given(FLEETS, st.text())
def test_for_a_run_that_wakes_at_most_two_look_in_time_and_another_soon_after(workers: list[str], moment: str) -> None:
    pauses = sorted(known(worker, workers).pause_after_wake(SHARD, moment) for worker in workers)
    assert pauses[0] == 0
    assert all(pause <= STAND_IN_SECONDS for pause in pauses[:2])
    assert pauses.count(0.0) <= 2


@given(FLEETS, A_TICKET, st.data())
def test_when_a_worker_leaves_only_its_own_turns_go_to_others(
    workers: list[str], ticket: str, data: st.DataObject
) -> None:
    (first,) = [worker for worker in workers if comes_first(worker, workers, ticket)]
    leaving = data.draw(st.sampled_from(workers))
    left = [worker for worker in workers if worker != leaving]
    heirs = [worker for worker in left if comes_first(worker, left, ticket)]
    assert len(heirs) == min(len(left), 1)
    assert first == leaving or heirs == [first]


@given(FLEETS, A_TICKET, st.uuids(version=4).map(str))
def test_a_worker_that_does_not_find_itself_among_the_others_looks_at_once(
    workers: list[str], ticket: str, newcomer: str
) -> None:
    assert known(newcomer, [worker for worker in workers if worker != newcomer]).pause(SHARD, ticket) == 0


def test_tickets_give_all_workers_their_share() -> None:
    workers = ids(24)
    turns = Counter(
        worker for ticket in range(TICKETS) for worker in workers if comes_first(worker, workers, str(ticket))
    )
    assert len(turns) == 24
    assert 2 <= min(turns.values()) <= max(turns.values()) <= 25


def test_the_decision_of_a_worker_that_is_not_first_looks_at_few_of_a_thousand(monkeypatch: pytest.MonkeyPatch) -> None:
    from durable.worker import precedence as module

    workers = ids(1000)
    precedence = known(workers[0], workers)
    precedence.pause(SHARD, "0")
    ranked = 0
    rank: Callable[[str, str], tuple[bytes, str]] = module._rank

    def counted(worker_id: str, text: str) -> tuple[bytes, str]:
        nonlocal ranked
        ranked += 1
        return rank(worker_id, text)

    monkeypatch.setattr(module, "_rank", counted)
    for ticket in range(TICKETS):
        precedence.pause(SHARD, str(ticket))
    assert ranked < 30 * TICKETS
    ranked = 0
    precedence.numbers()
    assert ranked < 60 * TICKETS


# fleets


class Fleet:
    """Workers that hear announcements, look, and execute, in virtual time. A look takes 3 ms, an announcement arrives
    after 1 ms, and a run occupies one place of its worker for ``run_seconds``. Mirrors what the dispatcher does.

    ``looks`` are those until the last run was begun: each worker looks once more afterwards, within its bound."""

    LOOK_SECONDS = 0.003
    HEARD_SECONDS = 0.001
    PASS_ON_SECONDS = 0.05

    def __init__(
        self, workers: Sequence[str], *, concurrency: int = 100, run_seconds: float = 0.005, dead: Collection[str] = ()
    ) -> None:
        self.precedences = {worker: known(worker, workers) for worker in workers if worker not in dead}
        self._workers = workers
        self._stand_ins = order(workers, number_of(SHARD))[:2]
        self.free = dict.fromkeys(self.precedences, concurrency)
        self.run_seconds = run_seconds
        self.queue: list[float] = []
        self.waited: list[float] = []
        self.waited_beside_a_free_worker: list[float] = []
        self.taken: Counter[str] = Counter()
        self.looks = 0
        self.announcements = self.heard = 0
        self.now = 0.0
        self._planned: dict[str, float] = {}
        self._looking: set[str] = set()
        self._hinted: set[str] = set()
        self._passing_on: set[str] = set()
        self._passed_on = dict.fromkeys(self.precedences, -1.0)
        self._moves: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._all_full_until = self._last_begin = 0.0

    def play(self, begins: Sequence[float]) -> Fleet:
        self._last_begin = begins[-1]
        for ticket, moment in enumerate(begins):
            self._at(moment, partial(self._begin, ticket % TICKETS))
        while self._moves:
            self.now, _, move = heapq.heappop(self._moves)
            move()
            if not any(self.free.values()):
                self._all_full_until = self.now
        assert not self.queue
        return self

    def percentile(self, share: int) -> float:
        return sorted(self.waited)[len(self.waited) * share // 100]

    def _at(self, moment: float, move: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._moves, (moment, self._number, move))

    def _begin(self, ticket: int) -> None:
        self.queue.append(self.now)
        self.announcements += 1
        first = [worker for worker in self._workers if comes_first(worker, self._workers, str(ticket))]
        for worker in {*first, *self._stand_ins} & self.precedences.keys():
            self.heard += 1
            self._at(self.now + self.HEARD_SECONDS, partial(self._hear, worker, str(ticket)))

    def _hear(self, worker: str, ticket: str) -> None:
        pause = self.precedences[worker].pause(SHARD, ticket)
        if self.free[worker] == 0 and pause == 0 and worker not in self._passing_on:
            self._passing_on.add(worker)
            self._at(max(self.now, self._passed_on[worker] + self.PASS_ON_SECONDS), partial(self._pass_on, worker))
        if pause == 0 or self.free[worker] == 0:
            self._hint(worker)
        elif self.now + pause < self._planned.get(worker, float("inf")):
            self._planned[worker] = self.now + pause
            self._at(self.now + pause, partial(self._look_later, worker, self.now + pause))

    def _pass_on(self, worker: str) -> None:
        self._passing_on.discard(worker)
        self._passed_on[worker] = self.now
        self.announcements += 1
        for other in self.precedences:
            self.heard += 1
            self._at(self.now + self.HEARD_SECONDS, partial(self._hint, other))

    def _look_later(self, worker: str, planned: float) -> None:
        if self._planned.get(worker) == planned:
            del self._planned[worker]
            self._hint(worker)

    def _hint(self, worker: str) -> None:
        self._hinted.add(worker)
        self._look_if_it_can(worker)

    def _look_if_it_can(self, worker: str) -> None:
        if worker in self._hinted and worker not in self._looking and self.free[worker] > 0:
            self._hinted.discard(worker)
            self._planned.pop(worker, None)
            self._looking.add(worker)
            self._at(self.now + self.LOOK_SECONDS, partial(self._found, worker))

    def _found(self, worker: str) -> None:
        self.looks += self.now <= self._last_begin
        self._looking.discard(worker)
        claimed, self.queue = self.queue[: self.free[worker]], self.queue[self.free[worker] :]
        self.waited += [self.now - begun for begun in claimed]
        self.waited_beside_a_free_worker += [self.now - max(begun, self._all_full_until) for begun in claimed]
        self.taken[worker] += len(claimed)
        self.free[worker] -= len(claimed)
        if self.free[worker] == 0:
            self._hinted.add(worker)
        for _ in claimed:
            self._at(self.now + self.run_seconds, partial(self._ended, worker))
        self._look_if_it_can(worker)

    def _ended(self, worker: str) -> None:
        self.free[worker] += 1
        self._look_if_it_can(worker)


def at_random(a_second: float, seconds: float) -> list[float]:
    chance = random.Random(1)
    moments = [chance.expovariate(a_second)]
    while moments[-1] < seconds:
        moments.append(moments[-1] + chance.expovariate(a_second))
    return moments


AT_ONCE = Fleet.HEARD_SECONDS + 2 * Fleet.LOOK_SECONDS + 1e-9
"""The longest wait for a worker that is in the middle of a look when it hears of the run."""


@pytest.mark.parametrize("size", [1, 2, 24, 200, 1000])
def test_a_fleet_looks_less_than_twice_a_run_and_no_run_waits(size: int) -> None:
    fleet = Fleet(ids(size)).play(at_random(100, 10 if size < 200 else 1))
    assert fleet.looks < 2 * len(fleet.waited)
    assert max(fleet.waited) <= AT_ONCE
    assert fleet.heard <= 3 * len(fleet.waited)


@pytest.mark.parametrize("size", [2, 24, 100])
@pytest.mark.parametrize("a_second", [1, 100])
def test_a_first_worker_that_was_killed_costs_less_than_a_tenth_of_a_second(size: int, a_second: int) -> None:
    workers = ids(size)
    fleet = Fleet(workers, dead=workers[:1]).play(at_random(a_second, 400 / a_second))
    assert max(fleet.waited) < 0.1
    assert size == 2 or fleet.percentile(50) <= AT_ONCE


@pytest.mark.parametrize("size", [3, 24])
def test_so_does_one_that_would_have_stood_in(size: int) -> None:
    workers = ids(size)
    fleet = Fleet(workers, dead=order(workers, SHARD)[:1]).play(at_random(100, 10))
    assert max(fleet.waited) < 0.1


@pytest.mark.parametrize("busy", [0.5, 0.75, 0.9])
def test_no_run_waits_while_a_worker_is_free_however_many_are_full(busy: float) -> None:
    fleet = Fleet(ids(12), concurrency=1, run_seconds=0.1).play(at_random(120 * busy, 30))
    waited = sorted(fleet.waited_beside_a_free_worker)
    assert waited[len(waited) // 2] <= AT_ONCE
    assert waited[len(waited) * 95 // 100] < 0.05
    assert max(waited) < 0.1
    assert fleet.announcements < 2 * len(waited)


def test_while_all_are_full_announcements_are_not_passed_on_without_end() -> None:
    fleet = Fleet(ids(12), concurrency=1, run_seconds=0.1).play(at_random(200, 10))
    assert fleet.announcements < 2 * len(fleet.waited)
    assert fleet.looks < 2.5 * len(fleet.waited)


@pytest.mark.parametrize("concurrency", [1, 100])
def test_runs_are_spread_over_the_fleet(concurrency: int) -> None:
    fleet = Fleet(ids(12), concurrency=concurrency, run_seconds=0.05).play(at_random(100, 20))
    assert len(fleet.taken) == 12
    assert max(fleet.taken.values()) < 4 * min(fleet.taken.values())


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 30), st.integers(1, 4), st.floats(0.001, 0.2), st.randoms(use_true_random=False), st.data())
def test_whichever_worker_is_killed_every_run_is_taken(
    size: int, concurrency: int, run_seconds: float, chance: random.Random, data: st.DataObject
) -> None:
    workers = ids(size)
    dead = data.draw(st.sets(st.sampled_from(workers), max_size=1))
    begins = sorted(chance.uniform(0, 3) for _ in range(60))
    fleet = Fleet(workers, concurrency=concurrency, run_seconds=run_seconds, dead=dead).play(begins)
    assert len(fleet.waited) == 60
