"""A workflow that executes what a document says: steps in sequence and in parallel, with variables.

Temporal's `dsl`. The document is the run's input, so each run keeps its own. The place of a step in it is its key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from durable import AsyncClient, Context, Worker, workflow

DOCUMENT = b"""{"do": "sequence", "parts": [
    {"do": "step", "name": "fetch", "argument": "city", "result": "page"},
    {"do": "parallel", "parts": [{"do": "step", "name": "shout", "argument": "page", "result": "loud"},
                                 {"do": "step", "name": "count", "argument": "page", "result": "length"}]}]}"""


class Step(msgspec.Struct, tag_field="do", tag="step"):
    name: str
    argument: str
    result: str


class Sequence(msgspec.Struct, tag_field="do", tag="sequence"):
    parts: list[Step | Sequence | Parallel]


class Parallel(msgspec.Struct, tag_field="do", tag="parallel"):
    parts: list[Step | Sequence | Parallel]


STEPS: dict[str, Callable[..., object]] = {"fetch": "all about {}".format, "shout": str.upper, "count": len}


async def run_part(ctx: Context, part: Step | Sequence | Parallel, place: str, found: dict[str, object]) -> None:
    if isinstance(part, Step):
        found[part.result] = await ctx.execute(place, STEPS[part.name], found[part.argument])
        return
    parts = [run_part(ctx, inner, f"{place}.{number}", found) for number, inner in enumerate(part.parts, 1)]
    if isinstance(part, Parallel):
        await asyncio.gather(*parts)
        return
    for each in parts:
        await each


@workflow
async def interpret(ctx: Context, root: Step | Sequence | Parallel) -> dict[str, object]:
    found: dict[str, object] = {"city": "Paris"}
    await run_part(ctx, root, "part", found)
    return found


async def main(dsn: str) -> dict[str, object]:
    root = msgspec.json.decode(DOCUMENT, type=Step | Sequence | Parallel)
    async with AsyncClient(dsn) as client, Worker(dsn, [interpret]):
        return await (await client.begin(interpret, root)).result()
