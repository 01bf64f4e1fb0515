"""Two releases of one application: the same keys, other types of what is stored."""

from __future__ import annotations

import random
from typing import Any, Literal

import msgspec

from durable import Call, Context, Workflow, workflow
from tests.faults.effects import STEADFAST, effect, journal
from tests.faults.workload import WORKFLOWS

Place = Literal["input", "step", "event", "child"]


class Bought(msgspec.Struct, frozen=True):
    item: str


class Receipt(msgspec.Struct, frozen=True):
    """What the later release has in its place: a ``Bought`` is none."""

    item: str
    currency: str


class Trade(msgspec.Struct, frozen=True):
    """``place``: where the run meets something whose type has changed."""

    number: int
    place: Place
    seconds: float
    bought: Bought


class Retrade(msgspec.Struct, frozen=True):
    """The later release's input, for some workflows."""

    number: int
    place: Place
    seconds: float
    bought: Receipt


def _release(order_type: Any, made: Any) -> list[Workflow[Any, Any]]:
    """``order_type``: of the input of one workflow; ``made``: what is bought, told and returned by children."""

    def bought(item: str) -> Any:
        return Bought(item) if made is Bought else Receipt(item, "EUR")

    async def buy(run_id: str) -> Any:
        await journal.write(run_id, "buy", "start")
        value = bought(f"{random.getrandbits(64):016x}")
        await journal.write(run_id, "buy", "done", msgspec.json.encode(value).decode())
        return value

    async def sell(ctx: Context, item: str) -> Any:
        return bought(item)

    buy.__annotations__["return"] = sell.__annotations__["return"] = made
    selling = workflow(name="selling")(sell)

    async def trade(ctx: Context, order: Any) -> list[str]:
        try:
            item = await _item(ctx, order)
            await ctx.sleep("nap", order.seconds)
            return [item, await ctx.execute(Call("ship", retry=STEADFAST), effect, ctx.run_id, "ship")]
        except Exception:
            await ctx.execute(Call("refund", retry=STEADFAST), effect, ctx.run_id, "refund")
            raise

    async def _item(ctx: Context, order: Any) -> str:
        match order.place:
            case "step":
                return str((await ctx.execute(Call("buy", retry=STEADFAST), buy, ctx.run_id)).item)
            case "event":
                return str((await ctx.wait_for_event("bought", "bought", made)).item)
            case "child":
                return str((await ctx.run_child("sell", selling, order.bought.item)).item)
            case _:
                return str(order.bought.item)

    async def typed_trade(ctx: Context, order: Any) -> list[str]:
        return await trade(ctx, order)

    trade.__annotations__["order"], typed_trade.__annotations__["order"] = Trade, order_type
    return [workflow(name="trading")(trade), workflow(name="typed")(typed_trade), selling]


EARLIER = _release(Trade, Bought)
LATER = _release(Retrade, Receipt)
EARLIER_WORKFLOWS: list[Workflow[Any, Any]] = [*WORKFLOWS, *EARLIER]
LATER_WORKFLOWS: list[Workflow[Any, Any]] = [*WORKFLOWS, *LATER]
