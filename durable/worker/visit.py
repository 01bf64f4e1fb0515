"""One look at a shard value: its events are routed, runs claimed, and those that come back loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from durable.store.children import tell_parents
from durable.store.claims import Load, claim_runs, next_wake
from durable.store.records import ClaimedRun, Comeback
from durable.store.routing import Routed, Unrouted, route_events, unrouted_events
from durable.store.statement import Statement

_MOST_ROUTED = 1000


class Visit:
    """First ``statements``, then what ``follows`` from their answers; where it is routing, both in one transaction.

    ``limit`` is how many runs may be claimed, ``hold`` keeps the machine of a claimed run at hand if it is there; those
    in ``held`` are then for the caller to take or to drop.
    """

    def __init__(
        self,
        schema: str,
        shard_value: str,
        worker_id: str,
        *,
        is_routing: bool,
        limit: int,
        left_to_others: Sequence[str],
        hold: Callable[[ClaimedRun], bool],
    ) -> None:
        self._schema = schema
        self._shard_value = shard_value
        self._worker_id = worker_id
        self._limit = limit
        self._left_to_others = left_to_others
        self._hold = hold
        self._load = Load(schema, shard_value, (), ())
        self.is_routing = is_routing
        self.routed = Routed((), 0, (), ())
        self.unrouted = Unrouted(is_more=False, is_retry=False)
        self.claimed: list[ClaimedRun] = []
        self.wake_in: float | None = None
        """Seconds until the next run wakes that was not claimed, ``None`` if none sleeps."""
        self.held: list[str] = []

    def statements(self) -> list[Statement[Any]]:
        """What routing wakes is claimed in the same breath."""
        schema, shard_value, worker_id = self._schema, self._shard_value, self._worker_id
        routing: list[Statement[Any]] = []
        claiming: list[Statement[Any]] = []
        if self.is_routing:
            routing.append(route_events(schema, shard_value, worker_id, _MOST_ROUTED))
            routing.append(unrouted_events(schema, shard_value, worker_id))
        if self._limit > 0:
            claiming.append(claim_runs(schema, shard_value, worker_id, self._limit, self._left_to_others))
            claiming.append(next_wake(schema, shard_value, self._left_to_others))
        return [*routing, *claiming]

    def follows(self, answers: Sequence[Any]) -> list[Statement[Any]]:
        """Parents are told, and runs that were claimed before get back what they have; one on its first claim has
        nothing."""
        if self.is_routing:
            self.routed, self.unrouted, *answers = answers
        if self._limit > 0:
            self.claimed, self.wake_in = answers
        returning = [run for run in self.claimed if run.epoch > 1]
        self.held = [run.run_id for run in returning if self._hold(run)]
        at_hand = set(self.held)
        replayed = [run.run_id for run in returning if run.run_id not in at_hand]
        self._load = Load(self._schema, self._shard_value, replayed, self.held)
        return [*tell_parents(self._schema, self.routed.children), *self._load.statements()]

    def comebacks(self) -> dict[str, Comeback]:
        """By run id, of the claimed runs that come back."""
        return self._load.comebacks()
