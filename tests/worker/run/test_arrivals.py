"""Which wait an event ends: the one that was opened first, among those for which something is in the inbox."""

from __future__ import annotations

from typing import Any, Literal

from hypothesis import given
from hypothesis import strategies as st

from durable.core.codec.json_codec import JsonCodec
from durable.core.replay.commands import Sleep, Wait, WaitChild, WaitEvent, WaitEvents
from durable.core.runs import RunKey
from durable.store.records import Event
from durable.worker.clock import Clock
from durable.worker.run.inbox import Inbox
from durable.worker.run.waits import OpenWaits

TOPICS = "abc"


class Model:
    """The same by looking through everything."""

    def __init__(self) -> None:
        self.waits: list[Wait] = []
        self.events: list[Event] = []
        self.is_known = False
        self.gathering: set[str] = set()

    def next_arrival(self) -> tuple[str, list[str]] | None:
        gathered: set[str] = set()
        for call in self.waits:
            ids = [one.event_id for one in self.events if self._is_for(call, one)]
            if isinstance(call, WaitEvents):
                if ids and call.event_name not in gathered:
                    if len(ids) >= call.max:
                        return self._met(call, ids[: call.max])
                    if call.key not in self.gathering:
                        self.gathering.add(call.key)
                        return call.key, []
                gathered.add(call.event_name)
            elif ids and not (isinstance(call, WaitEvent) and call.event_name in gathered):
                return self._met(call, ids[:1])
        return None

    def _is_for(self, call: Wait, event: Event) -> bool:
        if isinstance(call, WaitEvent):
            return self.is_known and event.kind == "event" and event.name == call.event_name
        return isinstance(call, WaitChild) and event.kind == "child" and event.event_id == call.run_key.run_id

    def _met(self, call: Wait, ids: list[str]) -> tuple[str, list[str]]:
        self.waits.remove(call)
        self.events = [one for one in self.events if one.event_id not in ids]
        return call.key, ids

    def take_gathered(self, call: WaitEvents) -> list[str]:
        first = next(one for one in self.waits if isinstance(one, WaitEvent) and one.event_name == call.event_name)
        ids = [one.event_id for one in self.events if self._is_for(call, one)][: call.max] if first == call else []
        if ids:
            self._met(call, ids)
        return ids


def wait(kind: str, key: str, topic: str) -> Wait:
    match kind:
        case "event":
            return WaitEvent(key, topic, None, None)
        case "events":
            return WaitEvents(key, topic, None, None, 3, 1.0)
        case "child":
            return WaitChild(key, RunKey("kids_0", topic), None, JsonCodec())
        case _:
            return Sleep(key, 1.0)


def event(kind: Literal["event", "child"], number: int, topic: str) -> Event:
    """An event, or the end of a child, of which there is one."""
    id = topic if kind == "child" else f"event {number}"
    return Event("run", id, kind, "" if kind == "child" else topic, "null")


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("open"), st.sampled_from(["event", "events", "child", "sleep"]), st.sampled_from(TOPICS)),
        st.tuples(st.just("close"), st.integers(0, 9), st.none()),
        st.tuples(st.just("arrive"), st.sampled_from(["event", "child"]), st.sampled_from(TOPICS)),
        st.tuples(st.just("take"), st.none(), st.none()),
        st.tuples(st.just("time is over"), st.integers(0, 9), st.none()),
        st.tuples(st.just("know"), st.none(), st.none()),
        st.tuples(st.just("lose sight"), st.none(), st.none()),
    ),
    max_size=60,
)


@given(ACTIONS)
def test_a_wait_meets_the_same_event_as_if_everything_were_looked_through(actions: list[tuple[str, Any, str]]) -> None:
    waits, inbox, model = OpenWaits(Clock()), Inbox(), Model()
    seen: set[str] = set()

    def take() -> tuple[str, list[str]] | None:
        arrival = waits.next_arrival(inbox)
        if arrival is None:
            return None
        call, events = arrival
        if events:
            waits.close(call.key)
        return call.key, [one.event_id for one in events]

    for number, (action, what, topic) in enumerate(actions):
        match action:
            case "open":
                opened = wait(what, f"wait {number}", topic)
                waits.open(opened)
                model.waits.append(opened)
            case "close" if model.waits:
                closed = model.waits.pop(what % len(model.waits))
                waits.close(closed.key)
            case "arrive":
                arrived = event(str(what), number, topic)
                if arrived.event_id not in seen:  # a child ends once
                    seen.add(arrived.event_id)
                    model.events.append(arrived)
                    inbox.add(arrived)
            case "time is over" if gathering := [one for one in model.waits if isinstance(one, WaitEvents)]:
                late = gathering[what % len(gathering)]
                taken = [one.event_id for one in waits.take_gathered(late, inbox)]
                assert taken == model.take_gathered(late)
                if taken:
                    waits.close(late.key)
            case "know":
                inbox.all_is_loaded()
                model.is_known = True
            case "lose sight":
                inbox.is_known = model.is_known = False
            case _:
                assert take() == model.next_arrival()
    inbox.all_is_loaded()
    model.is_known = True
    while (met := model.next_arrival()) is not None:
        assert take() == met
    assert take() is None
