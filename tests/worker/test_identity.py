"""A flush under an identity that the worker took while its runs were still under way."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from durable import Context, Worker, workflow
from durable.admin.migration import migrate
from durable.core.runs import RunKey
from durable.postgres.connection import EngineConnection
from durable.store.flush import flush
from durable.store.operation import Operation
from durable.store.records import ChildMemo, Record
from durable.store.statement import Statement


@workflow
async def idle(ctx: Context) -> None: ...


async def test_a_flush_under_another_identity_stores_nothing_of_a_run_of_the_same_epoch(database: str) -> None:
    """A claim that met the end of its own worker's lease: committed under the identity that the worker had before."""
    migrate(database)
    parent, child, former, present = (str(uuid.uuid4()) for _ in range(4))
    async with await AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute(
            "INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, input, status, worker_id, epoch)"
            " VALUES ('p_0', %s, 'p', 'null', 'running', %s, 1)",
            (parent, former),
        )
        record = Record(parent, 1, entries=[ChildMemo("c", 1, RunKey("q_0", child), "q", 1, "null")])
        writing = flush("p_0", present, [record], is_repeat=False, is_leaving=False)
        (written,) = await EngineConnection(connection, "durable").run(writing)
        assert not written.is_ours
        memos = await (await connection.execute("SELECT step_key FROM durable.steps")).fetchall()
        runs = await (
            await connection.execute("SELECT workflow_name FROM durable.runs WHERE workflow_name = 'q'")
        ).fetchall()
        assert (memos, runs) == ([], [])


async def test_a_worker_takes_a_new_name_once_the_others_know_it_and_only_one(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is claimed under a name registered nowhere is an orphan's. Here the answer to the registration is lost."""
    migrate(database)
    original, registered, names = EngineConnection.answer, 0, list[str | None]()

    async def losing(connection: EngineConnection, asked: Operation[Any], *seconds: float) -> Any:
        nonlocal registered
        answer = await original(connection, asked, *seconds)
        if isinstance(asked, Statement) and asked.query.name == "workers/register_worker":
            registered += 1
            names.append(worker.status().worker_id)
            if registered == 2:
                raise psycopg.OperationalError("the answer is lost")
        return answer

    monkeypatch.setattr(EngineConnection, "answer", losing)
    worker = Worker(database, [idle])
    async with worker, await AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute("DELETE FROM durable.workers")
        async with asyncio.timeout(20):
            while registered < 3 or worker.status().worker_id == names[0]:
                await asyncio.sleep(0.01)
        assert names[:3] == [names[0]] * 3
        rows = await (await connection.execute("SELECT worker_id::text FROM durable.workers")).fetchall()
        assert rows == [(worker.status().worker_id,)]
