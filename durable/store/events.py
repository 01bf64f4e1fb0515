"""What applications send to runs: events and requests."""

from __future__ import annotations

from typing import Any

import msgspec

from durable.core.runs import RunKey, Status
from durable.store.queries import query
from durable.store.records import EventKind
from durable.store.statement import Statement


class NewEvent(msgspec.Struct, frozen=True):
    """An event about to be published, or a request about to be made; ``payload`` is encoded."""

    run_key: RunKey
    event_id: str
    name: str
    payload: str
    key: str | None = None
    kind: EventKind = "event"


def publish_event(schema: str, event: NewEvent) -> Statement[bool]:
    """Whether the event was stored now."""
    return Statement(query("events/publish_event", schema), _event_params(event), bool)


def request_retry(schema: str, request: NewEvent) -> Statement[bool]:
    """Whether the request was stored: the run had failed or been cancelled."""
    params = _event_params(request)
    del params["key"]
    return Statement(query("events/request_retry", schema), params, bool)


def why_not_published(schema: str, event: NewEvent) -> Statement[tuple[Status, bool] | None]:
    """The status of the run and whether the event is stored; ``None``: no such run."""
    params = _event_params(event)
    del params["payload"], params["kind"]
    return Statement(
        query("events/why_not_published", schema), params, lambda rows: (rows[0][0], rows[0][1]) if rows else None
    )


def _event_params(event: NewEvent) -> dict[str, Any]:
    return {
        "shard_value": event.run_key.workflow_name_shard,
        "run_id": event.run_key.run_id,
        "event_id": event.event_id,
        "kind": event.kind,
        "name": event.name,
        "key": event.key,
        "payload": event.payload,
    }
