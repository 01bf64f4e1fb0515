"""Five calls are allowed, and five calls it is, although the workers are killed in between.

Temporal's `hello_activity_retry`, with `kill -9`. Each try that fails is recorded with the run before the next one
begins, so no restart of a worker adds any. Between the tries the run sleeps, and shows what has failed.
"""

import asyncio
import subprocess
import sys
from pathlib import Path

from durable import AsyncClient, Call, Context, RetryPolicy, RunFailed, Worker, current_step, workflow

FIVE_CALLS = RetryPolicy(max_retries=4, backoff=1.5)


async def call_service(log: Path) -> None:
    with log.open("a") as calls:
        calls.write(f"try {current_step().attempt}\n")
    raise ConnectionError("the service is down")


@workflow
async def persistent(ctx: Context, log: str) -> None:
    await ctx.execute(Call("call", retry=FIVE_CALLS), call_service, Path(log))


async def work(dsn: str) -> None:
    await Worker(dsn, [persistent]).run()


async def main(dsn: str, log: Path) -> list[str]:
    shown: list[str] = []
    async with AsyncClient(dsn) as client:
        handle = await client.begin(persistent, str(log))
        for tries in (1, 2):
            worker = subprocess.Popen([sys.executable, __file__, dsn])
            try:
                while f"in try {tries}" not in str((info := await handle.info()).error) or info.status != "sleeping":
                    await asyncio.sleep(0.02)
            finally:
                worker.kill()  # SIGKILL: nothing can be written down any more
                worker.wait()
            shown.append(f"{info.status}: {info.error.message if info.error else ''}")
        async with Worker(dsn, [persistent]):
            try:
                await handle.result()
            except RunFailed as failed:
                shown.append(failed.error.message)
    return shown


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1]))
