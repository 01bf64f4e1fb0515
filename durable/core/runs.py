"""A run as seen from outside: its key, its status, its row."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from durable.core.failures import ErrorInfo

Status = Literal["queued", "running", "sleeping", "waiting_event", "paused", "completed", "failed", "cancelled"]

TERMINAL: frozenset[Status] = frozenset(("completed", "failed", "cancelled"))

StatusReason = Literal["set_aside", "suspect", "following"]
"""Why a run has its status, if the status alone does not say so. ``set_aside``: the run sleeps because its code, as
deployed on the worker that claimed it, does not match what the run has recorded; matching code will resume it.
``suspect``: several workers in a row have died while they executed the run; it will be tried apart from others.
``following``: the run starts when the run with the same key before it has ended."""

BEGINNINGS: Mapping[Status, frozenset[str]] = {
    "queued": frozenset(
        (
            "runs/begin_run",
            "runs/begin_keyed_run",
            "runs/begin_runs",
            "generations/begin_generation",
            "successors/begin_successors",
            "children/begin_children",
            "schedules/begin_scheduled_runs",
            "sequels/begin_sequels",
        )
    ),
    "sleeping": frozenset(
        (
            "runs/begin_run",
            "runs/begin_keyed_run",
            "runs/begin_runs",
            "generations/begin_generation",
            "successors/begin_successors",
            "children/begin_children",
        )
    ),
}
"""The status in which a run is inserted, and the statements that insert it: asleep if it will start later."""

TRANSITIONS: Mapping[tuple[Status, Status], frozenset[str]] = {
    ("queued", "running"): frozenset(("claims/claim_runs",)),
    ("sleeping", "running"): frozenset(("claims/claim_runs", "claims/claim_suspects")),
    ("waiting_event", "running"): frozenset(("claims/claim_runs", "claims/claim_suspects")),
    ("running", "sleeping"): frozenset(("flush/park_runs", "flush/settle_runs", "takeovers/take_over_runs")),
    ("running", "waiting_event"): frozenset(("flush/park_runs", "flush/hold_runs")),
    ("running", "queued"): frozenset(("flush/settle_runs", "chapters/begin_chapters", "takeovers/take_over_runs")),
    ("running", "completed"): frozenset(("flush/settle_runs",)),
    ("running", "failed"): frozenset(("flush/settle_runs", "takeovers/take_over_runs")),
    ("running", "cancelled"): frozenset(("flush/settle_runs",)),
    ("sleeping", "queued"): frozenset(
        (
            "routing/route_events",
            "routing/retry_runs",
            "flush/requeue_parked_runs",
            "flush/requeue_gathering_runs",
            "successors/start_followers",
            "retention/delete_orphans",
        )
    ),
    ("waiting_event", "queued"): frozenset(
        (
            "routing/route_events",
            "flush/requeue_parked_runs",
            "flush/requeue_gathering_runs",
            "flush/requeue_held_runs",
        )
    ),
    ("queued", "sleeping"): frozenset(("routing/reschedule_runs",)),
    ("running", "paused"): frozenset(("flush/settle_runs",)),
    ("queued", "paused"): frozenset(("routing/route_events",)),
    ("sleeping", "paused"): frozenset(("routing/route_events",)),
    ("waiting_event", "paused"): frozenset(("routing/route_events",)),
    ("paused", "queued"): frozenset(("routing/route_events", "flush/requeue_paused_runs")),
    ("paused", "sleeping"): frozenset(("routing/route_events",)),
    ("paused", "cancelled"): frozenset(("routing/route_events",)),
    ("queued", "cancelled"): frozenset(("routing/route_events",)),
    ("sleeping", "cancelled"): frozenset(("routing/route_events",)),
    ("waiting_event", "cancelled"): frozenset(("routing/route_events",)),
    ("failed", "queued"): frozenset(("routing/retry_runs",)),
    ("cancelled", "queued"): frozenset(("routing/retry_runs",)),
    ("cancelled", "sleeping"): frozenset(("routing/retry_runs",)),
}
"""Every change of a run's status, and the statements that make it. There are no others: while the tests run, a trigger
rejects them. The state diagram in ARCHITECTURE.md is drawn from this table."""

_SHARD_VALUE = re.compile(r".+_[0-9]{1,4}", re.DOTALL)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class RunKey(msgspec.Struct, frozen=True, order=True):
    """Names one run. Prints and parses as ``"<shard value>:<run id>"``; the run id is the text of a UUID."""

    workflow_name_shard: str
    run_id: str

    def __str__(self) -> str:
        return f"{self.workflow_name_shard}:{self.run_id}"

    @property
    def workflow_name(self) -> str:
        """The name of the workflow of which this is a run."""
        return self.workflow_name_shard.rpartition("_")[0]

    @classmethod
    def parse(cls, text: str) -> RunKey:
        """Parses what ``str`` returns. Raises ``ValueError`` for anything else."""
        if not isinstance(text, str):
            raise ValueError(f"a run key must be a str, got {type(text).__name__}")
        plain = str.__str__(text)
        shard_value, _, run_id = plain.rpartition(":")
        if not _SHARD_VALUE.fullmatch(shard_value) or not _UUID.fullmatch(run_id):
            raise ValueError(f'a run key must look like "<workflow>_<shard>:<uuid>", got {plain[:200]!r}')
        return cls(shard_value, run_id)


class RunInfo(msgspec.Struct, frozen=True):
    """The state of a run. Times are aware and by the database's clock.

    ``status_reason`` is ``"set_aside"`` while the run sleeps because the deployed code does not match it, ``"suspect"``
    while it waits to be tried apart from others because its workers keep dying, ``"following"`` while it waits for the
    end of the run with the same key before it, and ``None`` otherwise. ``error`` is the last failure, which is kept
    while the run is retried, or ``None`` if there was none. ``attempts`` counts failed attempts, and ``takeovers``
    counts the workers that died while holding the run. ``next_wake_at`` is ``None`` unless the run sleeps or waits with
    a timeout. ``is_served`` says of a queued run whether a living worker has its workflow; it is ``None`` if the run is
    not queued, or if that is not known. ``detail`` is what the workflow last set with ``ctx.set_status``, decoded
    without a declared type; ``None`` if it has not. ``chapter`` is 1, and one more each time the run has continued as
    new.
    """

    status: Status
    status_reason: StatusReason | None
    error: ErrorInfo | None
    attempts: int
    takeovers: int
    created_at: datetime
    updated_at: datetime
    next_wake_at: datetime | None
    is_served: bool | None = None
    chapter: int = 1
    detail: Any = None


class Run(msgspec.Struct, frozen=True):
    """One row of ``list_runs``: everything but the payloads. ``status_reason`` is the same as in ``RunInfo``.
    ``generation`` counts the runs that were begun before it with the same workflow and ``key``."""

    run_key: RunKey
    workflow_name: str
    version: int
    status: Status
    status_reason: StatusReason | None
    attempts: int
    takeovers: int
    priority: int
    tags: dict[str, str]
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    next_wake_at: datetime | None
    key: str | None = None
    generation: int = 0
