"""The events that wait in memory for a run that is being executed."""

from __future__ import annotations

from collections.abc import Iterable

from durable.store.records import Event


class Inbox:
    """Holds each event once, oldest first. ``is_known`` says whether everything that was committed before has been
    loaded: until then no event may be taken, or a later one could overtake an earlier one. Requests do not wait for
    that."""

    __slots__ = ("_events", "_requests", "_taken", "is_known")

    def __init__(self) -> None:
        self._events: dict[str, Event] = {}
        """By id; the ends of children are among them."""
        self._requests: tuple[Event, ...] = ()
        self._taken: set[str] = set()
        self.is_known = False

    def load(self, events: Iterable[Event]) -> None:
        """Adds all events that the database holds. Events that are here but not among those were committed later."""
        here, self._events = self._events, {}
        for event in events:
            self.add(event)
        self._events |= {event_id: event for event_id, event in here.items() if event_id not in self._events}

    def add(self, event: Event) -> None:
        """Adds an event that was committed after all those here, unless it is already here or was taken."""
        if event.event_id in self._taken or event.event_id in self._events:
            return
        match event.kind:
            case "event" | "child":
                self._events[event.event_id] = event
            case _:
                self._taken.add(event.event_id)
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
        event = self._events.get(run_id)
        return self._take(event) if event is not None and event.kind == "child" else None

    def _take(self, event: Event) -> Event:
        del self._events[event.event_id]
        self._taken.add(event.event_id)
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
