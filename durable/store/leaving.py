"""What a record says of how its run leaves the worker, if it does."""

from __future__ import annotations

from durable.core.replay.endings import NextChapter, Park, Settle
from durable.store.children import EndedChild, ended_child
from durable.store.records import Record


def is_for_others(record: Record, *, is_leaving: bool) -> bool:
    """Returns whether other workers may go on with the run at once or later; ``is_leaving``: this one is stopping."""
    match record.ending:
        case Settle() as settled if not settled.is_terminal:
            return is_leaving or settled.is_set_aside
        case Park():
            return is_leaving
        case _:
            return False


def is_settled(record: Record) -> bool:
    """Returns whether the run has ended, or goes back into the queue or to sleep, in the chapter that it is in."""
    return isinstance(record.ending, Settle) and not isinstance(record.ending, NextChapter)


def has_ended(record: Record) -> bool:
    """Returns whether the run has ended."""
    return isinstance(record.ending, Settle) and record.ending.is_terminal


def shows_error(record: Record) -> bool:
    """Returns whether what the run shows changes, and not by the way in which it leaves."""
    ending = record.ending
    stays = not isinstance(ending, Settle) or (not ending.is_terminal and ending.error is None)
    return record.shown_error is not None and stays


def ends_waits(record: Record) -> bool:
    """Returns whether the run no longer waits for what it has waited for."""
    ending = record.ending
    return isinstance(ending, Settle) and (ending.is_retry or ending.is_terminal)


def child_that_ended(record: Record) -> EndedChild | None:
    """Returns the run as a child whose parent must be told of its end, ``None`` if it is none or has not ended."""
    ending = record.ending
    if record.parent is None or not isinstance(ending, Settle):
        return None
    if ending.status == "queued" or ending.status == "sleeping" or ending.status == "paused":
        return None
    return ended_child(record.parent, record.run_id, ending.status, output=ending.output, error=ending.error)
