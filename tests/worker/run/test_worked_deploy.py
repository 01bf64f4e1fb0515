"""The deploy that `docs/versions.md` works through, with the code and the question that are printed there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from durable import AsyncClient, AsyncHandle, Context, Worker, Workflow, workflow
from tests.watching import rows, until
from tests.worker.run.notes import Notes, until_status

PAGE = (Path(__file__).parents[3] / "docs" / "versions.md").read_text()


def printed(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def deploys(notes: Notes) -> list[Workflow[str, str]]:
    """The three programs of the page."""

    def step(name: str) -> Any:
        async def noted(item: str) -> str:
            return await notes.note(name)

        noted.__qualname__ = name
        return noted

    found: list[Workflow[str, str]] = []
    for code in printed("python")[:3]:
        scope: dict[str, Any] = {name: step(name) for name in ("reserve", "screen", "file", "ship")}
        scope |= {"workflow": workflow, "Context": Context}
        exec(code, scope)
        found.append(scope["order"])
    return found


async def pay(order: AsyncHandle[str]) -> str:
    await order.publish_event("paid", None)
    return await order.result(timeout=20)


async def test_every_order_goes_one_way_from_its_beginning_to_its_end(database: str) -> None:
    notes = Notes()
    before, asking, after = deploys(notes)
    (question,) = printed("sql")
    async with AsyncClient(database) as client:
        async with Worker(database, [before]):
            oldest, old = await client.begin(before, "tea"), await client.begin(before, "tea")
            for order in (oldest, old):
                await until_status(order, "waiting_event")
        async with Worker(database, [asking]):
            notes.clear()
            assert await pay(oldest) == "ship"
            assert notes == ["ship"]
            new = await client.begin(asking, "tea")
            await until_status(new, "waiting_event")
            assert notes == ["ship", "reserve", "screen"]
            left = await rows(database, question)
            assert [str(run_id) for (run_id,) in left] == [old.run_key.run_id]
        async with Worker(database, [after]):
            notes.clear()
            assert await pay(new) == "ship"
            assert notes == ["file", "ship"]
            await old.publish_event("paid", None)
            await until(lambda: rows(database, "SELECT 1 FROM durable.runs WHERE set_asides > 0"))
        async with Worker(database, [asking]):
            notes.clear()
            await client.retry_run(old.run_key)
            assert await old.result(timeout=20) == "ship"
            assert notes == ["ship"]
            assert await rows(database, question) == []
