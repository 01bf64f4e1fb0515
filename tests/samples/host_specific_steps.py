"""A file is downloaded by any host, and everything after that happens on the host that has the file.

Temporal's `worker_specific_task_queues`, Hatchet's sticky workers. What only one host can do is a workflow with the
host in its name. Both sides make it with the same function: the host to serve it, the parent to have it done.
"""

import socket

from durable import AsyncClient, Context, Worker, Workflow, workflow


class Host:
    """One machine with its own disk."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.files: dict[str, str] = {}

    async def fetch(self, url: str) -> str:
        self.files["/tmp/download"] = f"what {url} says"
        return "/tmp/download"

    async def read(self, path: str) -> str:
        return f"{self.files[path]}, read on {self.name}"


this_host = Host(socket.gethostname())


@workflow
async def download(ctx: Context, url: str) -> tuple[str, str]:
    return this_host.name, await ctx.execute("fetch", this_host.fetch, url)


def read_on(host: str) -> Workflow[str, str]:
    @workflow(name=f"read on {host}")
    async def read(ctx: Context, path: str) -> str:
        return await ctx.execute("read", this_host.read, path)

    return read


@workflow
async def process(ctx: Context, url: str) -> str:
    host, path = await ctx.run_child("download", download, url)
    return await ctx.run_child("read", read_on(host), path)


async def main(dsn: str) -> str:
    async with AsyncClient(dsn) as client, Worker(dsn, [process, download, read_on(this_host.name)]):
        return await (await client.begin(process, "example.org")).result()
