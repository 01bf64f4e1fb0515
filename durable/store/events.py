"""The inbox of a run: what applications send to the run, and what the run finds there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from durable.core.runs import RunKey, Status
from durable.store.columns import column
from durable.store.records import Event, EventKind
from durable.store.statement import Query, Statement, first


class NewEvent(msgspec.Struct, frozen=True):
    """An event about to be published, or a request about to be made; ``payload`` is encoded."""

    run_key: RunKey
    event_id: str
    name: str
    payload: str
    key: str | None = None
    kind: EventKind = "event"


class Unpublished(msgspec.Struct, frozen=True):
    """The status of the run that an event was meant for, and whether the event is stored after all: this very one if
    ``is_same``, by an earlier try, and otherwise another one with its key. ``is_replaced``: there is a newer run with
    the key of that run."""

    status: Status
    is_stored: bool
    is_same: bool
    is_replaced: bool


class _EventId(msgspec.Struct, frozen=True):
    event_id: str


_PUBLISH_EVENT = Query("events/publish_event", _EventId)
_REQUEST_RESUME = Query("events/request_resume", _EventId)
_REQUEST_RESCHEDULE = Query("events/request_reschedule", _EventId)
_REQUEST_RETRY = Query("events/request_retry", _EventId)
_WHY_NOT_PUBLISHED = Query("events/why_not_published", Unpublished)
_LOAD_EVENTS = Query("events/load_events", Event)


def publish_event(event: NewEvent) -> Statement[bool]:
    """Stores an event or a request; answers whether it was stored now."""
    return _PUBLISH_EVENT.statement({**_params(event), "payload": event.payload}, bool)


def request_resume(request: NewEvent) -> Statement[bool]:
    """Stores the request if the run is paused, or is about to be; answers whether it was stored."""
    return _requested(_REQUEST_RESUME, request)


def request_reschedule(request: NewEvent) -> Statement[bool]:
    """Stores the request if the run waits for a time or to be claimed; answers whether it was stored."""
    return _requested(_REQUEST_RESCHEDULE, request)


def request_retry(request: NewEvent) -> Statement[bool]:
    """Stores the request if the run has failed or been cancelled, or is set aside; answers whether it was stored."""
    return _requested(_REQUEST_RETRY, request)


def why_not_published(event: NewEvent) -> Statement[Unpublished | None]:
    """Reads why an event was not stored; ``None`` if there is no such run."""
    return _WHY_NOT_PUBLISHED.statement(_params(event), first)


def load_events(shard_value: str, run_ids: Sequence[str]) -> Statement[Sequence[Event]]:
    """Reads what is in the inboxes of these runs, oldest first."""
    params = {"shard_value": shard_value, "run_ids": column(run_ids)}
    return _LOAD_EVENTS.statement(params, lambda events: events)


def _params(event: NewEvent) -> dict[str, Any]:
    return {
        "shard_value": event.run_key.workflow_name_shard,
        "run_id": event.run_key.run_id,
        "event_id": event.event_id,
        "kind": event.kind,
        "name": event.name,
        "key": event.key,
    }


def _requested(query: Query[_EventId], request: NewEvent) -> Statement[bool]:
    params = {**_params(request), "payload": request.payload}
    del params["key"]
    return query.statement(params, bool)
