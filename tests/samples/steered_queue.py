"""A queue that is paused, and jobs in it that are put off or go first.

Oban's pausing of queues and rescheduling of jobs. While the workflow is paused, its runs are queued and none is
claimed; a job can be put off, or be had at once although its delay is not over.
"""

from datetime import timedelta

from durable import AsyncClient, Context, Worker, workflow
from tests.watching import until

done: list[str] = []


async def send(name: str) -> None:
    done.append(name)


@workflow
async def mail(ctx: Context, name: str) -> str:
    await ctx.execute("send", send, name)
    return name


async def main(dsn: str) -> tuple[list[str], list[str], str]:
    async with AsyncClient(dsn) as client, Worker(dsn, [mail]) as worker:
        await client.pause_workflow(mail, "the provider is down")
        await until(lambda: worker.status().paused_workflows == ("mail",))
        now, put_off = await client.begin(mail, "now"), await client.begin(mail, "put off")
        tomorrow = await client.begin(mail, "tomorrow", delay=timedelta(days=1))
        await put_off.reschedule(delay=timedelta(hours=1))
        await client.run_now(tomorrow.run_key)

        async def is_put_off() -> bool:
            return (await put_off.info()).status == "sleeping"

        await until(is_put_off)
        before = list(done)
        await client.resume_workflow(mail)
        results = [await run.result(timeout=20) for run in (now, tomorrow)]
        return before, results, (await put_off.info()).status
