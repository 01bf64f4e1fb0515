"""Counts what a worker does for Prometheus: ``Worker(…, observer=PrometheusObserver())``. Needs the extra
``prometheus``."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

from durable.telemetry.buckets import FLUSH_RECORDS, FLUSH_SECONDS, STEP_SECONDS
from durable.telemetry.labels import Labels
from durable.telemetry.observer import Claimed, Flushed, Observer, TakenOver


class PrometheusObserver(Observer):
    """Registers its metrics with ``registry`` at once, so a process needs one observer, which several workers may
    share. Labels are the names of workflows and functions and of classes of errors, of which at most 100 are told
    apart; never keys."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._functions, self._errors = Labels(), Labels()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"durable_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"durable_{name}", text, labels, registry=registry, buckets=buckets)

        self._started = counter("run_started", "Runs claimed for the first time.", "workflow")
        self._ended = counter("run_ended", "Runs that have ended on a worker.", "workflow", "status")
        self._set_asides = counter("run_set_asides", "Runs that left because the code did not match.", "workflow")
        self._replays = counter("run_replays", "Runs executed again from the top.", "workflow")
        self._memos = counter("replay_memos", "Memos that replays went through.", "workflow")
        self._retries = counter("step_retries", "Failed tries that are repeated.", "workflow", "fn", "error_type")
        self._fenced = counter("writes_fenced", "Records of runs that belonged to another worker.", "workflow")
        self._takeovers = counter("takeovers", "Runs taken over from workers that were gone.", "workflow")
        self._crash_loops = counter("crash_loops", "Runs that failed because workers died with them.", "workflow")
        labels = ("workflow", "fn", "outcome")
        self._steps = histogram("step_duration_seconds", "Steps, all tries included.", STEP_SECONDS, *labels)
        self._flushes = histogram("flush_duration_seconds", "Flushes that were acknowledged.", FLUSH_SECONDS)
        self._records = histogram("flush_records", "Records in one flush.", FLUSH_RECORDS)

    def claimed(self, told: Claimed) -> None:
        """Counts beginnings and replays."""
        if told.started:
            self._started.labels(told.workflow).inc(told.started)
        if told.replayed:
            self._replays.labels(told.workflow).inc(told.replayed)
            self._memos.labels(told.workflow).inc(told.memos)

    def flushed(self, told: Flushed) -> None:
        """Counts what was written."""
        self._flushes.observe(told.seconds)
        self._records.observe(told.records)
        if told.fenced:
            self._fenced.labels(told.workflow).inc(told.fenced)
        if told.set_asides:
            self._set_asides.labels(told.workflow).inc(told.set_asides)
        for step in told.steps:
            function = self._functions.bounded(step.function)
            self._steps.labels(step.workflow, function, step.outcome).observe(step.seconds)
        for retry in told.retries:
            function, error = self._functions.bounded(retry.function), self._errors.bounded(retry.error)
            self._retries.labels(retry.workflow, function, error).inc()
        for run in told.ended:
            self._ended.labels(run.workflow, run.status).inc()

    def taken_over(self, told: TakenOver) -> None:
        """Counts takeovers."""
        self._takeovers.labels(told.workflow).inc(told.runs)
        if told.crash_loops:
            self._crash_loops.labels(told.workflow).inc(told.crash_loops)
