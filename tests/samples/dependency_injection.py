"""What steps need is made once for each worker: a step can be a method of the object that has it.

Hatchet's `lifespans`, `dependency_injection` and `retries`, Temporal's `activity_multiprocess`. The workflow is made by
a function that takes the object. A step knows the number of its try; heavy computation goes to a pool of processes.
"""

import asyncio
import math
from collections.abc import AsyncGenerator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from multiprocessing import get_context

from durable import AsyncClient, Call, Context, RetryPolicy, Worker, Workflow, current_step, workflow


class Services:
    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self.pool = pool
        self.replicas = ["replica that is down", "replica that is up"]

    async def ask_a_replica(self) -> int:
        replica = self.replicas[(current_step().attempt - 1) % len(self.replicas)]  # another one in each try
        if replica.endswith("down"):
            raise ConnectionError(replica)
        return 20

    async def factorial(self, number: int) -> int:
        return await asyncio.get_running_loop().run_in_executor(self.pool, math.factorial, number)


@asynccontextmanager
async def opened_services() -> AsyncGenerator[Services, None]:
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        yield Services(pool)


def computation(services: Services) -> Workflow[None, int]:
    @workflow(name="computation")
    async def compute(ctx: Context) -> int:
        number = await ctx.execute(Call("ask", retry=RetryPolicy(max_retries=1)), services.ask_a_replica)
        return await ctx.execute("factorial", services.factorial, number)

    return compute


async def main(dsn: str) -> int:
    async with opened_services() as services, AsyncClient(dsn) as client:
        wf = computation(services)
        async with Worker(dsn, [wf]):
            return await (await client.begin(wf)).result()
