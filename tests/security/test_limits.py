"""Nothing that somebody sends takes more than it is worth: each limit, by counting and not by the clock."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from durable import (
    AsyncClient,
    Client,
    Context,
    InvalidArgument,
    RunFailed,
    SerializationError,
    Worker,
    Workflow,
    workflow,
)
from durable.admin.pruning import prune
from durable.core.failures import error_info
from durable.core.schedules.expressions import parse_schedule
from durable.core.schedules.timetable import Timetable
from durable.store.routing import MAX_SEEN

MOST_LINES = 400_000
NOW = datetime(2096, 3, 1, tzinfo=UTC)  # eight years to the next 29 February
NOWHERE = "greet_0:01920000-0000-7000-8000-000000000000"
_FIELD = st.one_of(
    st.just("*"),
    st.from_regex(r"\A[0-9]{1,3}(-[0-9]{1,3})?(/[0-9]{1,4})?\Z"),
    st.sampled_from(["29", "2", "30", "31", "mon-fri", "FEB", "*/5", "59", "0"]),
)
EXPRESSIONS = st.one_of(
    st.text(max_size=2000),
    st.lists(_FIELD, min_size=5, max_size=5).map(" ".join),
    st.lists(st.lists(_FIELD, min_size=1, max_size=40).map(",".join), min_size=5, max_size=5).map(" ".join),
    st.text("0123456789.hmsuµ", max_size=2000).map("@every {}".format),
)
HARD = [
    "0 0 29 2 *",
    "* * * * *",
    "59 23 31 12 *",
    "0 0 30 2 *",
    ",".join(["*"] * 500) + " * * * *",
    "*/1" * 300 + " * * * *",
    "1-" * 400 + " * * * *",
    "@every " + "9" * 990,
    "@every " + "1h" * 495,
    "@every " + "1." * 495,
    "@every 0." + "0" * 980 + "1s",
    " " * 990 + "*",
    "x" * 10_000_000,
]


@workflow
async def greet(ctx: Context, name: str) -> str:
    return name


def lines_of(work: Callable[[], object]) -> int:
    """How many lines of Python it takes."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def look(expression: str) -> None:
    try:
        timetable = Timetable(schedule=parse_schedule(expression), anchor=NOW, timezone="Europe/Zurich")
    except InvalidArgument as error:
        assert len(str(error)) < 3000
        return
    timetable.next_tick(NOW)
    timetable.last_tick(NOW)


@pytest.mark.parametrize("expression", HARD, ids=lambda text: text[:20])
def test_the_worst_schedules_are_answered_in_bounded_steps(expression: str) -> None:
    look("0 0 * * *")  # what is loaded late is loaded now
    assert 0 < lines_of(lambda: look(expression)) < MOST_LINES


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(EXPRESSIONS)
def test_every_schedule_is_answered_in_bounded_steps(expression: str) -> None:
    assert lines_of(lambda: look(expression)) < MOST_LINES


@pytest.mark.parametrize("limit", [0, -1, 10_001, 2**40, True, None, "all", 1.5])
def test_a_page_has_a_limit(limit: Any, database: str) -> None:
    with Client(database) as client, pytest.raises(InvalidArgument, match="limit must be "):
        client.list_runs(limit=limit)


def test_a_payload_has_a_limit_wherever_it_enters(database: str) -> None:
    large = "x" * 1024 * 1024
    with Client(database) as client:
        for send in (
            lambda: client.begin(greet, large),
            lambda: client.begin_many(greet, ["a", large]),
            lambda: client.publish_event(NOWHERE, "news", large),
            lambda: client.schedule(greet, large, "daily", "0 9 * * *"),
        ):
            with pytest.raises(SerializationError, match="the limit is 1048576"):
                send()
        for refused in ({"reason": "x" * 2001}, {"reason": "\0"}):
            with pytest.raises(InvalidArgument, match="reason must be "):
                client.cancel_run(NOWHERE, **refused)
        with pytest.raises(InvalidArgument):
            client.begin(greet, "x", tags={str(number): "x" for number in range(65)})
        assert client.list_runs() == []


async def test_an_error_is_stored_within_its_limit_whatever_it_holds(database: str) -> None:
    @workflow
    async def failing(ctx: Context) -> None:
        raise ValueError("\0\x1b[2J\ud800" + "x" * 1_000_000)

    async with AsyncClient(database) as client, Worker(database, [failing]):
        handle = await client.begin(failing)
        with pytest.raises(RunFailed):
            await handle.result(timeout=20)
        error = (await handle.info()).error
        assert error is not None
        assert len(error.message) <= 8192
        assert error.traceback is not None
        assert len(error.traceback) <= 8192
        assert "\0" not in error.message + error.traceback


def test_a_long_chain_of_errors_is_stored_within_the_limit() -> None:
    error: BaseException | None = None
    for number in range(300):
        following = ValueError("x" * 1000 + str(number))
        following.__cause__ = error
        error = following
    assert error is not None
    info = error_info(error)
    assert len(info.message) + len(info.traceback or "") <= 2 * 8192


async def test_events_of_runs_that_do_not_exist_hold_up_no_others(database: str) -> None:
    @workflow
    async def listening(ctx: Context) -> int:
        return await ctx.wait_for_event("wait", "news", int)

    async with (
        AsyncClient(database) as client,
        await psycopg.AsyncConnection.connect(database, autocommit=True) as any_one,
    ):
        await any_one.execute(
            "INSERT INTO durable.events (workflow_name_shard, run_id, event_id, kind, name, payload)"
            " SELECT 'listening_0', gen_random_uuid(), gen_random_uuid(), kind, 'news', '1'"
            " FROM generate_series(1, 20000), unnest(ARRAY['event', 'retry']) AS kind"
        )
        async with Worker(database, [listening]):
            assert await _listen(client, listening) == 1  # by now, the inventions are out of the way
            few = "SELECT count(DISTINCT run_id) < %s FROM durable.events WHERE routed_at IS NULL"
            async with asyncio.timeout(20):
                while (await (await any_one.execute(few, (MAX_SEEN,))).fetchone()) != (True,):
                    await asyncio.sleep(0.05)
            assert await _listen(client, listening) == 1
        prune(database, older_than=timedelta(days=1))
        assert await (await any_one.execute("SELECT count(*) FROM durable.events")).fetchone() == (2,)


async def _listen(client: AsyncClient, listening: Workflow[None, int]) -> int:
    handle = await client.begin(listening)
    await handle.publish_event("news", 1)
    return await handle.result(timeout=20)
