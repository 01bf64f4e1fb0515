"""A network between a worker and the server that is silent, broken, half closed or slow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import msgspec

from tests.faults.stage import Stage, fault
from tests.faults.wires import Wired, answers_within, spawn_wired, works_again

_LEASE = 5.0
_WIRED = 6
_RESUME_SECONDS = 3.0
_GIVEN_UP = "could not reach the database within its lease"


async def _silent(wired: Wired, seconds: float) -> bool:
    swallowed = wired.proxy.swallowed
    wired.proxy.silence()
    await asyncio.sleep(seconds)
    wired.proxy.speak()
    wired.proxy.forget()
    return wired.proxy.swallowed > swallowed


async def _reset(wired: Wired, seconds: float) -> bool:
    had = wired.proxy.connections
    wired.proxy.refuse()
    wired.proxy.cut()
    await asyncio.sleep(seconds)
    has = wired.proxy.connections
    wired.proxy.accept()
    return had > 0 and has == 0


async def _half_closed(wired: Wired, seconds: float, *, to_server: bool) -> bool:
    swallowed = wired.proxy.swallowed
    wired.proxy.close_half(to_server=to_server)
    await asyncio.sleep(seconds)
    wired.proxy.forget()
    return wired.proxy.swallowed > swallowed


async def _slow(wired: Wired, seconds: float) -> bool:
    wired.proxy.delay(0.2, 0.1)
    is_quick = await answers_within(wired.proxy, 0.2)
    await asyncio.sleep(seconds)
    wired.proxy.delay(0.0)
    return not is_quick


async def _trickling(wired: Wired, seconds: float) -> bool:
    wired.proxy.throttle(1)
    is_quick = await answers_within(wired.proxy, seconds)
    wired.proxy.throttle(None)
    return not is_quick


async def _cut_within_a_message(wired: Wired, seconds: float) -> bool:
    swallowed = wired.proxy.swallowed
    wired.proxy.cut_next_message()
    await asyncio.sleep(seconds)
    for _ in range(30):  # a starved worker may have said nothing meanwhile
        if wired.proxy.swallowed == swallowed:
            await asyncio.sleep(0.1)
    return wired.proxy.swallowed > swallowed


class Episode(msgspec.Struct, frozen=True):
    """``lasts``: from and to, in leases. ``does_interrupt``: whether the worker has to find its feet again."""

    inject: Callable[[Wired, float], Awaitable[bool]]
    lasts: tuple[float, float]
    does_interrupt: bool = True


_EPISODES = (
    Episode(_silent, (0.1, 0.5)),
    Episode(_silent, (1.3, 2.0)),
    Episode(_reset, (0.1, 0.5)),
    Episode(_reset, (1.3, 2.0)),
    Episode(partial(_half_closed, to_server=True), (0.6, 0.6)),
    Episode(partial(_half_closed, to_server=False), (0.6, 0.6)),
    Episode(_slow, (0.4, 1.0), does_interrupt=False),
    Episode(_trickling, (0.4, 0.5)),
    Episode(_cut_within_a_message, (0.3, 0.3)),
)


@fault(
    row=8,
    how=f"a proxy in front of each of {_WIRED} workers: silence and resets for 0.1 to 2 leases of {_LEASE:g} s, either"
    " direction closed, delays of 200 ± 100 ms, 1 B/s, cuts within a message",
    target="a worker abandons its runs before others may take them, without being told to; p99 < 3 s from the end of"
    " the lease or of the partition",
    sizes={"smoke": 9, "campaign": 300, "soak": 3000},
    workers=2,
    options={"lease": _LEASE},
    recovery=_RESUME_SECONDS,
    # The server learns late that the other end of a transaction is gone.
    excuses=frozenset({"I12"}),
)
async def partition(stage: Stage) -> None:
    decks = -(-stage.size // len(_EPISODES))
    episodes = [episode for _ in range(decks) for episode in stage.random.sample(_EPISODES, len(_EPISODES))]
    left = episodes[: stage.size]

    async def plague(wired: Wired) -> None:
        while left:
            await _befall(stage, wired, left.pop(0))

    async with asyncio.TaskGroup() as plaguing:
        for wired in await spawn_wired(stage, min(_WIRED, stage.size)):
            plaguing.create_task(plague(wired))


async def _befall(stage: Stage, wired: Wired, episode: Episode) -> None:
    seconds = _LEASE * stage.random.uniform(*episode.lasts)
    given_up = _times_given_up(stage, wired)
    began = time.time()
    is_evidenced = await episode.inject(wired, seconds)
    ended = time.time()
    has_given_up = _times_given_up(stage, wired) > given_up
    what = f"worker {wired.member.process_id}, {episode} for {seconds:.1f} s"
    if episode.lasts[0] > 1.0:
        stage.died(wired.member, began + _LEASE)
        if not has_given_up:
            stage.violated("I8", f"it did not give its runs up: {what}")
    elif has_given_up:
        stage.violated("I10", f"its lease was lost: {what}")
    if is_evidenced:
        stage.injected()
    works = await works_again(stage, wired.member, ended)
    stage.stalled(wired.member.process_id, time.time())  # cut off, it could not know that others had taken over
    if works and episode.does_interrupt:
        stage.recovered(time.time() - ended)


def _times_given_up(stage: Stage, wired: Wired) -> int:
    lines = Path(stage.options.log).read_text(errors="replace").splitlines()
    return sum(_GIVEN_UP in line and f" {wired.member.process_id} " in line for line in lines)
