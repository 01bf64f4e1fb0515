"""Parents, children, codecs with a temper, and ways to wait for what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import psycopg

from durable import AsyncHandle, Context, JsonCodec, RunKey, workflow


class Plant(msgspec.Struct):
    height: int


@workflow
async def grow(ctx: Context, plant: Plant) -> Plant:
    return Plant(plant.height + 1)


@workflow
async def linger(ctx: Context) -> str:
    return str(await ctx.wait_for_event("wait", "go", str))


@workflow
async def wilt(ctx: Context, why: str) -> None:
    raise ValueError(why)


@workflow
async def wait_for_lingering(ctx: Context) -> str:
    return await ctx.run_child("child", linger)


class Reversing(JsonCodec):
    """Unreadable for others."""

    def encode(self, value: object, what: str) -> str:
        return msgspec.json.encode(super().encode(value, what)[::-1]).decode()

    def decode(self, text: str, type: Any, what: str) -> Any:
        return super().decode(msgspec.json.decode(text, type=str)[::-1], type, what)


class Faulty(JsonCodec):
    """Writes what no database takes, or breaks the engine."""

    def encode(self, value: object, what: str) -> str:
        if value == "unrecordable":
            return "this is no JSON"
        if isinstance(value, float):
            raise RuntimeError("a codec with a defect")
        return super().encode(value, what)


async def query(dsn: str, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        cursor = await connection.execute(statement.encode(), parameters)
        return await cursor.fetchall() if cursor.description else []


async def until(condition: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    async with asyncio.timeout(20):
        while not (answer := await condition()):
            await asyncio.sleep(0.01)
    return answer


async def until_status(handle: AsyncHandle[Any], status: str) -> None:
    async def is_reached() -> bool:
        return (await handle.info()).status == status

    await until(is_reached)


async def children_of(dsn: str, handle: AsyncHandle[Any]) -> list[tuple[RunKey, str]]:
    found = await query(
        dsn,
        "SELECT workflow_name_shard, run_id::text, status FROM durable.runs"
        " WHERE parent_run_id = %s AND parent_shard = %s ORDER BY run_id",
        handle.run_key.run_id,
        handle.run_key.workflow_name_shard,
    )
    return [(RunKey(shard_value, run_id), status) for shard_value, run_id, status in found]


async def only_child(dsn: str, handle: AsyncHandle[Any], *statuses: str) -> RunKey:
    """Once it has one of the statuses."""

    async def has_it() -> RunKey | None:
        children = await children_of(dsn, handle)
        return children[0][0] if children and children[0][1] in statuses else None

    found: RunKey = await until(has_it)
    return found
