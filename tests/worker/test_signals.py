"""SIGTERM and SIGINT: what they do to workers, to their host, and to a process that cannot answer."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from durable import Client, Context, Worker, workflow
from tests import roles
from tests.watching import rows, until
from tests.worker.processes import ROOT

TERM, INT = signal.SIGTERM, signal.SIGINT

PROGRAM = """
import asyncio, functools, logging, os, sys, threading, time
from durable import Context, Worker, workflow

logging.basicConfig(level=logging.WARNING, stream=sys.stdout)
DSN = os.environ["TEST_WORKER_DSN"]
say = functools.partial(print, flush=True)

async def slow() -> None:
    say("IN")
    await asyncio.sleep(600)

def in_a_thread() -> None:
    say("IN")
    time.sleep(600)

async def deaf() -> None:
    say("IN")
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            pass

async def computing() -> None:
    say("IN")
    while True:
        pass

@workflow
async def stepping(ctx: Context, name: str) -> None:
    await ctx.execute("step", {"slow": slow, "in_a_thread": in_a_thread, "deaf": deaf, "computing": computing}[name])

@workflow
async def spinning(ctx: Context) -> None:
    say("IN")
    while True:
        pass

@workflow
async def idle(ctx: Context) -> None: ...

def worker(workflows, **options) -> Worker:
    return Worker(DSN, workflows, **{"graceful_shutdown_timeout": 0.5} | options)
"""


@contextmanager
def program(database: str, main: str, wait_for: str = "IN", *, is_uvloop: bool = False) -> Iterator[Program]:
    made = Program(database, main, is_uvloop=is_uvloop)
    try:
        made.wait_for(wait_for)
        yield made
    finally:
        made.process.kill()
        made.process.communicate()


class Program:
    """A process that runs ``main``, the body of a coroutine."""

    def __init__(self, database: str, main: str, *, is_uvloop: bool) -> None:
        factory = "__import__('uvloop').new_event_loop" if is_uvloop else "None"
        text = f"""{PROGRAM}
async def main():
{textwrap.indent(textwrap.dedent(main), "    ")}
with asyncio.Runner(loop_factory={factory}) as runner:
    runner.run(main())
