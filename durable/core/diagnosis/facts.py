"""What must be known about a run in order to say why it is not moving."""

from __future__ import annotations

from datetime import datetime

import msgspec

from durable.core.failures import ErrorInfo
from durable.core.runs import RunKey, Status


class RunFacts(msgspec.Struct, frozen=True):
    """The row of a run, and what the database says about itself. All moments are by the database's clock, of which
    ``now`` is the time of the look. ``paused_at`` is since when its workflow is paused, if it is."""

    workflow_name: str
    version: int
    status: Status
    attempts: int
    takeovers: int
    set_asides: int
    isolation: str | None
    worker_id: str | None
    next_wake_at: datetime | None
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    deadline_at: datetime | None
    follows: str | None
    now: datetime
    paused_at: datetime | None
    is_standby: bool
    schema_version: int


class WaitFacts(msgspec.Struct, frozen=True):
    """An open wait, or the tries of a step: ``kind`` is its ``wait_type``, and ``name`` is the event that it waits for,
    or the function of the step."""

    key: str
    kind: str
    name: str | None
    wake_at: datetime | None
    created_at: datetime
    child: RunKey | None


class InboxFacts(msgspec.Struct, frozen=True):
    """An entry of the inbox that nothing has consumed, or an event that another wait has."""

    kind: str
    name: str
    created_at: datetime
    is_routed: bool
    consumed_by: str | None


class WorkerFacts(msgspec.Struct, frozen=True):
    """A worker that is registered. ``silent_for`` is the time since its last sign of life, and ``lease`` how long that
    may be, both in seconds. ``is_locked`` says whether it holds its session lock; ``None`` behind a transaction pooler.
    ``concurrency`` is how many runs of the workflow it executes at once, ``None`` if it has not said so, and
    ``running`` is how many it executes now."""

    worker_id: str
    hostname: str
    process_id: int
    workflows: list[str]
    lease: float
    silent_for: float
    is_locked: bool | None
    version: int | None
    concurrency: int | None
    running: int

    @property
    def place(self) -> str:
        """Where it runs, for people."""
        return f"process {self.process_id} on {self.hostname}"


class LockFacts(msgspec.Struct, frozen=True):
    """A transaction that has locked the run's row: what is known of its session, ``None`` where it may not be seen, or
    where the transaction is prepared and has none."""

    process_id: int | None
    user: str | None
    application: str | None
    state: str | None
    began_at: datetime | None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known about a run. ``ahead`` is how many runs of its queue go first, ``None`` if it is not
    queued; above 10,000 they are not counted. ``error`` is ``None`` if there is none or it may not be read.
    ``children`` are those whose end it waits for."""

    run_key: RunKey
    run: RunFacts
    waits: tuple[WaitFacts, ...] = ()
    inbox: tuple[InboxFacts, ...] = ()
    workers: tuple[WorkerFacts, ...] = ()
    locks: tuple[LockFacts, ...] = ()
    ahead: int | None = None
    error: ErrorInfo | None = None
    children: tuple[Facts, ...] = ()
