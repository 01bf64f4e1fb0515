"""A run as others see it: its key, its status, its row."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Literal

import msgspec

from durable.core.failures import ErrorInfo

Status = Literal["queued", "running", "sleeping", "waiting_event", "completed", "failed", "cancelled"]

TERMINAL: frozenset[Status] = frozenset(("completed", "failed", "cancelled"))


_SHARD_VALUE = re.compile(r".+_[0-9]{1,4}", re.DOTALL)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class RunKey(msgspec.Struct, frozen=True, order=True):
    """Names one run. Prints and parses as ``"<shard value>:<run id>"``; the run id is the text of a UUID."""

    workflow_name_shard: str
    run_id: str

    def __str__(self) -> str:
        return f"{self.workflow_name_shard}:{self.run_id}"

    @classmethod
    def parse(cls, text: str) -> RunKey:
        """The inverse of ``str``. Raises ``ValueError`` for anything else."""
        if not isinstance(text, str):
            raise ValueError(f"a run key is text, got {type(text).__name__}")
        plain = str.__str__(text)
        shard_value, _, run_id = plain.rpartition(":")
        if not _SHARD_VALUE.fullmatch(shard_value) or not _UUID.fullmatch(run_id):
            raise ValueError(f'a run key looks like "<workflow>_<shard>:<uuid>", got {plain[:200]!r}')
        return cls(shard_value, run_id)


class RunStatus(msgspec.Struct, frozen=True):
    """Where a run stands. Times are aware, by the database's clock.

    ``error`` is the last failure, kept while the run is retried, ``None`` if there was none. ``attempts`` counts failed
    attempts, ``takeovers`` the workers that died holding the run. ``next_wake_at`` is ``None`` unless the run sleeps or
    waits with a timeout. ``detail`` is what the workflow last set as its status.
    """

    status: Status
    error: ErrorInfo | None
    attempts: int
    takeovers: int
    created_at: datetime
    updated_at: datetime
    next_wake_at: datetime | None
    detail: Any


class Run(msgspec.Struct, frozen=True):
    """One row of ``list_runs``: everything but the payloads."""

    run_key: RunKey
    workflow_name: str
    version: int
    status: Status
    attempts: int
    takeovers: int
    priority: int
    tags: dict[str, str]
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    next_wake_at: datetime | None
