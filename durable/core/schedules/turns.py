"""What a due schedule does; the decision is a value."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from durable.core.errors import InvalidArgument
from durable.core.schedules.timetable import _ON_TIME, CatchUp, Overlap, Timetable, _utc, jitter_of

_LOOK_AGAIN = timedelta(seconds=1)
"""How soon to look again while a tick waits for a run to end."""


class Scheduled(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as it was found due. ``jitter`` is in seconds. ``next_tick`` is ``None`` if it was never computed.
    ``waiting`` is the tick that waits for the previous run to end, if there is one."""

    schedule_id: str
    timetable: Timetable
    catch_up: CatchUp
    overlap: Overlap
    jitter: float
    next_tick: datetime | None
    waiting: datetime | None


class Turn(msgspec.Struct, frozen=True):
    """Begin a run for each of ``ticks``, in order, after cancelling the previous run if ``cancels`` says so. Afterward,
    ``waiting`` is the tick that waits, ``next_tick`` is the next tick (``None``: never again), and ``due`` is when to
    look again (``None``: never)."""

    ticks: tuple[datetime, ...]
    cancels: bool
    waiting: datetime | None
    next_tick: datetime | None
    due: datetime | None


def turn_of(scheduled: Scheduled, now: datetime, *, is_previous_active: bool) -> Turn:
    """Returns what a due schedule does now. ``is_previous_active`` means that the run it began last has not ended."""
    if scheduled.next_tick is None:
        due = Due((), scheduled.timetable.next_tick(now))
    else:
        # Lateness is judged from the time at which this tick, delayed by its jitter, was due to be looked at.
        late = timedelta(seconds=jitter_of(scheduled.schedule_id, scheduled.next_tick, scheduled.jitter))
        due = plan(scheduled.timetable, scheduled.next_tick, now - late, scheduled.catch_up)
    ticks, cancels, waiting = due.ticks, False, None
    match scheduled.overlap:
        case "allow":
            pass
        case "skip":
            ticks = () if is_previous_active else ticks[:1]
        case "cancel_other":
            ticks = ticks[-1:]
            cancels = is_previous_active and bool(ticks)
        case "buffer_one":
            queue = ticks if scheduled.waiting is None else (scheduled.waiting, *ticks)
            ticks = () if is_previous_active else queue[:1]
            waiting = next(iter(queue[len(ticks) :]), None)
    look = None
    if due.next_tick is not None:
        jitter = jitter_of(scheduled.schedule_id, due.next_tick, scheduled.jitter)
        look = due.next_tick + timedelta(seconds=jitter)
    if waiting is not None:
        look = now + _LOOK_AGAIN if look is None else min(look, now + _LOOK_AGAIN)
    return Turn(ticks, cancels, waiting, due.next_tick, look)


class Due(msgspec.Struct, frozen=True):
    """What a due schedule does: begin a run for each of ``ticks``, oldest first, and be due again at ``next_tick``
    (``None``: never again)."""

    ticks: tuple[datetime, ...]
    next_tick: datetime | None


def plan(timetable: Timetable, next_tick: datetime, now: datetime, catch_up: CatchUp, *, most: int = 1000) -> Due:
    """Returns what to do now about the stored ``next_tick`` and the ticks missed since. At most the last ``most`` of
    them fire.

    The stored tick counts even if the timetable no longer contains it, for example after a change of the zone's rules.
    Nothing is due before it. Raises ``InvalidArgument`` if ``most`` is less than 1.
    """
    if most < 1:
        raise InvalidArgument("most", most, "a whole number, at least 1")
    next_tick, now = _utc("next_tick", next_tick), _utc("now", now)
    if next_tick > now:
        return Due((), next_tick)
    wanted = most if catch_up == "all" else 1
    ticks: tuple[datetime, ...] = (next_tick,)
    following = timetable.next_tick(next_tick)
    if following is not None and following <= now:
        ticks = (next_tick, *timetable.ticks(next_tick, now, wanted))[-wanted:]
        following = timetable.next_tick(now)
    if catch_up == "skip" and now - ticks[-1] > _ON_TIME:
        ticks = ()
    return Due(ticks, following)
