"""Metrics by way of OpenTelemetry's SDK."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from durable import AsyncClient, Worker
from durable.contrib.otel import OtelObserver
from durable.telemetry import Flushed, StepEnded, StepRetried, TakenOver
from durable.telemetry.buckets import STEP_SECONDS
from tests.worker.flows import arithmetic, process_all


@pytest.fixture
def reader() -> Iterator[InMemoryMetricReader]:
    yield InMemoryMetricReader()


def points(reader: InMemoryMetricReader) -> dict[str, list[object]]:
    found = reader.get_metrics_data()
    assert found is not None
    return {
        metric.name: list(metric.data.data_points)
        for resource in found.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


async def test_runs_and_steps_are_counted(database: str, reader: InMemoryMetricReader) -> None:
    provider = MeterProvider([reader])
    flow = arithmetic(Counter())
    try:
        async with AsyncClient(database) as client:
            await client.begin_many(flow, [1, 2, 3])
            await process_all(Worker(database, [flow], observer=OtelObserver(provider)))
        found = points(reader)
        assert [point.value for point in found["durable.run.started"]] == [3]
        assert [dict(point.attributes) for point in found["durable.run.ended"]] == [
            {"workflow": "multi", "status": "completed"}
        ]
        assert sum(point.count for point in found["durable.step.duration"]) == 9
        assert {point.explicit_bounds for point in found["durable.step.duration"]} == {STEP_SECONDS}
    finally:
        await asyncio.to_thread(provider.shutdown)


def test_ten_thousand_functions_and_errors_make_a_bounded_number_of_series(reader: InMemoryMetricReader) -> None:
    provider = MeterProvider([reader])
    observer = OtelObserver(provider)
    for number in range(10_000):
        step = StepEnded("one", f"function{number}", "ok", 0.1)
        retry = StepRetried("one", f"function{number}", f"Error{number}")
        observer.flushed(Flushed("one", 0.1, 1, 0, 0, [step], [retry], []))
    observer.taken_over(TakenOver("one", 3, 1, 1))
    found = points(reader)
    assert sum(map(len, found.values())) <= 500
    assert {"durable.takeovers", "durable.crash_loops"} <= found.keys()
    provider.shutdown()
