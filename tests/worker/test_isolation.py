"""When a worker tries a suspect, and what it claims meanwhile."""

from __future__ import annotations

from durable.core.suspicion import TRIAL_SECONDS
from durable.core.suspicion import Isolation as Kind
from durable.worker.clock import Clock
from durable.worker.isolation import Isolation


class Standing(Clock):
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class World:
    def __init__(self) -> None:
        self.clock = Standing()
        self.openings = 0
        self.isolation = Isolation(self.clock, [self])

    def reopened(self) -> None:
        self.openings += 1

    def try_one(self, run_id: str, kind: Kind) -> bool:
        """Asks for a place, and claims one."""
        if not self.isolation.places(kind):
            return False
        with self.isolation.trying(kind):
            self.isolation.entered(run_id, kind)
        return True


def test_nothing_is_claimed_beside_a_run_on_trial_and_everything_after_it() -> None:
    world = World()
    assert world.try_one("suspect", "alone")
    assert not world.isolation.is_open
    assert not world.isolation.places("alone")
    assert not world.isolation.places("group")
    world.isolation.left("suspect")
    assert world.isolation.is_open
    assert world.openings == 1


def test_a_trial_waits_until_young_runs_have_left_or_aged() -> None:
    for leaves in (True, False):
        world = World()
        world.isolation.entered("young", None)
        assert not world.try_one("suspect", "alone")
        assert not world.isolation.is_open
        if leaves:
            world.isolation.left("young")
        else:
            world.clock.now += TRIAL_SECONDS
        assert world.try_one("suspect", "alone")


def test_a_trial_waits_for_claims_under_way_and_not_forever() -> None:
    world = World()
    with world.isolation.claiming():
        assert not world.isolation.places("alone")
        assert not world.isolation.is_open
        world.clock.now += 2 * TRIAL_SECONDS + 1
        assert not world.isolation.places("alone")
        assert world.isolation.is_open, "a claim that hangs does not keep everything else from being claimed"


def test_a_trial_that_is_survived_lets_others_in() -> None:
    world = World()
    assert world.try_one("suspect", "alone")
    world.clock.now += TRIAL_SECONDS
    assert world.isolation.is_on_trial("suspect")
    world.isolation.trial_is_over("suspect")
    assert world.isolation.is_open
    world.clock.now += TRIAL_SECONDS
    assert world.try_one("another", "alone")
    world.isolation.trial_is_over("suspect")
    assert world.isolation.is_on_trial("another")


def test_a_suspect_that_is_gone_closes_nothing() -> None:
    world = World()
    assert world.isolation.places("alone")
    with world.isolation.trying("alone"):
        pass
    assert world.isolation.is_open


def test_ordinary_runs_have_as_much_time_as_a_trial_took() -> None:
    world = World()
    assert world.try_one("suspect", "alone")
    world.clock.now += 8
    world.isolation.left("suspect")
    world.isolation.entered("ordinary", None)
    world.clock.now += 7.5
    assert not world.isolation.places("alone")
    assert world.isolation.is_open
    world.clock.now += 0.5
    assert not world.isolation.places("alone")
    assert not world.isolation.is_open


def test_an_idle_worker_goes_on_with_the_next_trial_soon() -> None:
    world = World()
    assert world.try_one("suspect", "alone")
    world.clock.now += 8
    world.isolation.left("suspect")
    assert not world.try_one("another", "alone")
    world.clock.now += 0.5
    assert world.try_one("another", "alone")


def test_a_sole_suspect_closes_nothing_while_it_cannot_begin_for_long() -> None:
    world = World()
    world.isolation.entered("survivor", "group")
    assert not world.try_one("suspect", "sole")
    assert world.isolation.is_open
