"""Worker processes that can be killed, and the workflows they run. Run as a module it is such a process."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Self

import psycopg

from durable import (
    Call,
    Context,
    RetryPolicy,
    RunFailed,
    StepFailed,
    StepInterrupted,
    Worker,
    Workflow,
    current_step,
    workflow,
)
from tests import roles

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LEASE = 3.0


async def note(text: str) -> None:
    """Tells the test, on a connection of its own, that a step body has begun."""
    async with await psycopg.AsyncConnection.connect(os.environ["TEST_DSN"], autocommit=True) as journal:
        await journal.execute("INSERT INTO journal (entry, process_id) VALUES (%s, %s)", (text, os.getpid()))


async def quick(name: str) -> str:
    await note(name)
    return name


async def hang(name: str) -> str:
    await note(name)
    if os.environ.get("TEST_HANGS"):
        await asyncio.sleep(600)
    return name


async def book(tx: psycopg.AsyncConnection[Any], name: str) -> str:
    await note(name)
    await tx.execute("INSERT INTO ledger (entry) VALUES (%s)", (name,))
    if os.environ.get("TEST_HANGS"):
        await asyncio.sleep(600)
    return name


@workflow
async def three_steps(ctx: Context, hanging: str) -> list[str]:
    results: list[str] = []
    for name in ("first", "second", "third"):
        step = hang if name == hanging else quick
        results.append(await ctx.execute(name, quick if step is quick else hang, name))
    return results


@workflow
async def booking(ctx: Context) -> list[str]:
    before = await ctx.execute("before", quick, "before")
    return [before, await ctx.transaction(Call("book", retry=RetryPolicy(max_retries=0)), book, "booked")]


@workflow
async def crashing(ctx: Context) -> None:
    await ctx.execute("crash", crash)


async def crash() -> None:
    await note("crash")
    os._exit(1)


async def dawdle(seconds: float) -> str:
    await note("dawdle")
    await asyncio.sleep(seconds)
    return "done"


@workflow
async def dawdling(ctx: Context, seconds: float) -> str:
    return await ctx.execute("dawdle", dawdle, seconds)


@workflow
async def quick_flow(ctx: Context, name: str) -> str:
    return await ctx.execute("quick", quick, name)


@workflow
async def ticking(ctx: Context) -> None: ...


@workflow
async def one_child(ctx: Context, hanging: str) -> list[str]:
    before = await ctx.execute("prepare", hang if hanging == "prepare" else quick, "prepare")
    child = await ctx.run_child("child", three_steps, hanging)
    return [before, *child, await ctx.execute("finish", hang if hanging == "finish" else quick, "finish")]


@workflow
async def crashing_child(ctx: Context) -> str:
    try:
        await ctx.run_child("child", crashing)
    except RunFailed as error:
        return error.error.type
    return "it lives"


@workflow
async def napping(ctx: Context, seconds: float) -> None:
    await ctx.execute("lie down", quick, "lie down")
    await ctx.sleep("nap", seconds)


@workflow
async def limited(ctx: Context, seconds: float) -> str:
    try:
        async with asyncio.timeout(seconds):
            return await ctx.execute("hang", hang, "hang")
    except TimeoutError:
        return await ctx.execute("too late", quick, "too late")


@workflow
async def in_chapters(ctx: Context, hanging: str) -> list[str]:
    """Two chapters: the first does it for several items, the second undoes what it has done."""
    patched = ctx.patched("way")
    if ctx.chapter == 1:
        await ctx.map("item", hang if hanging == "item" else quick, ["a", "b", "c"], max_concurrency=1)
        return await ctx.continue_as_new(hanging)
    try:
        async with ctx.saga() as saga:
            for name in ("hotel", "car"):
                saga.undo(name, hang if hanging == "undo" else quick, f"undo {name}")
                await ctx.execute(name, quick, name)
            raise ValueError("no")
    except ValueError:
        return [str(patched), str(ctx.chapter)]


async def fail(name: str) -> None:
    await note(f"{name}, try {current_step().attempt}")
    raise ConnectionError("not yet")


async def fail_to_book(tx: psycopg.AsyncConnection[Any], name: str) -> None:
    await fail(name)


@workflow
async def failing(ctx: Context, delay: float) -> None:
    policy = RetryPolicy(max_retries=3, backoff=delay)
    outcomes = await asyncio.gather(
        ctx.execute(Call("call", retry=policy), fail, "call"),
        ctx.transaction(Call("book", retry=policy), fail_to_book, "book"),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [StepFailed, StepFailed]


@workflow
async def only_once(ctx: Context) -> str:
    try:
        return await ctx.execute(Call("hang", at_most_once=True), hang, "hang")
    except StepInterrupted as error:
        return await ctx.execute("clean up", quick, f"clean up {error.step_key}")


async def count_up() -> list[int]:
    step = current_step()
    reached = step.last_detail(int) or 0
    await note(f"begins at {reached}")
    for number in range(reached + 1, 4):
        step.heartbeat(number)
    if os.environ.get("TEST_HANGS"):
        await asyncio.sleep(600)
    return [reached, step.attempt]


@workflow
async def counting(ctx: Context) -> list[int]:
    return await ctx.execute("count", count_up)


@workflow
async def telling(ctx: Context, steps: int) -> None:
    for number in range(1, steps + 1):
        await ctx.execute(f"step {number}", quick, str(number))
        ctx.set_status(number)
        await ctx.sleep(f"nap {number}", 0.2)


WORKFLOWS: list[Workflow[Any, Any]] = [
    in_chapters,
    three_steps,
    booking,
    crashing,
    dawdling,
    quick_flow,
    ticking,
    one_child,
    crashing_child,
    napping,
    limited,
    failing,
    only_once,
    counting,
    telling,
]


def prepare(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE journal (entry text, process_id int, at timestamptz DEFAULT clock_timestamp())"
        )
        connection.execute("CREATE TABLE ledger (entry text)")


def entries(dsn: str, table: str = "journal") -> list[str]:
    with psycopg.connect(dsn) as connection:
        return [row[0] for row in connection.execute(f"SELECT entry FROM {table}").fetchall()]  # type: ignore[arg-type]


def until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """The first true answer; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {condition}")


class WorkerProcess:
    """A worker in a process of its own; killed at the end of the block whatever happens."""

    def __init__(
        self, dsn: str, *, hangs: bool = False, lease: float = LEASE, poll: float = 0.5, max_strikes: int = 3
    ) -> None:
        environment = {
            **os.environ,
            "TEST_DSN": dsn,
            "TEST_WORKER_DSN": roles.limited_to("durable_worker", dsn),
            "TEST_HANGS": "yes" if hangs else "",
            "TEST_LEASE": str(lease),
            "TEST_POLL": str(poll),
            "TEST_STRIKES": str(max_strikes),
            "PYTHONPATH": ROOT,
        }
        self.process = subprocess.Popen([sys.executable, "-m", "tests.worker.processes"], env=environment, cwd=ROOT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


async def _main() -> None:
    lease = float(os.environ["TEST_LEASE"])
    await Worker(
        os.environ["TEST_WORKER_DSN"],
        WORKFLOWS,
        lease=lease,
        poll_interval=float(os.environ["TEST_POLL"]),
        graceful_shutdown_timeout=1,
        max_strikes=int(os.environ["TEST_STRIKES"]),
    ).run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(_main())
