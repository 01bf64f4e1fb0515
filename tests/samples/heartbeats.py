"""A long step says how far it has come, and its next try goes on from there.

Temporal's `hello_activity_heartbeat`. The detail of a heartbeat is stored with the run, so the next try finds it on
another worker as well. A try that is silent for 30 seconds is cut off.
"""

from durable import AsyncClient, Call, Context, RetryPolicy, Worker, current_step, workflow

imported: list[str] = []


async def import_names(names: list[str]) -> int:
    step = current_step()
    done = step.last_detail(int) or 0
    for number in range(done, len(names)):
        if number == 3 and step.attempt == 1:
            raise ConnectionError("the connection was lost")
        imported.append(names[number])
        step.heartbeat(number + 1)
    return step.attempt


@workflow
async def import_all(ctx: Context, names: list[str]) -> int:
    return await ctx.execute(Call("import", retry=RetryPolicy(heartbeat=30)), import_names, names)


async def main(dsn: str) -> str:
    async with AsyncClient(dsn) as client, Worker(dsn, [import_all]):
        handle = await client.begin(import_all, ["Ada", "Grace", "Edsger", "Barbara", "Donald"])
        tries = await handle.result()
        return f"{', '.join(imported)} in {tries} tries"
