"""What a fault is, and the stage on which it is injected.

A fault is an ``async def inject(stage)`` in a module of ``tests/faults/faults/``, registered by ``@fault(…)``; modules
there are found by themselves. When it is called, the stage has a fresh database, ``fault.workers`` worker processes are
up, and the load runs. It injects until ``stage.size`` and says so each time:

    stage.injected(1)               the fault has happened, and this code has seen that it has (I13)
    stage.died(member, moment)      a worker lost its runs at that moment; how long each of them was without an owner is
                                    worked out at the end from the history of the tables
    stage.recovered(seconds)        a recovery measured by the fault itself
    stage.violated("I10", "…")      what the fault itself has found to be wrong
    stage.noted("…")                a figure for the results that is no time of recovery
    stage.stalled(process_id, t)    that process could not know the time until then (stopped, cut off): what it starts
                                    within a moment after is no fault of the engine
    await stage.until(asked, s, …)  waits for a condition, asked each 10 ms; what is not so in time is a violation (I2)
    await stage.settle()            returns when all workers are registered and a run has ended since

    stage.fleet                     worker processes: spawn(options), keep(count), alive; of a Member: kill(),
                                    send(signal), ended(seconds), process_id, expects (exit codes)
    stage.options                   the WorkerOptions; msgspec.structs.replace(stage.options, conninfo=…) leads another
                                    way in, stage.options.direct always straight to the server
    stage.server                    the Postgres: tcp_conninfo, stop, start, restart_immediate, process_id
    stage.load                      the application
    stage.random                    the only source of randomness, seeded
    stage.observer                  await rows(sql, params): asks until answered, whatever happens to the server
    stage.exits                     an AsyncExitStack: what is entered there lasts until all workers have stopped

When ``inject`` returns, it must have taken its fault back. The load is then brought to its end, every run must have
ended within ``fault.patience`` seconds, the oracle looks at the tables, and the workers are stopped by SIGTERM.
"""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any, Literal, TypeAlias

import msgspec

from tests.faults.families import FAMILIES
from tests.faults.fleet import Fleet, Member
from tests.faults.load import Family, Load
from tests.faults.observer import Observer
from tests.faults.server import Server
from tests.faults.worker import WorkerOptions

Size: TypeAlias = Literal["smoke", "campaign", "soak"]
SIZES: tuple[Size, ...] = ("smoke", "campaign", "soak")
_LOOK_SECONDS = 0.01


class Violation(msgspec.Struct, frozen=True):
    """An invariant that does not hold: ``I1`` to ``I13``, what is wrong, and where."""

    invariant: str
    what: str


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """``row``: of the matrix. ``how`` and ``target`` are for the table. ``sizes``: how often it is injected.

    ``recovery``: the target for the 99th percentile, in seconds; ``None``: none. ``is_timed``: it judges other times
    itself. Of either kind the campaign plays one at a time. ``patience``: how long runs may take to end afterwards, in
    seconds. ``excuses``: invariants that the fault itself breaks by what it is.
    ``options``: changes to ``WorkerOptions``. ``families``: those of the load, by default all; ``schedules``: whether
    it has schedules, too.
    ``server_settings``: those of a server of its own, ``None`` for the common one. ``place``: where that one lives.
    ``lacks``: what is missing on this machine, ``None``: nothing; then it is not run, and the result says why.
    ``verify``: looks once more when every run has ended and all workers have stopped.
    """

    name: str
    row: int
    how: str
    target: str
    sizes: Mapping[Size, int]
    inject: Callable[[Stage], Awaitable[None]]
    workers: int = 4
    options: Mapping[str, Any] = {}
    recovery: float | None = None
    is_timed: bool = False
    patience: float = 90.0
    excuses: frozenset[str] = frozenset()
    in_flight: int = 40
    families: Sequence[Family] = tuple(FAMILIES)
    schedules: bool = True
    server_settings: Mapping[str, str] | None = None
    place: Callable[[], AbstractContextManager[Path]] | None = None
    lacks: Callable[[], str | None] = lambda: None
    verify: Callable[[Stage], Awaitable[None]] | None = None


FAULTS: dict[str, Fault] = {}


def fault(**facts: Any) -> Callable[[Callable[[Stage], Awaitable[None]]], Callable[[Stage], Awaitable[None]]]:
    """Registers a fault under the function's name; the keywords are the fields of ``Fault``."""

    def register(inject: Callable[[Stage], Awaitable[None]]) -> Callable[[Stage], Awaitable[None]]:
        found = Fault(name=inject.__name__, inject=inject, **facts)
        if found.name in FAULTS:
            raise ValueError(f"two faults are named {found.name}")
        FAULTS[found.name] = found
        return inject

    return register


def load_faults() -> dict[str, Fault]:
    """All faults, in the order of the matrix."""
    package = importlib.import_module("tests.faults.faults")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return dict(sorted(FAULTS.items(), key=lambda item: (item[1].row, item[0])))


class Stage:
    """One play of one fault; see the module."""

    def __init__(
        self,
        fault: Fault,
        size: int,
        random: Random,
        *,
        server: Server,
        options: WorkerOptions,
        load: Load,
        observer: Observer,
        stalls: dict[int, float],
    ) -> None:
        self.fault = fault
        self.size = size
        self.random = random
        self.server = server
        self.options = options
        self.fleet = Fleet(options)
        self.load = load
        self.observer = observer
        self.count = 0
        self.deaths: list[tuple[int, float]] = []
        self.recoveries: list[float] = []
        self.violations: list[Violation] = []
        self.notes: list[str] = []
        self.stalls = stalls
        self.exits = AsyncExitStack()

    def injected(self, times: int = 1) -> None:
        """So many more faults have happened."""
        self.count += times

    def died(self, member: Member, moment: float) -> None:
        """The worker lost all it owned at that moment, in seconds since the epoch."""
        self.deaths.append((member.process_id, moment))

    def recovered(self, seconds: float) -> None:
        """One recovery took that long."""
        self.recoveries.append(seconds)

    def violated(self, invariant: str, what: str) -> None:
        """Something is wrong."""
        self.violations.append(Violation(invariant, what))

    def noted(self, what: str) -> None:
        """A figure worth telling."""
        self.notes.append(what)

    def stalled(self, process_id: int, until: float) -> None:
        """That process was out of the world until that moment, in seconds since the epoch."""
        self.stalls[process_id] = max(until, self.stalls.get(process_id, 0.0))

    async def until(self, condition: Callable[[], bool | Awaitable[bool]], seconds: float, what: str) -> bool:
        """Waits until it is so; says whether it was."""
        try:
            async with asyncio.timeout(seconds) as deadline:
                while True:
                    answer = condition()
                    if await answer if isinstance(answer, Awaitable) else answer:
                        return True
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            if not deadline.expired():
                raise
            self.violated("I2", f"not within {seconds:g} s: {what}")
            return False

    async def settle(self, seconds: float = 20.0) -> None:
        """Returns when every worker that lives is registered, and a run has ended since."""
        members = self.fleet.alive

        async def are_registered() -> bool:
            rows = await self.observer.rows("SELECT process_id FROM durable.workers")
            return {member.process_id for member in members} <= {row[0] for row in rows}

        await self.until(are_registered, seconds, "all workers are registered")
        ends = self.load.ends
        await self.until(lambda: self.load.ends > ends, seconds, "a run ends")
