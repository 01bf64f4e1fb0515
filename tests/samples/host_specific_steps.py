"""A file is downloaded by any host, and everything after that happens on the host that has the file.

Temporal's `worker_specific_task_queues`, Hatchet's sticky workers. What only one host can do is a workflow that has the
host in its name. The same function makes it on both sides: for the host that serves it, and for the run that needs it.
"""

import asyncio

from durable import AsyncClient, Context, Worker, Workflow, workflow


class Host:
    """A machine with a disk of its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.files: dict[str, str] = {}

    async def fetch(self, url: str) -> tuple[str, str]:
        path = f"/tmp/{url}"
        self.files[path] = f"{url}, fetched by {self.name}"
        return self.name, path

    async def read(self, path: str) -> str:
        return f"{self.files[path]}, read on {self.name}"


def reading_on(host: Host) -> Workflow[str, str]:
    @workflow(name=f"read on {host.name}")
    async def read(ctx: Context, path: str) -> str:
        return await ctx.execute("read", host.read, path)

    return read


def workflows_of(host: Host) -> list[Workflow[str, str]]:
    @workflow
    async def process(ctx: Context, url: str) -> str:
        name, path = await ctx.execute("fetch", host.fetch, url)
        return await ctx.run_child("read", reading_on(Host(name)), path)

    return [process, reading_on(host)]


async def main(dsn: str) -> list[str]:
    on_alpha, on_beta = workflows_of(Host("alpha")), workflows_of(Host("beta"))
    async with AsyncClient(dsn) as client, Worker(dsn, on_alpha), Worker(dsn, on_beta):
        handles = [await client.begin(on_alpha[0], f"page-{number}.example") for number in range(8)]
        return await asyncio.gather(*(handle.result() for handle in handles))
