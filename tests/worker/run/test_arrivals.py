"""Which wait an event ends: the one that was opened first, among those for which something is in the inbox."""

from __future__ import annotations

from typing import Any, Literal

from hypothesis import given
from hypothesis import strategies as st

from durable.core.codec.json_codec import JsonCodec
from durable.core.replay.commands import Sleep, Wait, WaitChild, WaitEvent
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

    def next_arrival(self) -> tuple[str, str] | None:
        for call in self.waits:
            for event in self.events:
                is_for_event = isinstance(call, WaitEvent) and event.kind == "event" and event.name == call.event_name
                is_end = isinstance(call, WaitChild) and event.kind == "child" and event.event_id == call.run_key.run_id
                if (is_for_event and self.is_known) or is_end:
                    self.waits.remove(call)
                    self.events.remove(event)
                    return call.key, event.event_id
        return None


def wait(kind: str, key: str, topic: str) -> Wait:
    match kind:
        case "event":
            return WaitEvent(key, topic, None, None)
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
        st.tuples(st.just("open"), st.sampled_from(["event", "child", "sleep"]), st.sampled_from(TOPICS)),
        st.tuples(st.just("close"), st.integers(0, 9), st.none()),
        st.tuples(st.just("arrive"), st.sampled_from(["event", "child"]), st.sampled_from(TOPICS)),
        st.tuples(st.just("take"), st.none(), st.none()),
        st.tuples(st.just("know"), st.none(), st.none()),
        st.tuples(st.just("lose sight"), st.none(), st.none()),
    ),
    max_size=60,
)


@given(ACTIONS)
def test_a_wait_meets_the_same_event_as_if_everything_were_looked_through(actions: list[tuple[str, Any, str]]) -> None:
    waits, inbox, model = OpenWaits(Clock()), Inbox(), Model()
    seen: set[str] = set()

    def take() -> tuple[str, str] | None:
        arrival = waits.next_arrival(inbox)
        if arrival is None:
            return None
        waits.close(arrival[0].key)
        return arrival[0].key, arrival[1].event_id

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
