"""`durable why` about runs that really do not move."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

import psycopg
import pytest

from durable import (
    Call,
    Cause,
    Client,
    Context,
    RetryPolicy,
    RunKey,
    RunNotFound,
    RunRetryPolicy,
    Worker,
    Workflow,
    exponential,
    workflow,
)
from durable.cli import main
from durable.core.runs import RunInfo
from tests.roles import as_role, make_roles


@workflow
async def waits(ctx: Context, name: str) -> str:
    return await ctx.wait_for_event("payment", "paid", str, timeout=3600)


@workflow
async def parent(ctx: Context, name: str) -> str:
    return await ctx.run_child("child", elsewhere, name)


@workflow
async def elsewhere(ctx: Context, name: str) -> str:
    return name


@workflow(retry=RunRetryPolicy(max_attempts=2, backoff=exponential(60, 60)))
async def fails(ctx: Context, name: str) -> str:
    raise ValueError(f"no money for {name}")


async def stumble(name: str) -> str:
    raise ValueError("not yet")


@workflow
async def retries(ctx: Context, name: str) -> str:
    return await ctx.execute(Call("charge", retry=RetryPolicy(backoff=exponential(60, 60))), stumble, name)


@workflow(name="changed")
async def before(ctx: Context, name: str) -> str:
    await ctx.sleep("ship", 0.2)
    return name


@workflow(name="changed", version=2)
async def after(ctx: Context, name: str) -> str:
    await ctx.sleep("dispatch", 0.2)
    return name


@workflow(concurrency=1)
async def narrow(ctx: Context, name: str) -> str:
    await ctx.execute("hold", asyncio.sleep, 600)
    return name


class Fleet:
    """A worker that lives while the block does."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    @contextmanager
    def __call__(self, *workflows: Workflow[str, str], shutdown: float = 0.0) -> Iterator[None]:
        started, ended = Event(), Event()

        async def live() -> None:
            async with Worker(self._dsn, list(workflows), graceful_shutdown_timeout=shutdown):
                started.set()
                await asyncio.to_thread(ended.wait)

        thread = Thread(target=lambda: asyncio.run(live()))
        thread.start()
        try:
            assert started.wait(20)
            yield
        finally:
            ended.set()
            thread.join()


@pytest.fixture
def fleet(database: str) -> Fleet:
    return Fleet(database)


@pytest.fixture
def client(database: str) -> Iterator[Client]:
    with Client(database) as client:
        yield client


