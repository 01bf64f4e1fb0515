"""Decides which workers hear of runs and when each looks, so that one announcement does not make a whole fleet look.
No I/O.

Each announcement bears a ticket, a number, and is made on the channel of that number. Of the workers that listen,
the one with the highest hash of its id and the ticket comes first: it listens to that channel and looks at once. The
next announcement has another ticket, so runs spread over the fleet.

The same announcement is also made on the channel of the shard value's own number. Two workers listen to that one, to
stand in for a first one that was killed or hangs: they look a little later. They are the same for every announcement,
so that one look serves all since the look before; the second of them looks so seldom because both the first worker and
the first stand-in would have to fail.

A first worker that is full is not waited for: it passes the announcement on to all, and then everyone looks at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from hashlib import blake2b
from itertools import islice

from durable.store.channels import NUMBERS, TICKETS, number_of

STAND_IN_SECONDS = 0.04
_STEP = 8
_STAND_INS = 2
_LAST_SECONDS = 10.0


def comes_first(worker_id: str, workers: Collection[str], ticket: str) -> bool:
    """Returns whether this worker, of all ``workers``, comes first for that ticket."""
    return _is_among(1, worker_id, workers, ticket)


def stands_in(worker_id: str, workers: Collection[str], number: int) -> bool:
    """Returns whether this worker is one of those that stand in on shard values of that number."""
    return _is_among(_STAND_INS, worker_id, workers, f"stand in {number}")


def order(workers: Collection[str], number: int) -> list[str]:
    """Returns the order in which the workers stand in on shard values of that number."""
    return sorted(workers, key=lambda worker_id: _rank(worker_id, f"stand in {number}"), reverse=True)


def _is_among(most: int, worker_id: str, workers: Collection[str], text: str) -> bool:
    mine = _rank(worker_id, text)
    higher = (other for other in workers if _rank(other, text) > mine)
    # Ends once that many rank higher: after a few workers on average, however large the fleet is.
    return next(islice(higher, most - 1, None), None) is None


def pause_in(place: int) -> float:
    """Returns how many seconds the worker in that place of the order, counted from 0, waits before it looks."""
    return min(STAND_IN_SECONDS * float(_STEP ** min(place, 8)), _LAST_SECONDS)


def _rank(worker_id: str, text: str) -> tuple[bytes, str]:
    return blake2b(f"{worker_id} {text}".encode(), digest_size=8).digest(), worker_id


class Precedence:
    """What one worker knows about its place among the others. Until it finds itself among the workers that listen, it
    hears everything and comes first for everything."""

    def __init__(self, worker_id: Callable[[], str]) -> None:
        self._worker_id = worker_id
        self._workers: frozenset[str] = frozenset()
        self._orders: dict[int, list[str]] = {}

    def know(self, workers: Sequence[str]) -> None:
        """Notes which workers listen, this one among them."""
        self._workers = frozenset(workers)
        self._orders.clear()

    @property
    def has_others(self) -> bool:
        """Returns whether another worker listens."""
        return bool(self._workers - {self._worker_id()})

    def numbers(self) -> frozenset[int]:
        """Returns the numbers of the channels that this worker listens to."""
        worker_id = self._worker_id()
        if worker_id not in self._workers:
            return frozenset(range(NUMBERS))
        first = (ticket for ticket in range(TICKETS) if comes_first(worker_id, self._workers, str(ticket)))
        second = (number for number in range(TICKETS, NUMBERS) if stands_in(worker_id, self._workers, number))
        return frozenset((*first, *second))

    def pause(self, shard_value: str, ticket: str) -> float:
        """Returns the seconds after which this worker looks for what was announced: 0 if it comes first."""
        worker_id = self._worker_id()
        if worker_id not in self._workers or comes_first(worker_id, self._workers, ticket):
            return 0.0
        following = self._order(number_of(shard_value))
        place = following.index(worker_id)
        if place == 1 and comes_first(following[0], self._workers, ticket):
            place = 0  # nobody can stand in for itself
        return pause_in(place)

    def pause_after_wake(self, shard_value: str, moment: str) -> float:
        """Returns how many seconds after the moment at which a run wakes this worker looks for it: 0 if it comes first
        for that moment, or if it is the first to stand in. The former may not know of the moment, if it has not looked
        at the shard value lately; the latter does."""
        worker_id = self._worker_id()
        if worker_id not in self._workers or comes_first(worker_id, self._workers, moment):
            return 0.0
        place = self._order(number_of(shard_value)).index(worker_id)
        return pause_in(place - 1) if place > 0 else 0.0

    def _order(self, number: int) -> list[str]:
        known = self._orders.get(number)
        if known is None:
            known = self._orders[number] = order(self._workers, number)
        return known
