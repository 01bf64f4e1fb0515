"""No duty of a worker dies in silence: what it raises is logged, and it is taken up again or ends the worker."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from durable import AsyncClient, Context, Every, RunFailed, Worker, workflow
from durable.core.codec.json_codec import JsonCodec
from durable.worker.blocked import LoopWatch
from durable.worker.run.attempt import Attempt
from durable.worker.run.execution import Execution
from durable.worker.takeover import Takeover
from tests.proxy import Proxy
from tests.watching import rows, until
from tests.worker.flows import running


async def echo(value: str) -> str:
    return value


@workflow
async def echoing(ctx: Context, value: str) -> str:
    return await ctx.execute("echo", echo, value)


@workflow
async def waiting(ctx: Context) -> str:
    return await ctx.wait_for_event("wait", "go", str)


class Broken:
    """Raises in its first calls, and then does what it replaces."""

    def __init__(self, original: Callable[..., Any], times: int = 2) -> None:
        self._original = original
        self.left = times

    def __call__(self, *args: Any, **options: Any) -> Any:
        if self.left > 0:
            self.left -= 1
            raise ZeroDivisionError("a defect")
        return self._original(*args, **options)

    def __get__(self, owner: Any, _: type) -> Any:
        return lambda *args, **options: self(owner, *args, **options)


def broken(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, times: int = 2) -> Broken:
    replacement = Broken(vars(place)[name], times)
    monkeypatch.setattr(place, name, replacement)
    return replacement


def module(name: str) -> Any:
    return importlib.import_module(f"durable.{name}")


@pytest.mark.parametrize(
    ("place", "name", "said"),
    [
        ("dispatcher", "visit", "claiming runs of echoing_0 failed"),
        ("journal", "flush", "unexpected error while writing what run"),
        ("scheduler", "next_due", "looking for due schedules failed"),
        ("listener", "listen", "listening failed"),
    ],
)
async def test_a_duty_that_raises_is_taken_up_again(
    database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: str, name: str, said: str
) -> None:
    replacement = broken(monkeypatch, module(f"worker.{place}"), name)
    async with AsyncClient(database) as client, Worker(database, [echoing, waiting], poll_interval=0.05) as worker:
        await client.schedule(waiting, None, "ticking", Every(1))
        assert await (await client.begin(echoing, "all the same")).result(timeout=20) == "all the same"
        await until(lambda: replacement.left == 0)
        await until(lambda: worker.status().is_listening)
        await until(lambda: rows(database, "SELECT 1 FROM durable.runs WHERE workflow_name = 'waiting'"))
        assert worker.healthy()
    assert said in caplog.text
    assert "ZeroDivisionError: a defect" in caplog.text


async def test_a_takeover_that_raises_is_taken_up_again(
    database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    replacement = broken(monkeypatch, Takeover, "_look")
    async with running(database, echoing) as client:
        await until(lambda: replacement.left == 0)
        assert await (await client.begin(echoing, "all the same")).result(timeout=20) == "all the same"
    assert "takeover failed and will be tried again" in caplog.text


@pytest.mark.parametrize(("place", "name"), [(LoopWatch, "look"), (module("worker.lease"), "beat")])
async def test_a_duty_without_which_no_worker_can_be_ends_it_with_the_error_and_at_once_in_the_log(
    database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: Any, name: str
) -> None:
    with pytest.raises(ZeroDivisionError, match="a defect"):
        async with Worker(database, [echoing]) as worker:
            broken(monkeypatch, place, name)
            await until(lambda: "ends because of an unexpected error" in caplog.text)
            await until(lambda: worker.status().state == "stopped")


@pytest.mark.parametrize(
    ("place", "name"),
    [(Execution, "take_record"), (Execution, "__init__"), (Attempt, "main"), (Execution, "_settle")],
)
async def test_a_run_that_raises_where_none_may_is_released_and_harms_no_other(
    database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: type[Any], name: str
) -> None:
    values = [str(number) for number in range(20)]
    broken(monkeypatch, place, name, 1)
    async with AsyncClient(database) as client:
        run_keys = await client.begin_many(echoing, values)
        async with Worker(database, [echoing], poll_interval=0.05):
            handles = [client.handle(run_key, echoing) for run_key in run_keys]
            assert [await handle.result(timeout=20) for handle in handles] == values
    assert "ZeroDivisionError: a defect" in caplog.text


async def test_one_run_that_cannot_be_abandoned_does_not_keep_the_others(
    database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    started: Counter[str] = Counter()

    async def hang(name: str) -> None:
        started[name] += 1
        await asyncio.sleep(600 if started[name] == 1 else 0)

    @workflow
    async def hanging(ctx: Context, name: str) -> None:
        await ctx.execute("hang", hang, name)

    async with AsyncClient(database) as client, Worker(database, [hanging], graceful_shutdown_timeout=0) as worker:
        handles = [await client.begin(hanging, name) for name in ("first", "second", "third")]
        await until(lambda: len(started) == 3)
        broken(monkeypatch, Execution, "close", 1)
        worker._lost()
        assert worker.status().active_runs == 0
        for handle in handles:
            await handle.result(timeout=20)
    assert "unexpected error in" in caplog.text


async def test_what_looks_at_a_silent_connection_looks_again_when_it_has_failed(
    database: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    replacement = broken(monkeypatch, module("postgres.silence"), "look_at_backend", 1)
    async with Proxy(database) as proxy, AsyncClient(database) as client:
        async with Worker(proxy.conninfo, [waiting], poll_interval=0.05):
            handle = await client.begin(waiting)
            await until(lambda: rows(database, "SELECT 1 FROM durable.runs WHERE status = 'waiting_event'"))
            proxy.silence()
            await handle.publish_event("go", "all the same")
            await until(lambda: proxy.swallowed)
            proxy.speak()
            assert await handle.result(timeout=30) == "all the same"
    assert replacement.left == 0
    assert "unexpected error while the server was asked about a slow connection" in caplog.text


class Surrogates(JsonCodec):
    """Lets a lone surrogate pass, which no text that goes to the server may contain."""

    def encode(self, value: object, what: str) -> str:
        return '"\ud800"' if value == "poison" and "output" in what else super().encode(value, what)


async def test_a_text_that_cannot_be_encoded_fails_its_run_with_the_reason_and_no_other_of_the_batch(
    database: str,
) -> None:
    values = [*(str(number) for number in range(40)), "poison"]
    async with AsyncClient(database) as client:
        run_keys = await client.begin_many(echoing, values)
        async with Worker(database, [echoing], codec=Surrogates()):
            handles = [client.handle(run_key, echoing) for run_key in run_keys]
            results = await asyncio.gather(*(handle.result(timeout=20) for handle in handles), return_exceptions=True)
    assert results[:-1] == values[:-1]
    assert isinstance(results[-1], RunFailed)
    assert r"contains U+D800, which cannot be sent in the encoding of the connection" in str(results[-1])


async def test_a_missing_table_fails_no_run_and_is_waited_out(database: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with (
        await psycopg.AsyncConnection.connect(database, autocommit=True) as admin,
        AsyncClient(database) as client,
        Worker(database, [echoing], poll_interval=0.05),
    ):
        await admin.execute("ALTER TABLE durable.steps RENAME TO hidden")
        try:
            handle = await client.begin(echoing, "at last")
            await until(lambda: "flush of echoing_0 failed and will be tried again" in caplog.text)
        finally:
            await admin.execute("ALTER TABLE durable.hidden RENAME TO steps")
        assert await handle.result(timeout=20) == "at last"
