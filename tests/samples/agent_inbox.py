"""Agents that ask a person before they act, and the inbox in which the person sees what they ask.

DBOS's `agent-inbox`. A run shows its question with `set_status` and waits; the inbox lists the runs that wait. No
answer within a week counts as a no.
"""

import asyncio
from datetime import timedelta

from durable import AsyncClient, Context, EventTimeout, RunKey, Worker, workflow

done: list[str] = []


async def act(task: str) -> None:
    done.append(task)


@workflow
async def agent(ctx: Context, task: str) -> str:
    ctx.set_status(f"May I {task}?")
    try:
        is_approved = await ctx.wait_for_event("answer", "answer", bool, timeout=timedelta(days=7))
    except EventTimeout:
        is_approved = False
    ctx.set_status(f"{'On it' if is_approved else 'Dropped'}: {task}")
    if is_approved:
        await ctx.execute("act", act, task)
    return "done" if is_approved else "dropped"


async def inbox(client: AsyncClient) -> list[tuple[RunKey, str]]:
    waiting = await client.list_runs(workflow=agent, status="waiting_event")
    return [(run.run_key, (await client.get_run_info(run.run_key)).detail) for run in waiting]


async def main(dsn: str) -> tuple[list[str], list[str], int]:
    async with AsyncClient(dsn) as client, Worker(dsn, [agent]):
        handles = [await client.begin(agent, task) for task in ("book the flight", "delete the database")]
        while len(questions := await inbox(client)) < len(handles):
            await asyncio.sleep(0.02)
        for run_key, question in questions:
            await client.publish_event(run_key, "answer", "delete" not in question)
        outcomes = [await handle.result() for handle in handles]
        return sorted(question for _, question in questions), outcomes, len(await inbox(client))
