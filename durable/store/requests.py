"""Requests that applications make of runs, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from durable.core.runs import RunKey, Status
from durable.store.columns import column
from durable.store.events import NewEvent
from durable.store.statement import Query, Statement, first


class FoundRequest(msgspec.Struct, frozen=True):
    """The status of the run that is asked, and the id of the request if it is there: the one that was looked for, or
    another one with its name and key."""

    status: Status
    request_id: str | None


class Moved(msgspec.Struct, frozen=True):
    """The run to which a request was moved, and the id of the request."""

    run_id: str
    event_id: str


class Heard(msgspec.Struct, frozen=True):
    """What became of a request. ``is_there``: the run has it in its inbox. ``reply`` is encoded, ``None`` if there is
    none yet; if the request ``is_refused``, it is the reason. ``status`` is that of the run; ``is_followed``: it has
    ended, and what it has not read may go to another run."""

    run_id: str
    request_id: str
    is_there: bool
    reply: str | None
    is_refused: bool
    status: Status
    is_followed: bool


_FIND_REQUEST = Query("requests/find_request", FoundRequest)
_FIND_MOVED = Query("requests/find_moved", Moved)
_LOAD_REPLIES = Query("requests/load_replies", Heard)


def find_request(request: NewEvent) -> Statement[FoundRequest | None]:
    """Reads why a request was not stored; ``None`` if there is no such run."""
    return _FIND_REQUEST.statement(_params(request.run_key, request.event_id, request.name, request.key), first)


def find_moved(run_key: RunKey, request_id: str, name: str, key: str | None) -> Statement[Moved | None]:
    """Reads to which later run a request was moved; ``None`` if it was not."""
    return _FIND_MOVED.statement(_params(run_key, request_id, name, key), first)


def load_replies(shard_value: str, requests: Sequence[tuple[str, str]]) -> Statement[Sequence[Heard]]:
    """Reads what became of requests, given by the ids of their runs and their own. Those whose run does not exist are
    missing."""
    params = {
        "shard_value": shard_value,
        "run_ids": column([run_id for run_id, _ in requests]),
        "request_ids": column([request_id for _, request_id in requests]),
    }
    return _LOAD_REPLIES.statement(params, lambda rows: rows)


def _params(run_key: RunKey, request_id: str, name: str, key: str | None) -> dict[str, Any]:
    return {
        "shard_value": run_key.workflow_name_shard,
        "run_id": run_key.run_id,
        "event_id": request_id,
        "name": name,
        "key": key,
    }
