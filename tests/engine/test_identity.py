"""A flush under an identity that the worker took while its runs were still under way."""

from __future__ import annotations

import uuid

from psycopg import AsyncConnection

from durable.core.runs import RunKey
from durable.database import commit
from durable.migrate import migrate
from durable.store.flush import Flush
from durable.store.records import NewChild, Record, StepMemo


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
        memo = StepMemo("c", "child", 1, "q", 1, 0.0, None, f'"q_0:{child}"', None)
        record = Record(parent, 1, steps=[memo], children=[NewChild(RunKey("q_0", child), "q", 1, None, "null")])
        flush = Flush("durable", "p_0", present, [record])
        await commit(connection, flush.statements(), following=[flush.relatives])
        assert not flush.written(record).is_ours
        memos = await (await connection.execute("SELECT step_key FROM durable.steps")).fetchall()
        runs = await (
            await connection.execute("SELECT workflow_name FROM durable.runs WHERE workflow_name = 'q'")
        ).fetchall()
        assert (memos, runs) == ([], [])
