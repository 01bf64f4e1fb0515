"""Workflows to begin; nothing here executes them."""

from __future__ import annotations

import msgspec

from durable.core.replay.context import Context
from durable.core.replay.decorator import workflow


class Order(msgspec.Struct):
    number: int
    note: str = ""


class Receipt(msgspec.Struct):
    total: float


@workflow
async def greet(ctx: Context, name: str) -> str:
    return name


@workflow(name="checkout ✓", version=3)
async def checkout(ctx: Context, order: Order) -> Receipt:
    return Receipt(0.0)


@workflow
async def nightly(ctx: Context) -> int:
    return 1
