"""Who asked for it travels along: from the request into the run, its children, their steps, and all that these call.

Temporal's `context_propagation` and the baggage of `open_telemetry`. Headers are kept with the run, so they are there
after a takeover as well. Context variables that workflow code sets reach its steps, without being passed along.
"""

from contextvars import ContextVar

from durable import AsyncClient, Context, Worker, current_step, workflow

tenant: ContextVar[str] = ContextVar("tenant")
audit: list[str] = []


def write_audit(action: str) -> None:
    audit.append(f"{action} for {current_step().headers['user']} of {tenant.get()}")


async def reserve(item: str) -> None:
    write_audit(f"reserved {item}")


def pack(item: str) -> None:  # in a thread
    write_audit(f"packed {item}")


@workflow
async def packing(ctx: Context, item: str) -> None:
    tenant.set(ctx.headers["tenant"])
    await ctx.execute("pack", pack, item)


@workflow
async def order(ctx: Context, item: str) -> str:
    tenant.set(ctx.headers["tenant"])
    await ctx.execute("reserve", reserve, item)
    await ctx.run_child("packing", packing, item)
    return f"{item} for {ctx.headers['user']}"


async def main(dsn: str) -> str:
    async with AsyncClient(dsn) as client, Worker(dsn, [order, packing]):
        handle = await client.begin(order, "tea", headers={"user": "Ada", "tenant": "Analytical Engines"})
        return await handle.result()
