"""What is promised of a run that has ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from durable.core.replay.history import REPLY, Cancel
from tests.laws.programs import CANCELLED_WITH_THE_AWAIT, SAID, Leaf, Trace
from tests.laws.tables import Tables
from tests.laws.timers import FIRED

LeafAt: TypeAlias = Callable[[str], Leaf]


def check_the_end(tables: Tables, trace: Trace, leaf_at: LeafAt, *, may_differ: bool) -> None:
    """``trace`` is that of the last attempt. ``may_differ``: there may have been others, or other code."""
    assert not tables.waits, f"waits are open after the end: {tables.waits}"
    check_events(tables)
    check_replies(tables)
    check_timers(tables)
    check_sent(tables)
    is_of_flush = tables.sequels == 1 and tables.status != "completed"
    assert is_of_flush or (tables.sequels == 0 and (tables.status == "completed" or tables.has_ended_unclaimed))
    if not was_terminated(tables):
        check_status(tables, trace)
        check_children(tables, trace, leaf_at, may_differ=may_differ)


def check_events(tables: Tables) -> None:
    """They were taken in the order of their names' events."""
    taken: dict[str, str] = {}
    for key, event_id in tables.consumed:
        event = tables.events[event_id].event
        if event.kind == "event":
            assert taken.get(event.name, "") < event_id, f"{key} has taken {event_id} of {event.name} after a later one"
            taken[event.name] = event_id


def check_replies(tables: Tables) -> None:
    """A request has its answer if, and only if, the memo of that is there."""
    replies = {key.removesuffix(REPLY) for key, memo in tables.memos.items() if memo.kind == "reply"}
    for arrival in tables.events.values():
        event, taken_by = arrival.event, arrival.consumed_by
        if event.kind == "request" and taken_by in tables.memos and tables.chapter == 1:
            assert (arrival.reply is not None) == (taken_by in replies), f"{arrival} is answered, or {taken_by} is"
            assert arrival.reply in (None, event.payload, f'"{taken_by}"'), f"{arrival} has an answer of another one"


def check_sent(tables: Tables) -> None:
    """What has a memo was sent once, and nothing else."""
    recorded = {key for key, memo in tables.memos.items() if memo.kind == "publish"}
    sent = {key for chapter, key in tables.sent if chapter == tables.chapter}
    assert sent == recorded, f"{sent} were sent, and {recorded} is recorded"


def check_timers(tables: Tables) -> None:
    """They have fired in the order of their times, whichever worker was there for them."""
    fired = [tables.fired[memo.key] for memo in tables.history().in_order() if memo.kind == "timer"]
    assert tables.has_jumped or fired == sorted(fired), f"the timers that have fired were due at {fired}"


def check_status(tables: Tables, trace: Trace) -> None:
    """What the code has said last is what is shown."""
    said = [key for key, _ in trace if key.startswith(SAID)]
    if said:
        assert tables.status_detail == f'"{said[-1].removeprefix(SAID)}"', f"{tables.status_detail} is shown: {said}"


def check_times(trace: Trace) -> None:
    """Time never goes back."""
    times = [float(shown) for key, shown in trace if key.startswith("time ")]
    assert times == sorted(times), f"the code was told the times {times}"


def is_of_timer(key: str) -> bool:
    """Whether that line of a trace is about a timer."""
    return " " in key


def times_fired(trace: Trace) -> int:
    """How many timers have fired at least. One of which nothing was seen is not counted."""
    return sum(key.startswith(FIRED) and shown != "cancelled" for key, shown in trace)


def check_children(tables: Tables, trace: Trace, leaf_at: LeafAt, *, may_differ: bool) -> None:
    """Each was begun with its memo. Those of ``run_child`` are cancelled with the await, others are not."""
    shown = dict(trace)
    for key, memo in tables.memos.items():
        if memo.kind == "child":
            begun = tables.children.get(Tables.child_of(memo))
            assert begun is not None, f"{memo} was never begun"
            is_to_be = shown.get(key) == "cancelled" and leaf_at(key).kind in CANCELLED_WITH_THE_AWAIT
            assert not is_to_be or begun.is_unwanted, f"{key} is given up, its child {begun} is not"
            # A cancel of the run reaches every child that is awaited by then, in whatever task.
            is_left_alone = Cancel.key not in tables.memos and leaf_at(key).kind != "child_cancelled"
            if is_left_alone and not may_differ:
                assert is_to_be or not begun.is_unwanted, f"{key} is {shown.get(key)}, its child {begun}"


def was_terminated(tables: Tables) -> bool:
    """Or cancelled before it was ever claimed: no code has run that could have ended it."""
    cancel = tables.memos.get("")
    if tables.status != "cancelled" or tables.error is None:
        return False
    return cancel is None or (cancel.name == "deadline" and tables.error.message == "enough")
