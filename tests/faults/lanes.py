"""Plays faults: those that measure times one after the other, the others in several processes side by side."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from multiprocessing.util import Finalize
from pathlib import Path

import msgspec

from tests.faults.play import Result, not_played, play
from tests.faults.server import Server, die_with_parent
from tests.faults.stage import SIZES, Fault, Size, load_faults

LANES = {"smoke": 3, "campaign": 2, "soak": 1}
"""How many faults are on at once: a fault waits for most of its time."""


class Order(msgspec.Struct, frozen=True):
    """How faults are to be played. ``times``: how often each is injected, instead of what is in its sizes."""

    size: Size
    seed: int
    logs: Path
    times: int | None = None


def play_all(faults: Sequence[Fault], order: Order, lanes: int) -> Iterator[Result]:
    """The results as they come; what a fault's process raises is raised."""
    is_strict = order.size != "smoke"  # there few times are taken, and nothing fails for most of them
    alone = [each for each in faults if lanes == 1 or (is_strict and (each.is_timed or each.recovery is not None))]
    beside = [each for each in faults if each not in alone]
    if beside:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(lanes, len(beside)), context, _open_lane, (order.logs,)) as executor:
            for each in as_completed([executor.submit(_play_in_lane, fault.name, order) for fault in beside]):
                yield each.result()
    if alone:
        with Server() as server:
            for fault in alone:
                yield _play(fault, order, server)


_lane = ExitStack()
_servers: list[Server] = []


def log_to(logs: Path) -> None:
    """What the harness's own process has to say, to a file."""
    form = "%(asctime)s %(name)s %(message)s"
    logging.basicConfig(filename=logs / "harness.log", level=logging.WARNING, format=form)


def _open_lane(logs: Path) -> None:
    die_with_parent(signal.SIGKILL)
    log_to(logs)
    _servers.append(_lane.enter_context(Server()))
    Finalize(None, _lane.close, exitpriority=10)


def _play_in_lane(name: str, order: Order) -> Result:
    return _play(load_faults()[name], order, _servers[0])


def _play(fault: Fault, order: Order, common: Server) -> Result:
    if order.times is not None:
        fault = msgspec.structs.replace(fault, sizes=dict.fromkeys(SIZES, order.times))
    if (why := fault.lacks()) is not None:
        return not_played(fault, order.size, order.seed, why)
    with ExitStack() as own:
        place = own.enter_context(fault.place()) if fault.place else None
        is_own = place is not None or fault.server_settings is not None
        server = own.enter_context(Server(place, fault.server_settings)) if is_own else common
        return asyncio.run(play(fault, order.size, order.seed, server, order.logs))
