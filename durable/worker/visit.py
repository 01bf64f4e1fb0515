"""One visit to a shard value: its events are routed, its runs claimed, and those that come back are loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from durable.core.suspicion import Isolation
from durable.postgres.outages import is_blocked
from durable.store.channels import announce_ended
from durable.store.children import announce_told, tell_parents
from durable.store.claims import NextWake, claim_runs, claim_suspects, comebacks, load, next_wake
from durable.store.operation import operation
from durable.store.records import ClaimedRun, Comeback, Event
from durable.store.routing import Routed, Unrouted, dismiss_orphans, reschedule, retry, route_events, unrouted_events
from durable.store.sequels import Sequel, SequelOf, announce_sequels, begin_sequels, ended_runs, sequels_of
from durable.store.statement import Batch, Begin, Commit, Requests, Statement
from durable.store.successors import reopen_next

_MAX_RETRIED = 1000
_MAX_DISMISSED = 10_000

_ALL_ROUTED = Unrouted(is_more=False, is_retry=False, is_next=False)


class EndsBlocked(Exception):
    """One of these children could not end, because another transaction has locked its place in the inbox of its parent.
    ``error`` is what the database said. The transaction was rolled back."""

    def __init__(self, children: Sequence[str], error: Exception) -> None:
        super().__init__(children, error)
        self.children = children
        self.error = error


class Visited(msgspec.Struct, frozen=True):
    """What a visit found. Each run in ``claimed`` comes with what brings it back, ``None`` on its first claim.
    ``next_wake`` is when the next unclaimed run wakes, and in which ways suspects that are due are to be tried.
    ``live`` are the events of runs that this worker is executing now. ``is_more_to_claim`` and ``is_more_to_route`` say
    whether another visit is worthwhile, and ``is_next`` whether something is to happen after the end of a run."""

    claimed: Sequence[tuple[ClaimedRun, Comeback | None]]
    next_wake: NextWake
    live: Sequence[Event] = ()
    is_more_to_claim: bool = False
    is_more_to_route: bool = False
    is_next: bool = False
    unchanged: Sequence[str] = ()
    """Runs of which it was requested to change when they go on, and there was nothing to change."""


@operation
def visit(
    shard_value: str,
    worker_id: str,
    *,
    is_routing: bool,
    routing_limit: int,
    left_out: Sequence[str],
    limit: int,
    left_to_others: Sequence[str],
    hold: Callable[[ClaimedRun], bool],
    isolation: Isolation | None = None,
    sequel_of: SequelOf | None = None,
) -> Requests[Visited]:
    """Visits a shard value in two round trips, or more if runs ended or must be retried. Runs that routing wakes are
    claimed in the same round trip; parents are told in the transaction that ends their children.

    ``routing_limit`` is how many runs may be routed, without those in ``left_out``; ``limit`` is how many may be
    claimed, without those in ``left_to_others``; with ``isolation``, only suspects that are to be tried in that way.
    ``sequel_of`` returns what begins because a run was cancelled; ``None`` if nothing does.
    ``hold`` keeps the machine of a claimed run if it is in memory, and returns whether it is. Raises ``EndsBlocked``.
    """
    routing: list[Statement[Any]] = []
    claiming: list[Statement[Any]] = []
    if is_routing:
        routing.append(route_events(shard_value, worker_id, routing_limit, left_out))
        routing.append(unrouted_events(shard_value, worker_id, left_out))
    if limit > 0:
        if isolation is None:
            claiming.append(claim_runs(shard_value, worker_id, limit, left_to_others))
        else:
            claiming.append(claim_suspects(shard_value, worker_id, limit, isolation))
        claiming.append(next_wake(shard_value, left_to_others))
    routed, unrouted = Routed(), _ALL_ROUTED
    claimed: list[ClaimedRun] = []
    wake = NextWake(None, None, [])
    answers = yield from (Begin if is_routing else Batch)([*routing, *claiming])
    if is_routing:
        routed, unrouted = answers[:2]
    if limit > 0:
        claimed, wake = answers[-2:]
    # A run on its first claim has nothing to bring back.
    returning = [run for run in claimed if run.epoch > 1]
    resident = [run.run_id for run in returning if hold(run)]
    at_hand = set(resident)
    replayed = [run.run_id for run in returning if run.run_id not in at_hand]
    loading = load(shard_value, replayed, resident)
    is_next, is_retried, dismissed = False, False, 0
    unchanged: Sequence[str] = ()
    if is_routing:
        sequels: list[Sequel] = []
        if routed.ended and sequel_of is not None:
            sequels = sequels_of((yield from ended_runs(shard_value, routed.ended)), sequel_of)
        telling: list[Statement[Any]] = [*tell_parents(routed.children), *begin_sequels(sequels)]
        if routed.ended:
            telling.append(reopen_next(shard_value, routed.ended))
        try:
            answers = yield from Commit([*telling, *loading])
        except Exception as error:
            if routed.children and is_blocked(error):
                raise EndsBlocked([child.run_id for child in routed.children], error) from error
            raise
        loaded = answers[len(telling) :]
        is_next = unrouted.is_next or (bool(routed.ended) and bool(answers[len(telling) - 1]))
        yield from Batch([*announce_ended(routed.ended), *announce_told(routed.children), *announce_sequels(sequels)])
        if unrouted.is_retry:
            is_retried = yield from retry(shard_value, _MAX_RETRIED)
        if unrouted.is_reschedule:
            unchanged = yield from reschedule(shard_value, _MAX_RETRIED)
        if unrouted.is_crowded:
            dismissed = yield from dismiss_orphans(shard_value, _MAX_DISMISSED)
    else:
        loaded = yield from Batch(loading)
    found = comebacks(replayed, resident, loaded)
    return Visited(
        claimed=[(run, found.get(run.run_id)) for run in claimed],
        next_wake=wake,
        live=routed.live,
        is_more_to_claim=(len(claimed) == limit > 0 and isolation is None)
        or is_retried
        or unrouted.is_reschedule
        or (routed.woken > 0 and limit == 0),
        # A run that was locked is looked at again soon, also if only its time is to be changed.
        is_more_to_route=unrouted.is_more or unrouted.is_reschedule or dismissed > 0,
        is_next=is_next,
        unchanged=unchanged,
    )
