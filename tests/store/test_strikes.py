"""What a takeover makes of the runs of a dead worker."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest

from durable.core.runs import RunKey
from durable.core.suspicion import Isolation, isolation_after
from durable.postgres.pipeline import run
from durable.store.claims import claim_runs, claim_suspects, end_trial, next_wake
from durable.store.takeovers import TakenOver, take_over_runs

SHARD = "flow_0"


class Store:
    """Rows of runs, and workers that claim them and die."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    async def begin(self) -> str:
        run_id = str(uuid.uuid4())
        await self._connection.execute(
            "INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, input) VALUES (%s, %s, 'flow', '1')",
            (SHARD, run_id),
        )
        return run_id

    async def claim(self, isolation: Isolation | None = None) -> tuple[str, list[str]]:
        """As a new worker; its id, and the ids of what it got."""
        worker_id = str(uuid.uuid4())
        await self._connection.execute("UPDATE durable.runs SET next_wake_at = now() WHERE status = 'sleeping'")
        if isolation is None:
            claimed = await run(self._connection, "durable", claim_runs(SHARD, worker_id, 100))
        else:
            claimed = await run(self._connection, "durable", claim_suspects(SHARD, worker_id, 100, isolation))
        return worker_id, [one.run_id for one in claimed]

    async def die(self, worker_id: str, *, max_strikes: int = 3, **options: Any) -> TakenOver:
        taken = take_over_runs(SHARD, worker_id, 100, max_strikes=max_strikes, **options)
        return await run(self._connection, "durable", taken)

    async def record(self, run_id: str, key: str) -> None:
        await self._connection.execute(
            "INSERT INTO durable.steps"
            " (workflow_name_shard, run_id, step_key, kind, status, seq, fn, started_at, output)"
            " VALUES (%s, %s, %s, 'execute', 'completed', 1, 'f', now(), '1')",
            (SHARD, run_id, key),
        )

    async def end_trial(self, run_id: str, epoch: int) -> None:
        await run(self._connection, "durable", end_trial(RunKey(SHARD, run_id), epoch))

    async def suspects(self) -> list[str]:
        return (await run(self._connection, "durable", next_wake(SHARD, []))).suspects

    async def row(self, run_id: str) -> dict[str, Any]:
        cursor = await self._connection.execute("SELECT * FROM durable.runs WHERE run_id = %s", (run_id,))
        row = await cursor.fetchone()
        assert row is not None
        assert cursor.description is not None
        return dict(zip([column.name for column in cursor.description], row, strict=True))


async def with_store(database: str, test: Any) -> None:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await test(Store(connection))


async def test_suspicion_in_the_rows_is_that_of_the_decisions(database: str) -> None:
    async def test(store: Store) -> None:
        for has_company in (False, True):
            run_id = await store.begin()
            companions = [f"{SHARD}:{run_id}", *(["flow_0:another"] if has_company else [])]
            kind: Isolation | None = None
            for strikes in range(1, 9):
                worker_id, claimed = await store.claim(kind)
                assert claimed == [run_id]
                await store.die(worker_id, max_strikes=100, companions=companions)
                row = await store.row(run_id)
                kind = isolation_after(strikes, had_company=has_company)
                assert (row["strikes"], row["isolation"]) == (strikes, kind)
                assert row["status"] == ("queued" if kind is None else "sleeping")
                assert await store.suspects() == []
                if kind is not None:
                    pause = (row["next_wake_at"] - row["updated_at"]).total_seconds()
                    assert pause == min(300, 0.5 * 2 ** (strikes - 2))
            assert row["died_with"] == (["flow_0:another"] if has_company else None)
            await store.die((await store.claim(kind))[0], max_strikes=1)

    await with_store(database, test)


