"""The worker processes of a stage: started in milliseconds, signalled by their id, never left behind."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import msgspec

from tests.faults.worker import WorkerOptions, main

_ROOT = Path(__file__).parents[2]
_LOOK_SECONDS = 0.01
_context: ForkServerContext = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.faults.worker", "tests.faults.workload"])


class Member:
    """One worker process."""

    def __init__(self, options: WorkerOptions, environment: Mapping[str, str] | None) -> None:
        self.options = options
        self.started = time.time()
        self.is_stopped = False
        self.expects: set[int] = set()
        """Exit codes that are no surprise: what it was told to do."""
        self._process: ForkServerProcess | subprocess.Popen[bytes]
        if environment is None:
            self._process = _context.Process(target=main, args=(options,), daemon=True)
            self._process.start()
        else:
            command = [sys.executable, "-m", "tests.faults.worker", msgspec.json.encode(options).decode()]
            everything = {**os.environ, "PYTHONPATH": str(_ROOT), **environment}
            self._process = subprocess.Popen(command, env=everything, cwd=_ROOT, stdin=subprocess.DEVNULL)
        assert self._process.pid is not None
        self.process_id: int = self._process.pid

    @property
    def exit_code(self) -> int | None:
        """``None`` while it lives; negative: the signal that ended it."""
        if isinstance(self._process, subprocess.Popen):
            return self._process.poll()
        return self._process.exitcode

    def send(self, number: signal.Signals) -> float:
        """Returns the moment, in seconds since the epoch. A process that has ended gets nothing."""
        moment = time.time()
        if self.exit_code is None:
            os.kill(self.process_id, number)
            self.is_stopped = number == signal.SIGSTOP or (self.is_stopped and number != signal.SIGCONT)
        return moment

    def kill(self) -> float:
        """SIGKILL."""
        self.expects.add(-signal.SIGKILL)
        return self.send(signal.SIGKILL)

    def terminate(self) -> float:
        """SIGTERM: before it has a handler for it, it dies of it."""
        self.expects |= {0, -signal.SIGTERM}
        return self.send(signal.SIGTERM)

    async def ended(self, seconds: float) -> int | None:
        """Its exit code, ``None`` if it lives on after that time."""
        deadline = time.monotonic() + seconds
        while self.exit_code is None and time.monotonic() < deadline:
            await asyncio.sleep(_LOOK_SECONDS)
        return self.exit_code


class Fleet:
    """``members`` are those that were started and not yet taken out, ended or not."""

    def __init__(self, options: WorkerOptions) -> None:
        self.options = options
        self.members: list[Member] = []
        self.surprises: list[str] = []

    def spawn(self, options: WorkerOptions | None = None, *, environment: Mapping[str, str] | None = None) -> Member:
        """Starts a worker, by default with the fleet's options. With ``environment``, variables beside our own, it is
        a program of its own, which takes about a second."""
        member = Member(self.options if options is None else options, environment)
        self.members.append(member)
        return member

    @property
    def alive(self) -> list[Member]:
        """Those that have not ended."""
        return [member for member in self.members if member.exit_code is None]

    def collect(self) -> list[Member]:
        """Takes out those that have ended; who had no reason to is a surprise."""
        ended = [member for member in self.members if member.exit_code is not None]
        for member in ended:
            self.members.remove(member)
            if member.exit_code not in member.expects:
                self.surprises.append(f"worker {member.process_id} ended by itself with exit code {member.exit_code}")
        return ended

    def keep(self, count: int) -> None:
        """Collects, and starts as many as are missing."""
        self.collect()
        while len(self.members) < count:
            self.spawn()

    async def stop(self, seconds: float) -> None:
        """Ends them all by SIGTERM, those that were stopped, too; who does not end in time is a surprise."""
        for member in self.alive:
            member.terminate()
            member.send(signal.SIGCONT)
        deadline = time.monotonic() + seconds
        for member in list(self.members):
            if await member.ended(max(deadline - time.monotonic(), 0.0)) is None:
                self.surprises.append(f"worker {member.process_id} did not end within {seconds:g} s of SIGTERM")
        self.collect()
        self.close()

    def close(self) -> None:
        """Kills what is left."""
        for member in self.alive:
            member.kill()
        for member in self.members:
            while member.exit_code is None:
                time.sleep(_LOOK_SECONDS)
        self.members.clear()
