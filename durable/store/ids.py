"""The ids under which rows are inserted: UUIDs that sort by the time they were made, and UUIDs derived from a key."""

from __future__ import annotations

import secrets
import threading
import time
from uuid import UUID, uuid5

import msgspec
import uuid6

from durable.core.runs import RunKey

_SEQUELS = UUID("0c7e2f5b-52e4-4f0c-8f7e-6b1f0f6c3a92")


class _Clock:
    """Ticks of 1/4096 ms since 1970, all different within this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def tick(self) -> int:
        with self._lock:
            self._last = max(self._last + 1, (time.time_ns() << 12) // 1_000_000)
            return self._last


_clock = _Clock()


def uuid7() -> uuid6.UUID:
    """Returns a version 7 UUID that is greater than every one made before in this process.

    ``uuid6.uuid7`` is not used because it moves a whole millisecond ahead for each id that falls into the same one: ten
    thousand runs begun at once would carry ids up to ten seconds in the future. Here the twelve bits below the
    millisecond count too.
    """
    ticks = _clock.tick()
    return uuid6.UUID(int=(ticks >> 12) << 80 | (ticks & 0xFFF) << 64 | secrets.randbits(62), version=7)


def child_run_id(parent_run_id: str) -> str:
    """Returns a new id for a child of that run. Its end is stored under it in the inbox of the parent, where no
    application may insert an id like this (the check ``events_sent``)."""
    return str(_reserved(uuid7(), parent_run_id))


def cancel_id(parent_run_id: str, child_run_id: str) -> str:
    """Returns the id of the request by which that parent cancels that child: always the same, so that a parent asks
    each child once, however often it is replayed. It is reserved like the ids of ``child_run_id``."""
    return str(_reserved(UUID(parent_run_id), child_run_id))


def _reserved(base: UUID, run_id: str) -> UUID:
    """Returns an id for the inbox of that run like ``base``, but with version 8 and a last byte that is one more than
    the run's. The last byte tells the children of a run from its parent: workers of version 6 of the schema store a
    parent's request under the parent's own id, and it must not be refused if that parent is itself a child."""
    last = (UUID(run_id).int + 1) & 0xFF
    return UUID(int=base.int & ~(0xF << 76 | 0xFF) | 8 << 76 | last)


def id_of_part(call_id: str, part: str) -> str:
    """Returns the id of something that the call with that id stores: the same each time that the call is repeated."""
    return str(uuid5(UUID(call_id), part))


def sequel_run_id(ended: RunKey, cause: str) -> str:
    """Returns the id of the run that begins because that one has ended: the same for the same cause of its end."""
    return str(uuid5(_SEQUELS, msgspec.json.encode((str(ended), cause)).decode()))