async def test_suspects_are_claimed_only_as_such(database: str) -> None:
    async def test(store: Store) -> None:
        run_id = await store.begin()
        for _ in range(2):
            await store.die((await store.claim())[0])
        assert await store.claim() != [run_id]
        assert (await store.claim())[1] == []
        assert await store.suspects() == ["alone"]
        assert (await store.claim("group"))[1] == []
        assert (await store.claim("alone"))[1] == [run_id]
        assert await store.suspects() == []

    await with_store(database, test)


async def test_only_a_death_on_trial_is_a_lone_strike(database: str) -> None:
    async def test(store: Store) -> None:
        tried, neighbor = await store.begin(), await store.begin()
        for _ in range(2):
            await store.die((await store.claim())[0])
        await store._connection.execute("UPDATE durable.runs SET isolation = NULL WHERE run_id = %s", (neighbor,))
        for number in range(1, 4):
            worker_id, claimed = await store.claim("alone")
            assert claimed == [tried]
            await store._connection.execute(
                "UPDATE durable.runs SET status = 'running', worker_id = %s, next_wake_at = NULL WHERE run_id = %s",
                (worker_id, neighbor),
            )
            taken = await store.die(worker_id, companions=[f"{SHARD}:{neighbor}", f"{SHARD}:{tried}"])
            assert (await store.row(tried))["lone_strikes"] == number
            await store._connection.execute("UPDATE durable.runs SET isolation = NULL WHERE run_id = %s", (neighbor,))
        assert taken.failed == (tried,)
        ended, innocent = await store.row(tried), await store.row(neighbor)
        assert (ended["status"], ended["error"]["type"]) == ("failed", "CrashLoop")
        assert ended["error"]["message"].endswith(f"; with it died: {SHARD}:{neighbor}")
        assert (innocent["strikes"], innocent["lone_strikes"], innocent["status"]) == (5, 0, "sleeping")

    await with_store(database, test)


async def test_progress_and_survived_trials_clear_a_suspect(database: str) -> None:
    async def test(store: Store) -> None:
        run_id = await store.begin()
        for _ in range(2):
            await store.die((await store.claim())[0])
        worker_id, _ = await store.claim("alone")
        await store.end_trial(run_id, (await store.row(run_id))["epoch"])
        await store.die(worker_id)
        assert (await store.row(run_id))["lone_strikes"] == 0, "it had survived its trial"
        worker_id, _ = await store.claim("alone")
        await store.die(worker_id)
        assert (await store.row(run_id))["lone_strikes"] == 1
        worker_id, _ = await store.claim("alone")
        await store.record(run_id, "one")
        await store.die(worker_id)
        row = await store.row(run_id)
        assert (row["strikes"], row["lone_strikes"], row["isolation"], row["status"]) == (1, 0, None, "queued")

    await with_store(database, test)


async def test_a_run_that_broke_the_engine_is_the_only_one_to_blame(database: str) -> None:
    async def test(store: Store) -> None:
        culprit, bystander = await store.begin(), await store.begin()
        for number in range(1, 3):
            worker_id, _ = await store.claim()
            await store.die(worker_id, culprits=[culprit], is_death=False)
            assert (await store.row(culprit))["lone_strikes"] == number
        row = await store.row(bystander)
        assert (row["strikes"], row["lone_strikes"], row["takeovers"], row["status"]) == (0, 0, 0, "queued")
        worker_id, _ = await store.claim()
        assert (await store.die(worker_id, culprits=[culprit], is_death=False)).failed == (culprit,)

    await with_store(database, test)


@pytest.mark.parametrize("isolation", ["group", "alone", "sole"])
async def test_a_request_to_cancel_takes_a_suspect_out_of_its_pause(database: str, isolation: str) -> None:
    async def test(store: Store) -> None:
        run_id = await store.begin()
        await store._connection.execute(
            "UPDATE durable.runs SET status = 'queued', isolation = %s WHERE run_id = %s", (isolation, run_id)
        )
        assert (await store.claim())[1] == [run_id]
        assert (await store.row(run_id))["isolation"] is None

    await with_store(database, test)
