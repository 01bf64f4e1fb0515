"""What moves from one run to another, if its codec binds what it writes to the run that it is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from durable.core.codec.json_codec import Codec
from durable.core.codec.places import moved
from durable.core.generations import Bequest, read_next
from durable.store.columns import column
from durable.store.records import Event
from durable.store.statement import NoRow, Query, Statement, nothing

_REPLACE_PAYLOADS = Query("successors/replace_payloads", NoRow)


def moved_bequest(codec: Codec, bequest: Bequest, run_id: str, successor_id: str) -> Bequest:
    """Returns the same with its input encoded for the other run."""
    text = moved(codec, "input", "", run_id, successor_id, bytes(bequest.input).decode())
    return msgspec.structs.replace(bequest, input=msgspec.Raw(text.encode()))


def replace_payloads(
    shard_value: str,
    codec: Codec,
    successors: Mapping[str, str],
    events: Sequence[Event],
    entries: Sequence[tuple[str, str, str]],
) -> Statement[None]:
    """Encodes what was moved from each run to its successor once more. ``entries`` are the ids of runs and of their
    entries of the kind ``next``, and the payloads of these."""
    changed: list[tuple[str, str, str]] = []
    for event in events:
        successor_id = successors.get(event.run_id)
        if successor_id is not None and (event.kind == "event" or event.kind == "request"):
            text = moved(codec, event.kind, event.name, event.run_id, successor_id, event.payload)
            changed.append((successor_id, event.event_id, text))
    for run_id, event_id, payload in entries:
        bequest, successor_id = read_next(payload), successors.get(run_id)
        if successor_id is not None and isinstance(bequest, Bequest):
            changed.append((successor_id, event_id, moved_bequest(codec, bequest, run_id, successor_id).text))
    params = {
        "shard_value": shard_value,
        "run_ids": column([run_id for run_id, _, _ in changed]),
        "event_ids": column([event_id for _, event_id, _ in changed]),
        "payloads": column([payload for _, _, payload in changed]),
    }
    return _REPLACE_PAYLOADS.statement(params, nothing)
