"""The events that wait in memory for a run that is being executed."""

from __future__ import annotations

from collections.abc import Iterable

from durable.store.records import Event


class Inbox:
    """Oldest first, each event once. ``is_known`` says whether all that was committed before has been loaded: until
    then no event may be taken, or a later one could overtake an earlier one. Requests do not wait for that."""

    __slots__ = ("_ends", "_events", "_requests", "_seen", "is_known")

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._ends: dict[str, Event] = {}
        self._requests: list[Event] = []
        self._seen: set[str] = set()
        self.is_known = False

    def load(self, events: Iterable[Event]) -> None:
        """Takes over all that the database holds. What is here and not among it was committed later."""
        here = {event.event_id: event for event in self._events}
        self._events = []
        for event in events:
            if here.pop(event.event_id, None) is not None:
                self._events.append(event)
            else:
                self.add(event)
        self._events += here.values()

    def add(self, event: Event) -> None:
        """Adds one that was committed after all that are here, unless it is here or was taken."""
        if event.event_id in self._seen:
            return
        self._seen.add(event.event_id)
        match event.kind:
            case "event":
                self._events.append(event)
            case "child":
                self._ends[event.event_id] = event
            case _:
                self._requests.append(event)

    def take(self, name: str) -> Event | None:
        """The oldest event of that name, ``None`` if there is none or it cannot be told."""
        if self.is_known:
            for index, event in enumerate(self._events):
                if event.name == name:
                    return self._events.pop(index)
        return None

    def take_end(self, run_id: str) -> Event | None:
        """The end of that child, ``None`` if it is not known to have ended."""
        return self._ends.pop(run_id, None)

    def take_requests(self) -> list[Event]:
        """All requests, oldest first."""
        requests, self._requests = self._requests, []
        return requests

    def clear(self) -> None:
        """A parked run's events are found in the database again."""
        self._events.clear()
        self._ends.clear()
        self._requests.clear()
        self._seen.clear()
