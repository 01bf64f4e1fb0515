"""A workflow whose input, memo and event all have a narrow type; and what nobody should have stored for it."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import msgspec

from durable import Call, Context, Workflow, workflow
from tests.faults.effects import STEADFAST, journal
from tests.faults.workload import WORKFLOWS

POISONS = {
    "E1 an escaped NUL": r'"\u0000"',
    "E1 an escaped NUL in a key": r'{"\u0000": 1}',
    "E1 a lone surrogate": r'["\ud800"]',
    "E2 what JSON has no word for": '"NaN"',
    "E3 more digits than Python reads": "1e5000",
    "E3 an integer of 5,000 digits": "9" * 5000,
    "E3 a float too large": "-1e400",
    "E4 3,000 levels of lists": "[" * 3000 + "]" * 3000,
    "E4 2,000 levels of objects": '{"a": ' * 2000 + "1" + "}" * 2000,
    "E5 more than any client stores": '"' + "x" * 1_500_000 + '"',
    "E6 one key twice": '{"number": "a", "number": "b"}',
    "another type": "[1, 2, 3]",
    "nothing": "null",
    "a class by name": '{"py/object": "os.system", "__reduce__": ["os.system", ["true"]]}',
}


class Poisoned(msgspec.Struct, frozen=True):
    number: int


async def token(run_id: str, key: str) -> UUID:
    """An effect with a value of a narrow type."""
    await journal.write(run_id, key, "start")
    value = uuid4()
    await journal.write(run_id, key, "done", str(value))
    return value


@workflow
async def poisoned(ctx: Context, order: Poisoned) -> list[UUID]:
    made = await ctx.execute(Call("made", retry=STEADFAST), token, ctx.run_id, "made")
    return [made, await ctx.wait_for_event("told", "news", UUID)]


POISONED_WORKFLOWS: list[Workflow[Any, Any]] = [*WORKFLOWS, poisoned]
