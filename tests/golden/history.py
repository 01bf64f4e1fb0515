"""A golden history: the rows of one run as text, and what its workflow does with them."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from durable import RunKey
from durable.core.codec.json_codec import JsonCodec
from durable.core.replay.commands import Complete, EndCancelled, Fail
from durable.core.replay.history import History
from durable.postgres.drive import run
from durable.store import claims
from durable.store.records import ClaimedRun
from durable.store.statement import Batch
from durable.worker.clock import Clock
from durable.worker.run.attempt import Attempt
from tests.golden.features import FEATURES

HISTORIES = Path(__file__).parent / "histories"

Row = dict[str, str | None]


class Golden(msgspec.Struct, frozen=True):
    """``tables`` holds rows with every value as Postgres writes it, JSON to the letter. ``does`` is all that the code
    commands when it has met the history."""

    workflow: str
    tables: dict[str, list[Row]]
    does: list[str]

    @property
    def run(self) -> Row:
        return self.tables["runs"][0]

    @property
    def run_key(self) -> RunKey:
        shard_value, run_id = self.run["workflow_name_shard"], self.run["run_id"]
        assert shard_value is not None
        assert run_id is not None
        return RunKey(shard_value, run_id)


def path_of(feature: str) -> Path:
    return HISTORIES / f"{feature}.json"


def read(feature: str) -> Golden:
    return msgspec.json.decode(path_of(feature).read_bytes(), type=Golden)


def read_rows(connection: psycopg.Connection[Any], run_key: RunKey) -> dict[str, list[Row]]:
    """All of the run, in the order of the primary keys."""
    tables: dict[str, list[Row]] = {}
    for table in ("runs", "steps", "waits"):
        columns = [
            row[0]
            for row in connection.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
                " ORDER BY attnum",
                (f"durable.{table}",),
            )
        ]
        query = sql.SQL("SELECT {} FROM durable.{} WHERE workflow_name_shard = %s AND run_id = %s ORDER BY {}").format(
            sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(column)) for column in columns),
            sql.Identifier(table),
            sql.Identifier({"runs": "run_id", "steps": "step_key", "waits": "wait_key"}[table]),
        )
        rows = connection.execute(query, (run_key.workflow_name_shard, run_key.run_id)).fetchall()
        tables[table] = [dict(zip(columns, row, strict=True)) for row in rows]
    return tables


def write_rows(connection: psycopg.Connection[Any], tables: dict[str, list[Row]]) -> None:
    """As an older version has left them in the tables of today."""
    for table, rows in tables.items():
        for row in rows:
            given = {column: value for column, value in row.items() if value is not None}
            connection.execute(
                sql.SQL("INSERT INTO durable.{} ({}) VALUES ({})").format(
                    sql.Identifier(table),
                    sql.SQL(", ").join(map(sql.Identifier, given)),
                    sql.SQL(", ").join(sql.Placeholder() * len(given)),
                ),
                list(given.values()),
            )


def load(connection: psycopg.Connection[Any], run_key: RunKey) -> History:
    """The history as a worker of today reads it."""
    run_ids = [run_key.run_id]
    found = run(connection, "durable", Batch(claims.load(run_key.workflow_name_shard, run_ids, [])))
    history = claims.comebacks(run_ids, [], found)[run_key.run_id].history
    assert history is not None
    return history


def replay(feature: str, run: Row, run_key: RunKey, history: History) -> list[str]:
    """What the workflow of today commands. Tracebacks are left out: they tell lines of code."""
    row = {column: run[column] for column in ("input", "version", "attempts")}
    claimed = msgspec.convert(
        {
            "run_id": run_key.run_id,
            "epoch": 1,
            "version": int(row["version"] or 1),
            "attempts": int(row["attempts"] or 0),
            "set_asides": 0,
            "input": row["input"],
            "claimed_at": "2026-01-01T00:00:00Z",
            "deadline_in": None,
            "scheduled_at": None,
            "chapter": int(run["chapter"]) if run.get("chapter") else None,
            "began_at": datetime.fromisoformat(run["started_at"]) if run["started_at"] else None,
        },
        ClaimedRun,
    )
    attempt = Attempt(FEATURES[feature].workflow, run_key, claimed, JsonCodec(), Clock())
    machine = attempt.machine(history)
    try:
        return [_told(command) for command in machine.start(attempt.main(machine))]
    finally:
        machine.close()


def _told(command: object) -> str:
    match command:
        case Complete(output):
            return f"complete with {output}"
        case Fail(error, _):
            return f"fail with {error.type}: {error.message}"
        case EndCancelled(cancel, error):
            return f"end cancelled by {cancel.cause} {cancel.reason!r}, {error and f'{error.type}: {error.message}'}"
        case _:
            return str(command)