def until(client: Client, run_key: RunKey, condition: Callable[[RunInfo], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition(client.get_run_info(run_key)):
        assert time.monotonic() < deadline, client.get_run_info(run_key)
        time.sleep(0.01)


def worst(client: Client, run_key: RunKey) -> Cause:
    return client.explain_run(run_key)[0]


def test_a_run_that_no_worker_has_is_unserved(client: Client, fleet: Fleet) -> None:
    run_key = client.begin(waits, "x").run_key
    assert (
        worst(client, run_key).sentence == "It is queued, and no living worker has 'waits'. No worker is alive at all."
    )
    with fleet(elsewhere):
        assert worst(client, run_key).sentence.endswith("Those that are alive have: elsewhere.")


def test_a_run_of_a_workflow_that_is_paused_says_so(client: Client, fleet: Fleet) -> None:
    client.pause_workflow(waits)
    with fleet(waits):
        run_key = client.begin(waits, "x").run_key
        assert worst(client, run_key).sentence.startswith("Its workflow 'waits' has been paused for ")


def test_a_run_that_waits_for_an_event_tells_which_and_what_has_come_instead(client: Client, fleet: Fleet) -> None:
    run_key = client.begin(waits, "x").run_key
    with fleet(waits):
        until(client, run_key, lambda info: info.status == "waiting_event")
        client.publish_event(run_key, "Paid", "x")
        cause = worst(client, run_key)
    assert cause.code == "waiting_for_event"
    assert cause.sentence.startswith("It waits in 'payment' for event 'paid', until ")
    assert cause.sentence.endswith("An event 'Paid' lies in its inbox: was 'paid' meant?")
    assert cause.remedy == f"to let it go on: durable events publish {run_key} paid JSON"


def test_a_parent_tells_what_its_child_waits_for(client: Client, fleet: Fleet) -> None:
    run_key = client.begin(parent, "x").run_key
    with fleet(parent):
        until(client, run_key, lambda info: info.status == "waiting_event")
        cause = worst(client, run_key)
    assert cause.code == "waiting_for_child"
    assert cause.severity == "wrong"
    assert [inner.code for inner in cause.causes] == ["unserved"]


def test_failed_attempts_and_tries_are_told_apart(client: Client, fleet: Fleet) -> None:
    failing, trying = client.begin(fails, "x").run_key, client.begin(retries, "x").run_key
    with fleet(fails, retries):
        until(client, failing, lambda info: info.attempts == 1)
        until(client, trying, lambda info: info.status == "sleeping")
    failed, tried = worst(client, failing), worst(client, trying)
    assert failed.sentence.startswith("Attempt 1 has failed with ValueError: no money for x; the next one begins at ")
    assert tried.code == "retrying"
    assert tried.sentence.startswith("Step 'charge' (stumble) has failed and is tried again at ")
    assert tried.sentence.endswith("Z: ValueError: not yet")


def test_code_that_does_not_match_sets_a_run_aside(client: Client, fleet: Fleet) -> None:
    run_key = client.begin(before, "x").run_key
    with fleet(before):
        until(client, run_key, lambda info: info.status == "sleeping")
    with fleet(after):
        until(client, run_key, lambda info: info.status_reason == "set_aside")
        cause = worst(client, run_key)
    assert cause.code == "set_aside"
    assert "'ship'" in cause.sentence
    assert "'dispatch'" in cause.sentence
    assert "Living workers have version 2; it began on version 1." in cause.sentence


def test_workers_that_are_full_and_those_that_are_executing_say_so(client: Client, fleet: Fleet) -> None:
    first = client.begin(narrow, "x").run_key
    with fleet(narrow):
        until(client, first, lambda info: info.status == "running")
        second = client.begin(narrow, "y").run_key
        assert worst(client, first).code == "running"
        assert worst(client, second).sentence == (
            "The worker that has it is full, with 1 of 1 runs; nothing goes first in its queue."
        )


def test_a_run_whose_worker_is_silent_says_when_it_moves(client: Client, database: str) -> None:
    run_key = client.begin(waits, "x").run_key
    with psycopg.connect(database, autocommit=True) as hand:
        hand.execute(
            "INSERT INTO durable.workers (worker_id, hostname, process_id, workflows, lease, heartbeat_at)"
            " VALUES (%(id)s, 'host-2', 17, '{waits}', 15, now() - interval '20 s');",
            {"id": "00000000-0000-4000-8000-000000000017"},
        )
        hand.execute(
            "UPDATE durable.runs SET status = 'running', worker_id = '00000000-0000-4000-8000-000000000017', epoch = 1"
        )
    cause = worst(client, run_key)
    assert cause.code == "silent_worker"
    assert cause.sentence.startswith(
        "Its worker (process 17 on host-2) has given no sign of life for 20 s; it moves at "
    )


def test_a_row_that_is_locked_names_the_session(client: Client, database: str) -> None:
    run_key = client.begin(waits, "x", delay=3600).run_key
    with psycopg.connect(database, application_name="psql") as other:
        other.execute("SELECT pg_sleep(5.1)")
        other.execute("SELECT FROM durable.runs FOR UPDATE")
        cause = worst(client, run_key)
        assert cause.code == "locked"
        assert f"by Postgres process {other.info.backend_pid} (psql, " in cause.sentence
        assert "idle in transaction" in cause.sentence
    assert worst(client, run_key).code == "delayed"


def test_a_role_that_sees_no_payloads_may_ask_and_learns_no_error(client: Client, fleet: Fleet, database: str) -> None:
    run_key = client.begin(fails, "secret").run_key
    with fleet(fails):
        until(client, run_key, lambda info: info.attempts == 1)
    make_roles(database)
    with Client(as_role(database, "durable_viewer")) as viewer:
        assert worst(viewer, run_key).sentence.startswith("Attempt 1 has failed; the next one begins at ")
    with Client(database) as owner:
        assert "secret" in worst(owner, run_key).sentence


def test_the_command_prints_sentences_and_its_exit_status_tells_what_is_wrong(
    client: Client, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    unserved = str(client.begin(waits, "x").run_key)
    later = str(client.begin(waits, "x", delay=3600).run_key)
    assert main(["why", later, "--dsn", database]) == 0
    assert main(["why", unserved, later, "--dsn", database]) == 4
    shown = capsys.readouterr().out
    assert "✗ It is queued, and no living worker has 'waits'." in shown
    assert "→ start a worker that has it: durable worker module:waits" in shown
    assert main(["why", unserved, "-o", "json", "--dsn", database]) == 4
    told = json.loads(capsys.readouterr().out)
    assert told["form"] == "durable/why/1"
    assert told["items"][0]["causes"][0]["code"] == "unserved"


def test_watch_ends_when_nothing_is_wrong_any_longer(client: Client, fleet: Fleet, database: str) -> None:
    run_key = client.begin(waits, "x").run_key
    status: list[int] = []
    watching = Thread(target=lambda: status.append(main(["why", str(run_key), "--watch", "--dsn", database])))
    watching.start()
    with fleet(waits):
        until(client, run_key, lambda info: info.status == "waiting_event")
        watching.join(20)
    assert status == [0]


async def test_the_asyncio_client_explains_the_same(database: str) -> None:
    from durable import AsyncClient

    async with AsyncClient(database) as client:
        handle = await client.begin(waits, "x", key="k")
        assert (await client.explain_run((waits, "k")))[0].code == "unserved"
        with pytest.raises(RunNotFound):
            await client.explain_run(RunKey(handle.run_key.workflow_name_shard, "00000000-0000-4000-8000-000000000000"))
