"""What is promised of a run that has ended."""

from __future__ import annotations

from tests.laws.programs import Node, Trace, leaf_at
from tests.laws.tables import Tables


def check_the_end(tables: Tables, trace: Trace, program: Node, *, is_retried: bool) -> None:
    """``trace`` is that of the last attempt. ``is_retried``: there may have been others."""
    assert not tables.waits, f"waits are open after the end: {tables.waits}"
    check_events(tables)
    if not was_terminated(tables):
        check_children(tables, trace, program, is_retried=is_retried)


def check_events(tables: Tables) -> None:
    """They were taken in the order of their names' events."""
    taken: dict[str, str] = {}
    for key, event_id in tables.consumed:
        event = tables.events[event_id].event
        if event.kind == "event":
            assert taken.get(event.name, "") < event_id, f"{key} has taken {event_id} of {event.name} after a later one"
            taken[event.name] = event_id


def check_children(tables: Tables, trace: Trace, program: Node, *, is_retried: bool) -> None:
    """Each was begun with its memo. Those of ``run_child`` are cancelled with the await, others are not."""
    shown = dict(trace)
    for key, memo in tables.memos.items():
        if memo.kind == "child":
            begun = tables.children.get(Tables.child_of(memo))
            assert begun is not None, f"{memo} was never begun"
            is_to_be = shown.get(key) == "cancelled" and leaf_at(program, key).kind == "child"
            assert not is_to_be or begun.is_unwanted, f"{key} is given up, its child {begun} is not"
            if not is_retried:
                assert is_to_be or not begun.is_unwanted, f"{key} is {shown.get(key)}, its child {begun}"


def was_terminated(tables: Tables) -> bool:
    """Or cancelled before it was ever claimed: no code has run that could have ended it."""
    cancel = tables.memos.get("")
    if tables.status != "cancelled" or tables.error is None:
        return False
    return cancel is None or (cancel.name == "deadline" and tables.error.message == "enough")