say("RETURNED")
"""
        environment = {
            **os.environ,
            "PYTHONPATH": ROOT,
            "TEST_WORKER_DSN": roles.limited_to("durable_worker", database),
        }
        self.output = ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", text], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def wait_for(self, text: str) -> None:
        assert self.process.stdout is not None
        while text not in self.output:
            read = self.process.stdout.readline()
            assert read, self.output
            self.output += read

    def signal(self, *numbers: signal.Signals, pause: float = 0.7) -> None:
        for index, number in enumerate(numbers):
            time.sleep(pause if index else 0)
            self.process.send_signal(number)

    def ends_within(self, seconds: float) -> int:
        """The exit status."""
        output, _ = self.process.communicate(timeout=seconds)
        self.output += output
        return self.process.returncode


def begin(database: str, name: str) -> str:
    async def stepping(ctx: Context, name: str) -> None: ...
    async def spinning(ctx: Context) -> None: ...

    with Client(database) as client:
        if name == "spinning":
            return str(client.begin(workflow(spinning)).run_key)
        return str(client.begin(workflow(stepping), name).run_key)


@pytest.mark.parametrize("number", [TERM, INT])
@pytest.mark.parametrize("name", ["slow", "in_a_thread", "deaf"])
def test_a_process_that_is_told_to_stop_ends_within_its_grace_whatever_its_steps_do(
    database: str, name: str, number: signal.Signals
) -> None:
    begin(database, name)
    with program(database, "await worker([stepping]).run()") as one:
        one.signal(number)
        assert one.ends_within(8) == 0
    assert one.output.endswith("RETURNED\n")


@pytest.mark.parametrize(("name", "culprit"), [("computing", "step 'step' of run"), ("spinning", "by run")])
@pytest.mark.parametrize(("number", "status"), [(TERM, 143), (INT, 130)])
def test_code_that_computes_without_end_is_named_and_does_not_keep_the_process_from_ending(
    database: str, name: str, culprit: str, number: signal.Signals, status: int
) -> None:
    run_key = begin(database, name)
    with program(database, "await worker([stepping, spinning], lease=1).run()") as one:
        one.wait_for(f"in {name}\n")  # the last line of the report
        one.signal(number)
        assert one.ends_within(15) == status
    assert "the event loop has been blocked" in one.output
    assert culprit in one.output
    assert run_key in one.output
    assert f"the process ends with status {status}" in one.output


@pytest.mark.parametrize("numbers", [(INT, INT), (TERM, TERM), (INT, TERM, INT)])
@pytest.mark.parametrize("name", ["slow", "in_a_thread", "computing"])
def test_the_same_signal_once_more_ends_the_process_at_once(
    database: str, name: str, numbers: tuple[signal.Signals, ...]
) -> None:
    begin(database, name)
    with program(database, "await worker([stepping], graceful_shutdown_timeout=60).run()") as one:
        one.signal(*numbers)
        assert one.ends_within(3) == -numbers[-1]


def test_a_signal_that_arrives_twice_at_once_is_one_request(database: str) -> None:
    begin(database, "slow")
    with program(database, "await worker([stepping]).run()") as one:
        one.signal(INT, INT, TERM, pause=0.05)
        assert one.ends_within(8) == 0
    assert one.output.endswith("RETURNED\n")


@pytest.mark.parametrize("number", [TERM, INT])
def test_one_signal_stops_all_workers_of_a_loop(database: str, number: signal.Signals) -> None:
    main = """
    first, second = worker([stepping]), worker([spinning])
    async def tell():
        while not (first.ready() and second.ready()):
            await asyncio.sleep(0.01)
        say("UP")
    await asyncio.gather(first.run(), second.run(), tell())
    """
    with program(database, main, "UP") as one:
        one.signal(number)
        assert one.ends_within(8) == 0
    assert one.output.endswith("RETURNED\n")


def test_a_worker_on_uvloop_hears_signals_too(database: str) -> None:
    pytest.importorskip("uvloop")
    begin(database, "in_a_thread")
    with program(database, "await worker([stepping]).run()", is_uvloop=True) as one:
        one.signal(TERM)
        assert one.ends_within(8) == 0
    assert one.output.endswith("RETURNED\n")


# as a guest


@workflow
async def idle(ctx: Context) -> None: ...


@contextmanager
def handled_by(handler: Any) -> Iterator[None]:
    former = {number: signal.signal(number, handler) for number in (TERM, INT)}
    try:
        yield
    finally:
        for number, its_handler in former.items():
            signal.signal(number, its_handler)


def ready(*workers: Worker) -> Callable[[], bool]:
    return lambda: all(worker.ready() for worker in workers)


@pytest.mark.parametrize("number", [TERM, INT])
async def test_the_handler_of_the_host_is_called_as_well_and_put_back(database: str, number: signal.Signals) -> None:
    heard: list[int] = []

    def host(signaled: int, _: object) -> None:
        heard.append(signaled)

    with handled_by(host):
        worker = Worker(database, [idle])
        running = asyncio.create_task(worker.run())
        await until(ready(worker))
        os.kill(os.getpid(), number)
        await asyncio.wait_for(running, 10)
        assert heard == [number]
        assert [signal.getsignal(TERM), signal.getsignal(INT)] == [host, host]


async def test_workers_that_end_in_any_order_put_the_handler_of_the_host_back_at_last(database: str) -> None:
    heard: list[int] = []

    def host(signaled: int, _: object) -> None:
        heard.append(signaled)

    with handled_by(host):
        first, second = Worker(database, [idle]), Worker(database, [idle])
        tasks = [asyncio.create_task(worker.run()) for worker in (first, second)]
        await until(ready(first, second))
        first.stop()
        await asyncio.wait_for(tasks[0], 10)
        assert second.ready()
        assert signal.getsignal(TERM) != host
        os.kill(os.getpid(), TERM)
        await asyncio.wait_for(tasks[1], 10)
        assert heard == [TERM]
        assert signal.getsignal(TERM) == host


async def test_a_handler_that_came_later_and_calls_ours_is_left_in_place(database: str) -> None:
    """As a web server's that is started after the worker, and passes on what it has heard once it has ended."""
    heard: list[int] = []

    with handled_by(lambda number, _: heard.append(number)):
        worker = Worker(database, [idle])
        running = asyncio.create_task(worker.run())
        await until(ready(worker))
        ours: Any = signal.getsignal(TERM)

        def later(number: int, frame: Any) -> None:
            ours(number, frame)

        with handled_by(later):
            os.kill(os.getpid(), TERM)
            await asyncio.wait_for(running, 10)
            assert signal.getsignal(TERM) == later
        os.kill(os.getpid(), TERM)  # ours is back, and has no worker any more
        await until(lambda: heard == [TERM, TERM])


async def test_a_handler_of_the_event_loop_is_called_as_well(database: str) -> None:
    heard = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(TERM, heard.set)
    try:
        worker = Worker(database, [idle])
        running = asyncio.create_task(worker.run())
        await until(ready(worker))
        os.kill(os.getpid(), TERM)
        await asyncio.wait_for(running, 10)
        await asyncio.wait_for(heard.wait(), 10)
    finally:
        loop.remove_signal_handler(TERM)


async def test_a_worker_that_is_not_to_handle_signals_leaves_them_alone(database: str) -> None:
    heard: list[int] = []

    def host(signaled: int, _: object) -> None:
        heard.append(signaled)

    with handled_by(host):
        worker = Worker(database, [idle], handle_signals=False)
        running = asyncio.create_task(worker.run())
        await until(ready(worker))
        assert signal.getsignal(TERM) == signal.getsignal(INT) == host
        os.kill(os.getpid(), TERM)
        await until(lambda: heard)
        assert worker.ready()
        worker.stop()
        await asyncio.wait_for(running, 10)
    assert await rows(database, "SELECT 1 FROM durable.workers") == []
