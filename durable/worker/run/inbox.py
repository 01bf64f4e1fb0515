"""The events and requests that wait in memory for a run that is being executed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from durable.store.records import Event, EventKind

_Key: TypeAlias = tuple[bool, str]
"""Whether it is the end of a child, and the id. An end may take the place of something else with its id; see
``tell_parents``."""
Topic: TypeAlias = tuple[EventKind, str]
"""What a wait is for: the kind of entry, and its name or, for the end of a child, the id of the child."""


class Inbox:
    """Holds each event, and each request that the code of the run may take, once and oldest first. ``is_known`` says
    whether everything that was committed before has been loaded: until then none may be taken, or a later one could
    overtake an earlier one. Requests to the engine do not wait for that."""

    __slots__ = ("_arrived", "_by_topic", "_events", "_requests", "_taken", "is_known")

    def __init__(self) -> None:
        self._events: dict[_Key, Event] = {}
        """The ends of children are among them."""
        self._by_topic: dict[Topic, dict[str, Event]] = {}
        """The same events, by topic and id."""
        self._arrived: list[Topic] = []
        self._requests: tuple[Event, ...] = ()
        self._taken: set[_Key] = set()
        self.is_known = False

    def load(self, events: Iterable[Event]) -> None:
        """Adds all events that the database holds. Events that are here but not among those were committed later."""
        here, self._events, self._by_topic = self._events, {}, {}
        for event in (*events, *here.values()):
            self.add(event)

    def add(self, event: Event) -> None:
        """Adds an event that was committed after all those here, unless it is already here or was taken."""
        key = _key(event)
        if key in self._taken or key in self._events:
            return
        match event.kind:
            case "event" | "request" | "child":
                topic: Topic = (event.kind, event.event_id if event.kind == "child" else event.name)
                self._events[key] = event
                self._by_topic.setdefault(topic, {})[event.event_id] = event
                self._arrived.append(topic)
            case _:
                self._taken.add(key)
                self._requests += (event,)

    def all_is_loaded(self) -> None:
        """Lets events be taken."""
        self.is_known = True
        self._arrived.extend(self._by_topic)

    def take_arrived(self) -> list[Topic]:
        """Returns the topics of the events that have come since the last time, or that may be taken only now."""
        arrived, self._arrived = self._arrived, []
        return arrived

    def take(self, topic: Topic) -> Event | None:
        """Takes the end of that child or the oldest entry with that kind and name. Returns ``None`` if there is none,
        or if that cannot be known yet."""
        kind, _ = topic
        events = self._by_topic.get(topic) if kind == "child" or self.is_known else None
        if events is None:
            return None
        event = events.pop(next(iter(events)))
        if not events:
            del self._by_topic[topic]
        del self._events[_key(event)]
        self._taken.add(_key(event))
        return event

    def ids(self, topic: Topic) -> list[str]:
        """Returns the ids of the events that could be taken now, oldest first."""
        return list(self._by_topic.get(topic, ())) if self.is_known else []

    def has_end(self, child: str) -> bool:
        """Returns whether the end of that child is here."""
        return ("child", child) in self._by_topic

    def take_requests(self) -> tuple[Event, ...]:
        """Takes all requests to the engine, oldest first."""
        requests, self._requests = self._requests, ()
        return requests

    def clear(self) -> None:
        """Drops everything: the events of a parked run are found in the database again."""
        self._events.clear()
        self._by_topic.clear()
        self._arrived.clear()
        self._requests = ()
        self._taken.clear()


def _key(event: Event) -> _Key:
    return event.kind == "child", event.event_id
