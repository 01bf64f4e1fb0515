"""Plays scenarios, reads what they have recorded, and replays it."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import psycopg

from durable import AsyncClient, RunKey
from durable.core.codec.json_codec import JsonCodec
from durable.core.replay.commands import Complete
from durable.core.replay.history import History, Memo
from durable.postgres.pipeline import run as perform
from durable.store import claims
from durable.store.records import ClaimedRun
from durable.store.statement import Batch
from durable.worker.clock import Clock
from durable.worker.run.attempt import Attempt
from tests import roles
from tests.watching import rows
from tests.worker.run.scenarios import concurrency, timing  # noqa: F401  # register their scenarios
from tests.worker.run.scenarios.stage import EARLY, GATE, LONGEST, SCENARIOS, Played, played

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 4))


class Begun(msgspec.Struct, frozen=True):
    played: Played
    run_key: RunKey

    def __str__(self) -> str:
        return f"{self.played.scenario} with seed {self.played.seed}"


async def begin(client: AsyncClient, seeds: Sequence[int], names: Sequence[str] | None = None) -> list[Begun]:
    inputs = [Played(name, seed) for seed in seeds for name in names or SCENARIOS]
    keys = await client.begin_many(played, inputs)
    return [Begun(input, key) for input, key in zip(inputs, keys, strict=True)]


@asynccontextmanager
async def publishing(database: str, client: AsyncClient, begun: Sequence[Begun]) -> AsyncIterator[None]:
    """Publishes what the runs wait for: what comes early at a moment that is drawn, the rest whenever one is parked."""
    tasks = [asyncio.create_task(_open_gates(database, client))]
    tasks += [asyncio.create_task(_publish_early(client, one)) for one in begun]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


async def _publish_early(client: AsyncClient, one: Begun) -> None:
    await asyncio.sleep(random.Random(f"early {one.played.seed} {one.played.scenario}").random() * LONGEST)
    await client.publish_event(one.run_key, EARLY, "early")


async def _open_gates(database: str, client: AsyncClient) -> None:
    opened: set[tuple[str, int]] = set()
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        while True:
            cursor = await connection.execute(
                "SELECT workflow_name_shard, run_id::text, epoch FROM durable.runs"
                " WHERE status = 'waiting_event' AND %s = ANY (awaits)",
                (GATE,),
            )
            for shard_value, run_id, epoch in await cursor.fetchall():
                if (run_id, epoch) not in opened:
                    opened.add((run_id, epoch))
                    await client.publish_event(RunKey(shard_value, run_id), GATE, "open")
            await asyncio.sleep(0.02)


async def results(client: AsyncClient, begun: Sequence[Begun], seconds: float = 60.0) -> dict[Played, Any]:
    ended = await asyncio.gather(*(client.handle(one.run_key, played).result(timeout=seconds) for one in begun))
    return {one.played: result for one, result in zip(begun, ended, strict=True)}


class Recorded(msgspec.Struct, frozen=True):
    """The answers of a run, in the order in which it has seen them. Those without a place in it come last."""

    claimed: ClaimedRun
    memos: tuple[Memo, ...]

    @property
    def outcomes(self) -> dict[str, str]:
        """What was answered to each call."""
        return {memo.key: str(memo.outcome) for memo in self.memos}

    @property
    def winners(self) -> dict[str, str]:
        """What the code has noted."""
        return {key: outcome for key, outcome in self.outcomes.items() if key.startswith("winner of ")}


async def recorded(database: str, begun: Sequence[Begun]) -> dict[Played, Recorded]:
    """The records as a worker reads them."""
    claimed = {
        row[0]: row[1:]
        for row in await rows(database, "SELECT run_id::text, input::text, started_at FROM durable.runs")
    }
    of_run: dict[str, Played] = {one.run_key.run_id: one.played for one in begun}
    by_shard: dict[str, list[str]] = {}
    for one in begun:
        by_shard.setdefault(one.run_key.workflow_name_shard, []).append(one.run_key.run_id)
    found: dict[Played, Recorded] = {}
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        for shard_value, run_ids in by_shard.items():
            answers = await perform(connection, "durable", Batch(claims.load(shard_value, run_ids, [])))
            for run_id, comeback in claims.comebacks(run_ids, [], answers).items():
                assert comeback.history is not None
                input, began_at = claimed[run_id]
                memos = sorted(comeback.history.memos, key=lambda memo: (memo.seq is None, memo.seq or 0))
                run = ClaimedRun(run_id, 1, 1, 0, 0, input, began_at, None, None, began_at=began_at)
                found[of_run[run_id]] = Recorded(run, tuple(memos))
    return found


def check_replays(record: Recorded, shard_value: str, result: Any) -> None:
    """Replays each beginning of the record and answers the rest as it was answered: the end is always the same, and
    nothing that was recorded is missed or met in another order."""
    attempt = Attempt(played, RunKey(shard_value, record.claimed.run_id), record.claimed, JsonCodec(), Clock())
    seen = _with_times_that_can_be_seen(record.memos)
    for length in range(len(seen) + 1):
        machine = attempt.machine(History(seen[:length] if length < len(seen) else record.memos))
        commands = machine.start(attempt.main(machine))
        for memo in seen[length:]:
            machine.loop.clock = lambda at=memo.at: at
            seq, commands = machine.resolve(memo.key, memo.outcome)
            assert seq is not None, f"after {length} memos, {memo} is not waited for"
        ends = [command for command in commands if isinstance(command, Complete)]
        assert ends, f"after {length} memos, the run does not end: {commands}"
        found = msgspec.json.decode(ends[0].output)
        assert found == result, f"after {length} memos: {found} instead of {result}"
        machine.close()


def _with_times_that_can_be_seen(memos: tuple[Memo, ...]) -> tuple[Memo, ...]:
    """An answer after which the code has not asked for the time has the time of its flush, and that may lie after the
    next answer. No worker dies between the two, since one flush has written both."""
    seen: list[Memo] = []
    for memo in reversed(memos):
        assert memo.at is not None
        later = seen[-1].at if seen else None
        seen.append(msgspec.structs.replace(memo, at=min(memo.at, later or memo.at)))
    return tuple(reversed(seen))


def worker_process(database: str) -> subprocess.Popen[bytes]:
    """A worker of the scenarios, to be killed."""
    dsn = roles.limited_to("durable_worker", database)
    return subprocess.Popen([sys.executable, "-m", "tests.worker.run.scenarios", dsn], cwd=ROOT)
