"""What was acknowledged is on disk: the server is crashed under load, and before anybody works again its tables hold
all that had been answered."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import psycopg

from durable import AsyncClient, Context, RunKey, Worker, workflow
from tests.faults.server import Server
from tests.worker.processes import ROOT

ROUNDS = 3
STEPS = 1000
NOTED = re.compile(r"(\S+) (\d+)\n")


async def note(run_id: str, index: int) -> None:
    """That this step begins says that all before it were acknowledged."""
    file = os.open(os.environ["TEST_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{run_id} {index}\n".encode())
    os.close(file)


@workflow(concurrency=20)
async def counting(ctx: Context) -> None:
    for index in range(STEPS):
        await ctx.execute(f"step {index}", note, str(ctx.run_id), index)


async def begin_for_ever(dsn: str, begun: list[RunKey]) -> None:
    """``begun``: what the application was told is begun."""
    async with AsyncClient(dsn) as client:
        while True:
            begun.append((await client.begin(counting)).run_key)


async def crash(server: Server, dsn: str, notes: Path) -> tuple[Counter[str], set[str]]:
    """The memos acknowledged of each run, and the runs acknowledged; nobody has written since."""
    environment = {**os.environ, "TEST_NOTES": str(notes), "PYTHONPATH": ROOT}
    command = [sys.executable, "-m", "tests.worker.test_acknowledged", dsn]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.DEVNULL) as worker:
        begun: list[RunKey] = []
        beginning = asyncio.create_task(begin_for_ever(dsn, begun))
        async with asyncio.timeout(30):
            while not notes.exists() or len(notes.read_text().splitlines()) < 1000:
                await asyncio.sleep(0.02)
        await server.stop(signal.SIGQUIT)
        worker.kill()
    beginning.cancel()
    await asyncio.gather(beginning, return_exceptions=True)
    await server.start()
    acknowledged: Counter[str] = Counter()
    for run_id, index in NOTED.findall(notes.read_text()):
        acknowledged[run_id] = max(acknowledged[run_id], int(index))
    return acknowledged, {key.run_id for key in begun}


async def lost(server: Server, dsn: str, notes: Path) -> tuple[int, int]:
    """How many memos and runs were acknowledged, and are not there."""
    acknowledged, begun = await crash(server, dsn, notes)
    assert sum(acknowledged.values()) > 500
    assert len(begun) > 50
    with psycopg.connect(dsn) as connection:
        memos = dict(connection.execute("SELECT run_id::text, count(*) FROM durable.steps GROUP BY 1").fetchall())
        runs = {row[0] for row in connection.execute("SELECT run_id::text FROM durable.runs").fetchall()}
    missing = sum(max(0, count - memos.get(run_id, 0)) for run_id, count in acknowledged.items())
    return missing, len(begun - runs)


def test_each_acknowledged_memo_and_run_is_there_after_a_crash_of_the_server(tmp_path: Path) -> None:
    with Server() as server:
        for number in range(ROUNDS):
            dsn = server.create_database(f"round_{number}")
            assert asyncio.run(lost(server, dsn, tmp_path / f"notes {number}")) == (0, 0)


def test_a_server_that_answers_before_it_writes_is_found_out(tmp_path: Path) -> None:
    """The check can fail: without synchronous commit the same crash loses what was acknowledged."""
    with Server(settings={"synchronous_commit": "off", "wal_writer_delay": "10s"}) as server:
        missing = [
            asyncio.run(lost(server, server.create_database(f"round_{number}"), tmp_path / f"notes {number}"))
            for number in range(ROUNDS)
        ]
        assert any(memos or runs for memos, runs in missing)


if __name__ == "__main__":
    asyncio.run(Worker(sys.argv[1], [counting]).run())
