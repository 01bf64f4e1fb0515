"""The open waits of a run that is being executed, the timers that may end them, and the run's deadline."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from heapq import heappop, heappush
from typing import TypeAlias, cast

from durable.core.errors import unreachable
from durable.core.replay.commands import Execute, Sleep, Wait, WaitChild, WaitEvent, WaitEvents, WaitRequest
from durable.core.replay.history import OpenWait
from durable.core.runs import RunKey
from durable.store.records import Event, OpenedWait
from durable.worker.clock import Clock, Timer
from durable.worker.run.inbox import Inbox, Topic

Waiting: TypeAlias = Wait | Execute
"""A step is among them while it waits for its next try."""

_SHORTLY = 1.0
"""Seconds for which a run stays here while it gathers events."""
_MAX_GATHERED = 16 * 1024 * 1024
"""Characters of the payloads that one wait takes, if it takes more than one event."""


class OpenWaits:
    """A parked run has no timers; it is woken instead. As with the steps, nothing here refers back to the run."""

    __slots__ = (
        "_age",
        "_answerable",
        "_clock",
        "_deadline",
        "_gathering",
        "_looked_for",
        "_open",
        "_opened",
        "_overdue",
        "_timers",
        "_waiting",
    )

    def __init__(self, clock: Clock, history: Iterable[OpenWait] = ()) -> None:
        self._clock = clock
        self._gathering = {wait.key for wait in history if wait.is_gathering}
        """The waits for several events of which the first has come."""
        self._open: dict[str, Waiting] = {}
        self._opened = 0
        self._waiting: dict[Topic, dict[str, int]] = {}
        """The keys of the open waits for a topic, each with its place in the order in which waits were opened."""
        self._answerable: list[tuple[int, Topic]] = []
        """A heap of the places of waits for which something may be in the inbox."""
        self._timers: dict[str, Timer] = {}
        self._deadline: Timer | None = None
        self._age: Timer | None = None
        self._overdue: tuple[str, ...] = ()
        self._looked_for: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self._open)

    def open(self, call: Waiting) -> None:
        """Opens a wait: from now on, events and timers may end it."""
        self._open[call.key] = call
        topic = _topic(call)
        if topic is not None:
            self._opened += 1
            self._waiting.setdefault(topic, {})[call.key] = self._opened
            heappush(self._answerable, (self._opened, topic))

    def get(self, key: str) -> Waiting | None:
        """Returns the open wait with that key, ``None`` if there is none."""
        return self._open.get(key)

    def held_children(self) -> list[RunKey]:
        """Returns the children for whose ends a cancel of the run is held."""
        return [call.run_key for call in self._open.values() if isinstance(call, WaitChild) and call.is_held]

    def close(self, key: str) -> None:
        """Ends a wait, if it is open."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        call = self._open.pop(key, None)
        topic = None if call is None else _topic(call)
        if topic is not None:
            waiting = self._waiting[topic]
            del waiting[key]
            if not waiting:
                del self._waiting[topic]
            elif isinstance(call, WaitEvents):  # what it has not taken is for the next one
                self._may_be_answered(topic)
        self._gathering.discard(key)

    def next_arrival(self, inbox: Inbox) -> tuple[WaitEvent | WaitChild, list[Event]] | None:
        """Returns an open wait whose event is in the inbox, together with that event, which is taken from the inbox. If
        there are several such waits, it is the one that was opened first. The wait must be closed then.

        A wait for several events is returned with all of them; and once before that, without any, when the first has
        come, so that its time can be limited."""
        for topic in inbox.take_arrived():
            self._may_be_answered(topic)
        while self._answerable:
            place, topic = heappop(self._answerable)
            if topic not in self._waiting:
                continue
            key, first = next(iter(self._waiting[topic].items()))
            if place != first:
                heappush(self._answerable, (first, topic))
            elif isinstance(call := self._open[key], WaitEvents):
                count = len(inbox.ids(topic))
                if count >= call.max or (count and call.within == 0):
                    heappush(self._answerable, (place, topic))
                    return call, self._take(call, topic, inbox)
                if count and key not in self._gathering:
                    self._gathering.add(key)
                    heappush(self._answerable, (place, topic))
                    return call, []
            elif (event := inbox.take(topic)) is not None:
                heappush(self._answerable, (place, topic))  # there may be more, for the next wait
                return cast("WaitEvent | WaitChild", call), [event]
        return None

    def take_gathered(self, call: WaitEvents, inbox: Inbox) -> list[Event]:
        """Takes what has come for a wait for several events whose time is over. Nothing has if another wait for the
        same comes before it. The wait must be closed then."""
        topic = _topic(call)
        if topic is None or next(iter(self._waiting[topic])) != call.key:
            return []
        return self._take(call, topic, inbox)

    def _take(self, call: WaitEvents, topic: Topic, inbox: Inbox) -> list[Event]:
        taken: list[Event] = []
        size = 0
        while len(taken) < call.max and size < _MAX_GATHERED and (event := inbox.take(topic)) is not None:
            taken.append(event)
            size += len(event.payload)
        return taken

    def gathered(self, inbox: Inbox) -> tuple[str, ...]:
        """Returns the ids of the events for which waits are open that wait for more."""
        topics = {topic for call in self._gathering_calls() if (topic := _topic(call)) is not None}
        return tuple(event_id for topic in topics for event_id in inbox.ids(topic))

    @property
    def are_gathering_shortly(self) -> bool:
        """Whether a wait gathers events for so short a time that its run need not leave meanwhile."""
        return any(call.within <= _SHORTLY for call in self._gathering_calls())

    def _gathering_calls(self) -> list[WaitEvents]:
        calls = (self._open.get(key) for key in self._gathering)
        return [call for call in calls if isinstance(call, WaitEvents)]

    def _may_be_answered(self, topic: Topic) -> None:
        if topic in self._waiting:
            heappush(self._answerable, (next(iter(self._waiting[topic].values())), topic))

    def start_timer(self, key: str, delay: float, fired: Callable[[str], None]) -> None:
        """Calls ``fired`` with the wait's key after that many seconds by the local clock, unless the wait already has a
        timer."""
        if key in self._open and key not in self._timers:
            self._timers[key] = self._clock.call_later(max(delay, 0.0), fired, key)

    def restart_timer(self, key: str, delay: float, fired: Callable[[str], None]) -> None:
        """Does the same as ``start_timer``, but in place of the timer that the wait already has."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        self.start_timer(key, delay, fired)

    def start_timers(self, opened: Iterable[OpenedWait], now: datetime, fired: Callable[[str], None]) -> None:
        """Does the same as ``start_timer`` for waits that have just begun."""
        for wait in opened:
            delay = wait.wake_in if wait.until is None else (wait.until - now).total_seconds()
            if delay is not None:
                self.start_timer(wait.key, delay, fired)

    def await_inbox(self, key: str) -> None:
        """Notes that the wait's time is over. An event that was published before still counts, although this worker may
        not have been notified of it yet."""
        self._timers.pop(key, None)
        self._overdue += (key,)

    def inbox_is_asked_for(self) -> None:
        """Notes that the next inbox to be loaded holds whatever was published in time to the overdue waits."""
        self._overdue, self._looked_for = (), self._overdue

    def overdue(self) -> tuple[str, ...]:
        """Returns the waits that found nothing in the inbox that was just loaded."""
        keys, self._looked_for = self._looked_for, ()
        return keys

    def set_deadline(self, delay: float, passed: Callable[[], None]) -> None:
        """Calls ``passed`` after that many seconds, unless the timers are stopped first."""
        self._deadline = self._clock.call_later(delay, passed)

    def when_older(self, delay: float, older: Callable[[], None]) -> None:
        """Calls ``older`` after that many seconds, once for all that ask meanwhile."""
        if self._age is None:
            self._age = self._clock.call_later(delay, older)

    def are_older(self) -> None:
        """Notes that ``older`` was called."""
        self._age = None

    def stop_timers(self) -> None:
        """Stops all timers and leaves the waits open."""
        self._overdue = self._looked_for = ()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        if self._age is not None:
            self._age.cancel()
            self._age = None
        if self._deadline is not None:
            self._deadline.cancel()


def _topic(call: Waiting) -> Topic | None:
    topic: Topic | None
    match call:
        case WaitRequest():
            topic = "request", call.event_name
        case WaitEvent():
            topic = "event", call.event_name
        case WaitChild():
            topic = "child", call.run_key.run_id
        case Sleep() | Execute():
            topic = None
        case _:
            unreachable(call)
    return topic
