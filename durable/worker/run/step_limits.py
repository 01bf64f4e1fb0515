"""How long one try of a step may take, and how long it may be silent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Any

from durable.core.durations import seconds
from durable.core.replay.commands import Execute
from durable.worker.run.pulse import Pulse
from durable.worker.threads import ThreadCall


async def within_limits(call: Execute, pulse: Pulse, body: Awaitable[Any], *, spent: float = 0.0) -> Any:
    """Awaits ``body``, in which the function of the step does its work. ``spent`` is how many seconds of the step's
    time are over. Raises ``TimeoutError`` if it takes too long or is silent for too long."""
    limit, silence = _limit(call), _silence(call)
    if limit is None and silence is None:
        return await body
    loop = asyncio.get_running_loop()
    ends_at = None if limit is None else loop.time() + limit - spent

    def next_deadline() -> float | None:
        silent_at = None if silence is None else loop.time() + silence
        return min((at for at in (ends_at, silent_at) if at is not None), default=None)

    deadline = asyncio.timeout_at(next_deadline())

    def put_off() -> None:
        # A sign of life may still be on its way here when the step has ended, or has been cut off.
        if pulse.noticed is put_off and not deadline.expired():
            deadline.reschedule(next_deadline())

    try:
        async with deadline:
            if silence is not None:
                pulse.noticed = put_off
            return await body
    except TimeoutError:
        if deadline.expired():
            raise _overdue(call, is_late=ends_at is not None and loop.time() >= ends_at) from None
        raise
    finally:
        pulse.noticed = None


async def thread_within_limits(call: Execute, pulse: Pulse, thread: ThreadCall) -> TimeoutError | None:
    """Waits until the thread has ended. Returns the error if it takes too long or is silent for too long: it cannot be
    stopped."""
    limit, silence = _limit(call), _silence(call)
    while True:
        now = time.monotonic()
        ends_in = None if limit is None else thread.started + limit - now
        silent_in = None if silence is None else max(pulse.last, thread.started) + silence - now
        least = min((left for left in (ends_in, silent_in) if left is not None), default=None)
        if await thread.ends_within(least if least is None else max(least, 0.0)):
            return None
        if least is not None and least <= 0:
            return _overdue(call, is_late=ends_in is not None and ends_in <= 0)


def _limit(call: Execute) -> float | None:
    return None if call.retry.timeout is None else seconds("timeout", call.retry.timeout)


def _silence(call: Execute) -> float | None:
    return None if call.retry.heartbeat is None else seconds("heartbeat", call.retry.heartbeat)


def _overdue(call: Execute, *, is_late: bool) -> TimeoutError:
    if is_late:
        return TimeoutError(f"step {call.key!r} did not finish within {_limit(call):g} s")
    return TimeoutError(f"step {call.key!r} sent no heartbeat for {_silence(call):g} s")
