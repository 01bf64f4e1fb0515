"""What the steps of the workload do to the outside: entries in the journal, on a connection of their own."""

from __future__ import annotations

import asyncio
import os
import random
import time

import psycopg
from psycopg import AsyncConnection

from durable import RetryPolicy, current_step, exponential

_Connection = AsyncConnection[tuple[object, ...]]


class Journal:
    """One connection of this process, straight to the server, whatever way the worker's own connections go."""

    def __init__(self) -> None:
        self.conninfo = ""
        self._connection: _Connection | None = None
        self._lock = asyncio.Lock()

    async def write(self, run_id: str, step_key: str, what: str, value: str | None = None) -> None:
        """Returns once the entry is committed. Raises psycopg's errors; then it may be committed or not."""
        async with self._lock:
            connection = await self._connected()
            await connection.execute(
                "INSERT INTO journal (run_id, step_key, what, value, process_id, clock)"
                " VALUES (%s, %s, %s, %s, %s, to_timestamp(%s))",
                (run_id, step_key, what, value, os.getpid(), time.time()),
            )

    async def is_remedied(self, number: int) -> bool:
        """Whether what makes that run fail has been mended."""
        async with self._lock:
            connection = await self._connected()
            found = await connection.execute("SELECT 1 FROM remedies WHERE number = %s", (number,))
            return await found.fetchone() is not None

    async def close(self) -> None:
        """It is opened anew when it is needed."""
        if self._connection is not None:
            await self._connection.close()

    async def _connected(self) -> _Connection:
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(
                self.conninfo, autocommit=True, application_name=f"journal-{os.getpid()}"
            )
        return self._connection


journal = Journal()
STEP = " in a step"
STEADFAST = RetryPolicy(max_retries=100_000, backoff=exponential(0.02, 0.3))
"""The journal is away as long as the server is."""


async def effect(run_id: str, key: str, seconds: float = 0.0) -> str:
    """An outside effect: journalled when it starts and when it is done, with a value that no other call returns."""
    await journal.write(run_id, key, "start")
    if seconds:
        await asyncio.sleep(seconds)
    value = f"{key}/{random.getrandbits(64):016x}"
    await journal.write(run_id, key, "done", value)
    return value


async def effect_of(item: tuple[str, str]) -> str:
    """The same for an item of a map: the run and the key of the step."""
    return await effect(*item)


async def stumbling_effect(run_id: str, key: str, failures: int) -> str:
    """Fails until that many tries have, which it knows from what it has said itself."""
    await journal.write(run_id, key, "start")
    step = current_step()
    failed = step.last_detail(int) or 0
    if failed < failures:
        step.heartbeat(failed + 1)
        raise Stumbled(f"try {failed + 1} of {failures}")
    value = f"{key}/{random.getrandbits(64):016x}"
    await journal.write(run_id, key, "done", value)
    return value


class Stumbled(Exception):
    """What a step raises that succeeds in the end."""


async def failing_effect(run_id: str, key: str, number: int) -> str:
    """Fails until it is remedied."""
    await journal.write(run_id, key, "start")
    if not await journal.is_remedied(number):
        raise BrokenPart(f"part of {number} is broken")
    value = f"{key}/{random.getrandbits(64):016x}"
    await journal.write(run_id, key, "done", value)
    return value


class BrokenPart(Exception):
    """What a failing step raises."""


async def name_as_step(tx: AsyncConnection[tuple[object, ...]]) -> None:
    """A transaction that waits for what a user's function does outside is as old as that takes: no fault of the
    engine's."""
    await tx.execute("SELECT set_config('application_name', current_setting('application_name') || %s, true)", (STEP,))


async def book(
    tx: AsyncConnection[tuple[object, ...]], shard_value: str, run_id: str, entry: str, account: int, amount: int
) -> int:
    """Moves an account's balance and enters that in the ledger, in the step's transaction. Returns the new balance."""
    await name_as_step(tx)
    await journal.write(run_id, entry, "start")
    await tx.execute(
        "INSERT INTO ledger (workflow_name_shard, run_id, entry, account, amount) VALUES (%s, %s, %s, %s, %s)",
        (shard_value, run_id, entry, account, amount),
    )
    moved = await tx.execute(
        "UPDATE accounts SET balance = balance + %s WHERE account = %s RETURNING balance", (amount, account)
    )
    row = await moved.fetchone()
    assert row is not None
    return int(str(row[0]))


async def refund(tx: AsyncConnection[tuple[object, ...]], shard_value: str, run_id: str, account: int) -> int:
    """Gives back what was debited and not credited, as the ledger has it. Returns what was given back."""
    await name_as_step(tx)
    await journal.write(run_id, "refund", "start")
    found = await tx.execute(
        "SELECT amount FROM ledger WHERE run_id = %s AND entry = 'debit'"
        " AND NOT EXISTS (SELECT FROM ledger WHERE run_id = %s AND entry = 'credit')",
        (run_id, run_id),
    )
    amount = -sum([int(str(row[0])) for row in await found.fetchall()])
    if amount:
        await tx.execute(
            "INSERT INTO ledger (workflow_name_shard, run_id, entry, account, amount) VALUES (%s, %s, %s, %s, %s)",
            (shard_value, run_id, "refund", account, amount),
        )
        await tx.execute("UPDATE accounts SET balance = balance + %s WHERE account = %s", (amount, account))
    return amount
