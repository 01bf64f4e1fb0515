"""The events that wait in memory for a run that is being executed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from durable.store.records import Event

_Key: TypeAlias = tuple[bool, str]
"""Whether it is the end of a child, and the id. An end may take the place of something else with its id; see
``tell_parents``."""


class Inbox:
    """Holds each event once, oldest first. ``is_known`` says whether everything that was committed before has been
    loaded: until then no event may be taken, or a later one could overtake an earlier one. Requests do not wait for
    that."""

    __slots__ = ("_events", "_requests", "_taken", "is_known")

    def __init__(self) -> None:
        self._events: dict[_Key, Event] = {}
        """The ends of children are among them."""
        self._requests: tuple[Event, ...] = ()
        self._taken: set[_Key] = set()
        self.is_known = False

    def load(self, events: Iterable[Event]) -> None:
        """Adds all events that the database holds. Events that are here but not among those were committed later."""
        here, self._events = self._events, {}
        for event in events:
            self.add(event)
        self._events |= {key: event for key, event in here.items() if key not in self._events}

    def add(self, event: Event) -> None:
        """Adds an event that was committed after all those here, unless it is already here or was taken."""
        key = _key(event)
        if key in self._taken or key in self._events:
            return
        match event.kind:
            case "event" | "child":
                self._events[key] = event
            case _:
                self._taken.add(key)
                self._requests += (event,)

    def take(self, name: str) -> Event | None:
        """Takes the oldest event with that name. Returns ``None`` if there is none, or if that cannot be known yet."""
        if self.is_known:
            for event in self._events.values():
                if event.name == name and event.kind == "event":
                    return self._take(event)
        return None

    def take_end(self, run_id: str) -> Event | None:
        """Takes the end of that child. Returns ``None`` if the child is not known to have ended."""
        event = self._events.get((True, run_id))
        return None if event is None else self._take(event)

    def _take(self, event: Event) -> Event:
        del self._events[_key(event)]
        self._taken.add(_key(event))
        return event

    def take_requests(self) -> tuple[Event, ...]:
        """Takes all requests, oldest first."""
        requests, self._requests = self._requests, ()
        return requests

    def clear(self) -> None:
        """Drops everything: the events of a parked run are found in the database again."""
        self._events.clear()
        self._requests = ()
        self._taken.clear()


def _key(event: Event) -> _Key:
    return event.kind == "child", event.event_id
