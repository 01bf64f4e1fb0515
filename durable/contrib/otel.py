"""Counts what a worker does for OpenTelemetry: ``Worker(…, observer=OtelObserver())``. Needs the extra ``otel``."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.metrics import Histogram, MeterProvider, get_meter

from durable.telemetry.buckets import FLUSH_RECORDS, FLUSH_SECONDS, STEP_SECONDS
from durable.telemetry.labels import Labels
from durable.telemetry.observer import Claimed, Flushed, Observer, TakenOver


class OtelObserver(Observer):
    """Records metrics with the given provider, or with the global one, which may also be set later. Attributes are the
    names of workflows and functions and of classes of errors, of which at most 100 are told apart; never keys."""

    def __init__(self, meter_provider: MeterProvider | None = None) -> None:
        meter = get_meter("durable", meter_provider=meter_provider)
        self._functions, self._errors = Labels(), Labels()
        self._started = meter.create_counter("durable.run.started", "{run}", "Runs claimed for the first time.")
        self._ended = meter.create_counter("durable.run.ended", "{run}", "Runs that have ended on a worker.")
        self._set_asides = meter.create_counter(
            "durable.run.set_asides", "{run}", "Runs that left because the code did not match."
        )
        self._replays = meter.create_counter("durable.run.replays", "{run}", "Runs executed again from the top.")
        self._memos = meter.create_counter("durable.replay.memos", "{memo}", "Memos that replays went through.")
        self._retries = meter.create_counter("durable.step.retries", "{try}", "Failed tries that are repeated.")
        self._fenced = meter.create_counter(
            "durable.writes.fenced", "{record}", "Records of runs that belonged to another worker."
        )
        self._takeovers = meter.create_counter(
            "durable.takeovers", "{run}", "Runs taken over from workers that were gone."
        )
        self._crash_loops = meter.create_counter(
            "durable.crash_loops", "{run}", "Runs that failed because workers died with them."
        )

        def histogram(name: str, unit: str, text: str, buckets: Sequence[float]) -> Histogram:
            # The default buckets are meant for milliseconds.
            return meter.create_histogram(name, unit, text, explicit_bucket_boundaries_advisory=buckets)

        self._steps = histogram("durable.step.duration", "s", "Steps, all tries included.", STEP_SECONDS)
        self._flushes = histogram("durable.flush.duration", "s", "Flushes that were acknowledged.", FLUSH_SECONDS)
        self._records = histogram("durable.flush.records", "{record}", "Records in one flush.", FLUSH_RECORDS)

    def claimed(self, told: Claimed) -> None:
        """Counts beginnings and replays."""
        attributes = {"workflow": told.workflow}
        if told.started:
            self._started.add(told.started, attributes)
        if told.replayed:
            self._replays.add(told.replayed, attributes)
            self._memos.add(told.memos, attributes)

    def flushed(self, told: Flushed) -> None:
        """Counts what was written."""
        self._flushes.record(told.seconds)
        self._records.record(told.records)
        if told.fenced:
            self._fenced.add(told.fenced, {"workflow": told.workflow})
        if told.set_asides:
            self._set_asides.add(told.set_asides, {"workflow": told.workflow})
        for step in told.steps:
            function = self._functions.bounded(step.function)
            self._steps.record(step.seconds, {"workflow": step.workflow, "fn": function, "outcome": step.outcome})
        for retry in told.retries:
            function, error = self._functions.bounded(retry.function), self._errors.bounded(retry.error)
            self._retries.add(1, {"workflow": retry.workflow, "fn": function, "error.type": error})
        for run in told.ended:
            self._ended.add(1, {"workflow": run.workflow, "status": run.status})

    def taken_over(self, told: TakenOver) -> None:
        """Counts takeovers."""
        self._takeovers.add(told.runs, {"workflow": told.workflow})
        if told.crash_loops:
            self._crash_loops.add(told.crash_loops, {"workflow": told.workflow})
