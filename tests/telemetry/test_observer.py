"""What an observer is told, and what it cannot do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from prometheus_client import CollectorRegistry

from durable import AsyncClient, Call, Context, RetryPolicy, Worker, workflow
from durable.contrib.prometheus import PrometheusObserver
from durable.core.replay.endings import Settle
from durable.store.records import Record, StepMemo, Written
from durable.telemetry import Claimed, Flushed, Observer, RunEnded, StepEnded, StepRetried
from durable.telemetry.telling import Telling
from tests.watching import rows
from tests.worker.flows import arithmetic, greeting, process_all, process_until_there_is_one


class Listening(Observer):
    def __init__(self) -> None:
        self.claims: list[Claimed] = []
        self.flushes: list[Flushed] = []
        self.life: list[str] = []

    def worker_started(self, worker_id: str, workflows: Sequence[str]) -> None:
        self.life.append("started")

    def worker_stopped(self, worker_id: str) -> None:
        self.life.append("stopped")

    def claimed(self, told: Claimed) -> None:
        self.claims.append(told)

    def flushed(self, told: Flushed) -> None:
        self.flushes.append(told)

    @property
    def steps(self) -> list[str]:
        return [step.function for told in self.flushes for step in told.steps]

    @property
    def ended(self) -> list[RunEnded]:
        return [run for told in self.flushes for run in told.ended]


class Raising(Observer):
    def claimed(self, told: Claimed) -> None:
        raise RuntimeError("claims")

    def flushed(self, told: Flushed) -> None:
        raise RuntimeError("flushes")


def total(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, labels)


async def test_each_step_and_each_end_is_told_once(database: str) -> None:
    observer = Listening()
    flow = arithmetic(Counter())
    worker = Worker(database, [flow], observer=observer)
    async with AsyncClient(database) as client:
        await client.begin(flow, 1)
        await process_all(worker)
    assert [function.rpartition(".")[2] for function in observer.steps] == ["add10", "multiply2", "subtract5"]
    assert observer.ended == [RunEnded("multi", "completed")]
    assert sum(told.started for told in observer.claims) == 1


async def test_a_replay_tells_of_no_step_again(database: str) -> None:
    observer = Listening()

    async def act() -> None: ...

    @workflow
    async def napping(ctx: Context) -> None:
        await ctx.execute("before", act)
        await ctx.sleep("nap", 0)
        await ctx.execute("after", act)

    async with AsyncClient(database) as client:
        await client.begin(napping)
        for _ in range(2):  # a new worker each, which has no machine in memory
            await process_until_there_is_one(Worker(database, [napping], observer=observer))
    assert len(observer.steps) == 2
    assert [(told.started, told.replayed) for told in observer.claims] == [(1, 0), (0, 1)]
    assert observer.claims[1].memos >= 1


async def test_a_failed_try_is_told_with_the_class_of_its_error(database: str) -> None:
    observer = Listening()
    calls: Counter[str] = Counter()

    async def shaky() -> None:
        calls["shaky"] += 1
        if calls["shaky"] < 3:
            raise ConnectionError("a secret")

    @workflow
    async def patient(ctx: Context) -> None:
        await ctx.execute(Call("shaky", retry=RetryPolicy(max_retries=5, backoff=0.01)), shaky)

    async with AsyncClient(database) as client:
        await client.begin(patient)
        await process_all(Worker(database, [patient], observer=observer))
    retries: list[StepRetried] = [retry for told in observer.flushes for retry in told.retries]
    assert [retry.error for retry in retries] == ["ConnectionError"] * 2
    assert len(observer.steps) == 1


async def test_an_observer_that_raises_disturbs_nothing_and_is_logged_once(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    simple = greeting(Counter())
    worker = Worker(database, [simple], observer=Raising())
    async with AsyncClient(database) as client:
        for name in ("a", "b"):
            await client.begin(simple, name)
        await process_all(worker)
    assert await rows(database, "SELECT DISTINCT status FROM durable.runs") == [("completed",)]
    assert len([line for line in caplog.records if line.name == "durable.telemetry"]) == 1


async def test_the_life_of_a_worker_is_told(database: str) -> None:
    observer = Listening()
    async with Worker(database, [greeting(Counter())], observer=observer):
        assert observer.life == ["started"]
    assert observer.life == ["started", "stopped"]


def test_what_a_fenced_worker_wrote_counts_for_nothing() -> None:
    observer = Listening()
    record = Record("run", 1, None, ending=Settle(status="completed"))
    record.entries.append(StepMemo("key", "execute", 1, "act", 1, 0.1, None, "1", None))
    Telling(observer).flushed("simple_0", [record], [Written(is_ours=False)], 0.1)
    (told,) = observer.flushes
    assert (told.fenced, told.steps, told.ended) == (1, [], [])


async def test_prometheus_counts_runs_and_steps(database: str) -> None:
    registry = CollectorRegistry()
    flow = arithmetic(Counter())
    async with AsyncClient(database) as client:
        await client.begin_many(flow, [1, 2, 3])
        await process_all(Worker(database, [flow], observer=PrometheusObserver(registry)))
    assert total(registry, "durable_run_started_total", workflow="multi") == 3
    assert total(registry, "durable_run_ended_total", workflow="multi", status="completed") == 3
    steps = [
        sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "durable_step_duration_seconds_count"
    ]
    assert sum(steps) == 9


def test_ten_thousand_functions_and_errors_make_a_bounded_number_of_series() -> None:
    registry = CollectorRegistry()
    observer = PrometheusObserver(registry)
    for number in range(10_000):
        step = StepEnded("one", f"function{number}", "ok", 0.1)
        retry = StepRetried("one", f"function{number}", f"Error{number}")
        observer.flushed(Flushed("one", 0.1, 1, 0, 0, [step], [retry], []))
    series = {
        (metric.name, *(value for key, value in sorted(sample.labels.items()) if key != "le"))
        for metric in registry.collect()
        for sample in metric.samples
    }
    assert len(series) <= 500
