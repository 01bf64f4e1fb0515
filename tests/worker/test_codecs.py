"""The codec of a workflow, or of client and worker."""

from __future__ import annotations

from typing import Any

import pytest

from durable import AsyncClient, Context, JsonCodec, Worker, workflow
from tests.watching import rows
from tests.worker.flows import process_until_there_is_one


class Reversed(JsonCodec):
    """What it stores nobody reads by accident."""

    def encode(self, value: object, what: str) -> str:
        return super().encode(super().encode(value, what)[::-1], what)

    def decode(self, text: str, type: Any, what: str) -> Any:
        return super().decode(super().decode(text, str, what)[::-1], type, what)


@pytest.mark.parametrize("whose", ["the workflow", "client and worker"])
async def test_a_codec_of_a_workflow_or_of_client_and_worker_encodes_all_that_is_stored(
    database: str, whose: str
) -> None:
    both = {} if whose == "the workflow" else {"codec": Reversed()}

    async def append(text: str) -> str:
        return text + "step, "

    @workflow(codec=Reversed() if whose == "the workflow" else None)
    async def secret(ctx: Context, text: str) -> str:
        text = await ctx.execute("append", append, text)
        return text + await ctx.wait_for_event("wait", "news", str)

    worker = Worker(database, [secret], **both)
    async with AsyncClient(database, **both) as client:
        handle = await client.begin(secret, "input, ")
        assert await worker.process_one()
        await handle.publish_event("news", "event")
        await process_until_there_is_one(worker)
        assert await handle.result(timeout=0) == "input, step, event"
    stored = await rows(
        database,
        "SELECT run.input::text, run.output::text, step.input::text, step.output::text, event.payload::text"
        " FROM durable.runs AS run, durable.steps AS step, durable.events AS event",
    )
    for text in stored[0]:
        assert not any(word in text for word in ("input", "step", "event"))
        assert any(word[::-1] in text for word in ("input", "step", "event"))
