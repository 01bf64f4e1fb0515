"""No order of publish and park loses a wake-up: each interleaving is driven by hand, statement by statement."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from durable import Client, Context, workflow
from durable.core.replay.endings import PAUSED, RELEASE, Park
from durable.postgres.drive import run
from durable.store.children import ended_child, tell_parents
from durable.store.claims import claim_runs
from durable.store.flush import flush
from durable.store.operation import Running
from durable.store.records import MetRequest, OpenedWait, Record
from durable.store.routing import route_events, unrouted_events
from durable.store.statement import Commit, Statement, T

SHARD = "waiting_0"
CHILD = str(uuid.uuid4())


@workflow
async def waiting(ctx: Context) -> str:
    return await ctx.wait_for_event("wait", "news", str)


def execute(connection: psycopg.Connection[Any], statement: Statement[T]) -> T:
    return run(connection, "durable", statement)


class Bench:
    """A claimed run, the pieces of a park and of a publish, and routers on connections of their own."""

    def __init__(self, dsn: str, what: str) -> None:
        self.what = what
        self.worker_id = str(uuid.uuid4())
        self.other_id = str(uuid.uuid4())
        self.client = Client(dsn)
        self.publisher = psycopg.connect(dsn)
        self.parker = psycopg.connect(dsn)
        self.router = psycopg.connect(dsn, autocommit=True)
        self.run_key = self.client.begin(waiting).run_key
        (self.claimed,) = execute(self.router, claim_runs(SHARD, self.worker_id, 10))
        record = Record(self.run_key.run_id, self.claimed.epoch, ending=Park())
        wait: OpenedWait | MetRequest
        match what:
            case "resume" | "cancel of a pause":  # the pause was asked for before, and is obeyed now
                self.client.pause_run(self.run_key)
                (pause,) = execute(self.router, route_events(SHARD, self.worker_id, 100)).live
                record.ending, wait = PAUSED, MetRequest(pause.event_id)
            case "event":
                wait = OpenedWait("wait", event_name="news")
            case "child":
                wait = OpenedWait("wait", child_run_id=CHILD)
            case _:  # a cancel must wake a run that sleeps, and not only one that waits for events
                wait = OpenedWait("wait", wake_in=9)
        record.entries.append(wait)
        parking = Running(flush(SHARD, self.worker_id, [record], is_repeat=False, is_leaving=False)).request
        assert isinstance(parking, Commit)
        self._statements = iter(parking.statements)

    def close(self) -> None:
        for connection in (self.publisher, self.parker, self.router):
            connection.close()
        self.client.close()

    def publish(self) -> None:
        match self.what:
            case "event":
                self.client.publish_event_tx(self.publisher, self.run_key, "news", "heard")
            case "child":
                for statement in tell_parents([ended_child(self.run_key, CHILD, "cancelled")]):
                    execute(self.publisher, statement)
            case "cancel" | "cancel of a pause":
                self.client.cancel_run_tx(self.publisher, self.run_key)
            case "resume":
                self.client.resume_run_tx(self.publisher, self.run_key)
            case "pause":
                self.client.pause_run_tx(self.publisher, self.run_key)
            case _:
                self.client.terminate_run_tx(self.publisher, self.run_key)

    def commit_publish(self) -> None:
        self.publisher.commit()

    def park_statement(self) -> None:
        execute(self.parker, next(self._statements))

    def commit_park(self) -> None:
        for statement in self._statements:
            execute(self.parker, statement)
        self.parker.commit()

    def route(self, worker_id: str | None = None) -> bool:
        routed = execute(self.router, route_events(SHARD, worker_id or self.worker_id, 100))
        return bool(routed.live)

    def is_woken(self) -> bool:
        """Whether the run can be claimed, has ended or is paused, once every worker has routed all that it can."""
        for _ in range(3):
            for worker_id in (self.other_id, self.worker_id):
                self.route(worker_id)
        assert not execute(self.router, unrouted_events(SHARD, self.worker_id)).is_more
        status = self.client.get_run_info(self.run_key).status
        if status == "cancelled" or (status == "paused" and self.what == "pause"):
            return True
        return bool(execute(self.router, claim_runs(SHARD, self.other_id, 10)))


@pytest.fixture
def bench(database: str, request: pytest.FixtureRequest) -> Iterator[Bench]:
    made = Bench(database, request.param)
    yield made
    made.close()


PUBLISH = ("publish", "commit_publish")
PARK = ("park_statement", "park_statement", "park_statement", "commit_park")


def interleavings() -> Iterator[tuple[str, ...]]:
    """Every order of the steps of publish, park and one pass of routing that keeps each one's own order."""
    total = len(PUBLISH) + len(PARK) + 1
    for places in itertools.combinations(range(total), len(PUBLISH)):
        for routing in set(range(total)) - set(places):
            publish, park = iter(PUBLISH), iter(PARK)
            yield tuple(
                next(publish) if place in places else "route" if place == routing else next(park)
                for place in range(total)
            )


ORDERS = sorted(set(interleavings()))


@pytest.mark.parametrize(
    ("bench", "order"),
    [(what, order) for what in ("event", "child") for order in ORDERS]
    # What follows is the same for both: each gets half of the orders.
    + [("cancel", order) for order in ORDERS[::2]]
    + [("terminate", order) for order in ORDERS[1::2]]
    + [("pause", order) for order in ORDERS[::3]]
    + [("resume", order) for order in ORDERS]
    + [("cancel of a pause", order) for order in ORDERS[::2]],
    indirect=["bench"],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_what_is_published_reaches_the_run_wherever_it_meets_the_park(bench: Bench, order: tuple[str, ...]) -> None:
    delivered = False
    for step in order:
        action: Callable[[], Any] = getattr(bench, step)
        delivered |= action() is True
    # A live delivery to an execution that is parking is ignored there: the park itself must have found the event.
    assert bench.is_woken(), f"lost in {order} (delivered live: {delivered})"


@pytest.mark.parametrize("bench", ["terminate"], indirect=True)
def test_a_run_is_not_paused_whose_termination_the_worker_did_not_live_to_obey(bench: Bench) -> None:
    bench.publish()
    bench.commit_publish()
    assert bench.route()
    record = Record(bench.run_key.run_id, bench.claimed.epoch, ending=RELEASE)
    leaving = Running(flush(SHARD, bench.worker_id, [record], is_repeat=False, is_leaving=False)).request
    assert isinstance(leaving, Commit)
    for statement in leaving.statements:
        execute(bench.router, statement)
    bench.client.pause_run(bench.run_key)
    assert bench.is_woken()
