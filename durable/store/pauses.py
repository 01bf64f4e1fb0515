"""Workflows of which no runs are claimed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from durable.store.statement import Query, Statement


class PausedWorkflow(msgspec.Struct, frozen=True):
    """A workflow that is paused: why, in the words of who paused it (``None`` if that was not said), and since when."""

    workflow_name: str
    reason: str | None
    paused_at: datetime


class _Changed(msgspec.Struct, frozen=True):
    workflow_name: str


_PUT_PAUSE = Query("pauses/put_pause", _Changed)
_LIST_PAUSES = Query("pauses/list_pauses", PausedWorkflow)


def put_pause(workflow_name: str, reason: str | None, *, is_paused: bool) -> Statement[bool]:
    """Pauses or resumes a workflow; answers whether that has changed anything."""
    params = {"workflow_name": workflow_name, "paused": is_paused, "reason": reason}
    return _PUT_PAUSE.statement(params, bool)


def list_pauses() -> Statement[list[PausedWorkflow]]:
    """Reads which workflows are paused."""
    return _LIST_PAUSES.statement({}, list)


def paused_names(pauses: Sequence[PausedWorkflow]) -> frozenset[str]:
    """Returns the names of these workflows."""
    return frozenset(pause.workflow_name for pause in pauses)
