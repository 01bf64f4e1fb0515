"""Runs that are asked and answer."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import psycopg
import pytest

from durable import (
    Ask,
    AsyncClient,
    Call,
    Client,
    Context,
    DeserializationError,
    DuplicateKey,
    EventTimeout,
    InvalidArgument,
    Request,
    RequestNotFound,
    RequestRefused,
    RequestTimeout,
    RetryPolicy,
    RunEnded,
    RunFailed,
    RunNotFound,
    SerializationError,
    Worker,
    workflow,
)
from durable.admin import migrate
from tests.watching import reached, rows, until
from tests.worker.run.notes import Notes, until_status

NEVER_AGAIN = RetryPolicy(max_retries=0)


class Item(msgspec.Struct):
    name: str
    count: int = 1


@workflow
async def cart(ctx: Context, turns: int) -> list[str]:
    """Answers with the number of items, until it has been asked so often."""
    items: list[str] = []
    for turn in range(turns):
        request = await ctx.wait_for_request(f"ask {turn}", "add", Item)
        if request.payload.count < 1:
            await request.refuse(f"{request.payload.count} items are none")
            continue
        items += [request.payload.name] * request.payload.count
        await request.reply(len(items))
    return items


@workflow
async def patient(ctx: Context) -> str:
    """Takes a request, and answers it when it hears the event."""
    request = await ctx.wait_for_request("ask", "question")
    answer = await ctx.wait_for_event("think", "answer")
    await request.reply(answer)
    return "done"


async def replies(dsn: str) -> list[tuple[Any, ...]]:
    return await rows(
        dsn, "SELECT reply::text, refused, consumed_by FROM durable.events WHERE kind = 'request' ORDER BY event_id"
    )


@pytest.mark.parametrize("shard_count", [1, 8])
async def test_a_run_answers_whoever_asks_it(database: str, shard_count: int) -> None:
    migrate(database, shard_count=shard_count)
    async with AsyncClient(database) as client, Worker(database, [cart]):
        run = await client.begin(cart, 4, key="c7")
        assert await client.request(run.run_key, "add", Item("tea"), type=int, timeout=20) == 1
        assert await client.request(str(run.run_key), "add", Item("cup", 2), type=int, timeout=20) == 3
        with pytest.raises(RequestRefused, match="has refused request 'add': 0 items are none") as refused:
            await client.request((cart, "c7"), "add", Item("air", 0), timeout=20)
        assert (refused.value.run_key, refused.value.name, refused.value.reason) == (
            run.run_key,
            "add",
            "0 items are none",
        )
        assert await client.handle(cart, key="c7").request("add", Item("pot"), type=int, timeout=20) == 4
        assert await run.result(timeout=20) == ["tea", "cup", "cup", "pot"]
    assert await replies(database) == [
        ("1", False, "ask 0"),
        ("3", False, "ask 1"),
        ('"0 items are none"', True, "ask 2"),
        ("4", False, "ask 3"),
    ]
    memos = await rows(database, "SELECT step_key, kind, fn, output::text FROM durable.steps ORDER BY seq")
    assert memos == [(f"ask {turn}:reply", "reply", "add", "null") for turn in range(4)]


async def test_replays_answer_nothing_again(database: str) -> None:
    async with AsyncClient(database) as client:
        run = await client.begin(cart, 5)
        for number in range(1, 6):
            asking = asyncio.create_task(run.request("add", Item("tea"), timeout=20))
            while not asking.done():
                await Worker(database, [cart]).process_one()  # a new one each time, so that everything is replayed
            assert await asking == number
        assert await run.result(timeout=20) == ["tea"] * 5
    assert [reply for reply, _, _ in await replies(database)] == ["1", "2", "3", "4", "5"]


def test_a_sync_client_asks_as_well(database: str) -> None:
    async def serve(stop: asyncio.Event) -> None:
        async with Worker(database, [cart]):
            await stop.wait()

    async def main() -> None:
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(serve(stop))
            await asyncio.to_thread(ask)
            stop.set()

    def ask() -> None:
        with Client(database) as client:
            run = client.begin(cart, 2)
            assert client.request(run.run_key, "add", Item("tea"), type=int, timeout=20) == 1
            assert run.request("add", Item("cup"), type=int, timeout=20) == 2

    asyncio.run(main())


async def test_a_request_waits_in_the_inbox_for_the_wait_and_does_not_mix_with_events(database: str) -> None:
    @workflow
    async def listening(ctx: Context) -> list[Any]:
        event = await ctx.wait_for_event("hear", "news")
        request = await ctx.wait_for_request("ask", "news")
        await request.reply([request.payload, event])
        return [event, request.payload]

    async with AsyncClient(database) as client:
        run = await client.begin(listening)
        asking = asyncio.create_task(run.request("news", "asked", key="k", timeout=20))
        await until(lambda: rows(database, "SELECT 1 FROM durable.events"))
        assert await run.publish_event("news", "published", key="k")  # not the same, though name and key are
        async with Worker(database, [listening]):
            assert await asking == ["asked", "published"]
            assert await run.result(timeout=20) == ["published", "asked"]


async def test_a_parked_run_shows_what_it_waits_for_and_is_woken_by_that_only(database: str) -> None:
    worker = Worker(database, [patient])
    async with AsyncClient(database) as client:
        run = await client.begin(patient)
        assert await worker.process_one()
        assert await rows(database, "SELECT status, awaits FROM durable.runs") == [
            ("waiting_event", ["request:question"])
        ]
        assert await rows(database, "SELECT wait_type, event_name FROM durable.waits") == [("request", "question")]
        await run.publish_event("question", "an event")
        assert not await worker.process_one()
        asking = asyncio.create_task(run.request("question", 1, timeout=20))
        await until(worker.process_one)
        assert not asking.done()
        await run.publish_event("answer", 42)
        await until(worker.process_one)
        assert await asking == 42


async def test_the_same_key_gives_the_same_reply_before_and_after_the_end(database: str) -> None:
    async with AsyncClient(database) as client, AsyncClient(database) as other, Worker(database, [cart]):
        run = await client.begin(cart, 1)
        asked = [client.request(run.run_key, "add", Item(str(n)), key="click", timeout=20) for n in range(10)]
        asked += [other.request(run.run_key, "add", Item(str(n)), key="click", timeout=20) for n in range(10)]
        assert await asyncio.gather(*asked) == [1] * 20
        await run.result(timeout=20)
        assert await client.request(run.run_key, "add", key="click", type=int) == 1
        with pytest.raises(RunEnded, match="has ended \\(completed\\) and has not answered request 'add'"):
            await client.request(run.run_key, "add", key="another click")
    assert len(await replies(database)) == 1


@pytest.mark.parametrize("until_then", ["unread", "taken"])
@pytest.mark.parametrize("how", ["fail", "cancel", "terminate", "complete"])
async def test_whoever_asks_a_run_that_ends_without_an_answer_is_told(database: str, how: str, until_then: str) -> None:
    @workflow
    async def silent(ctx: Context) -> None:
        if until_then == "taken":
            await ctx.wait_for_request("ask", "question")
        if await ctx.wait_for_event("wait", "end") == "fail":
            raise ValueError("no")

    async with AsyncClient(database) as client, Worker(database, [silent]):
        run = await client.begin(silent)
        asking = asyncio.create_task(run.request("question", timeout=20))
        what = "consumed_by IS NOT NULL" if until_then == "taken" else "routed_at IS NOT NULL"
        await until(lambda: rows(database, f"SELECT 1 FROM durable.events WHERE {what}"))
        await until_status(run, "waiting_event")
        if how == "cancel":
            await run.cancel()
        elif how == "terminate":
            await run.terminate()
        else:
            await run.publish_event("end", how)
        status = {"fail": "failed", "complete": "completed"}.get(how, "cancelled")
        with pytest.raises(RunEnded) as ended:
            await asking
        assert (ended.value.run_key, ended.value.name, ended.value.status) == (run.run_key, "question", status)
        with pytest.raises(RunEnded):
            await run.request("question")
    assert len(await replies(database)) == 1  # of a run that has ended, nothing is asked


async def test_a_timeout_withdraws_nothing_and_its_key_gives_the_reply_later(database: str) -> None:
    async with AsyncClient(database) as client:
        run = await client.begin(patient)
        with pytest.raises(RequestTimeout, match="no living worker has the workflow 'patient'") as late:
            await run.request("question", 1, timeout=0.05)
        assert isinstance(late.value, TimeoutError)
        assert (late.value.run_key, late.value.name, late.value.status) == (run.run_key, "question", "queued")
        async with Worker(database, [patient]):
            await run.publish_event("answer", "yes")
            assert await run.request("question", key=late.value.key, type=str, timeout=20) == "yes"
        assert len(await replies(database)) == 1


async def test_a_request_that_was_taken_is_given_back_by_the_memo_to_a_retry_which_can_answer_it(database: str) -> None:
    failing = True

    async def fail() -> None:
        if failing:
            raise ValueError("not yet")

    @workflow
    async def stumbling(ctx: Context) -> None:
        request = await ctx.wait_for_request("ask", "question", int)
        await ctx.execute(Call("fail", retry=NEVER_AGAIN), fail)
        await request.reply(request.payload + 1)

    async with AsyncClient(database) as client, Worker(database, [stumbling]):
        run = await client.begin(stumbling)
        with pytest.raises(RunEnded) as ended:
            await run.request("question", 41, timeout=20)
        failing = False
        await run.retry()
        assert await run.request("question", key=ended.value.key, timeout=20) == 42
        await run.result(timeout=20)
    assert len(await replies(database)) == 1


async def test_what_was_answered_before_a_failure_is_not_answered_again_by_a_retry(database: str) -> None:
    answers: list[int] = []

    async def fail() -> None:
        if len(answers) == 1:
            raise ValueError("not yet")

    @workflow
    async def answering(ctx: Context) -> None:
        request = await ctx.wait_for_request("ask", "question")
        answers.append(len(answers) + 1)
        await request.reply(answers[-1])
        await ctx.execute(Call("fail", retry=NEVER_AGAIN), fail)

    async with AsyncClient(database) as client, Worker(database, [answering]):
        run = await client.begin(answering)
        assert await run.request("question", key="k", timeout=20) == 1
        with pytest.raises(RunFailed):
            await run.result(timeout=20)
        await run.retry()
        await run.result(timeout=20)
        assert await run.request("question", key="k") == 1
    assert answers == [1, 2]


async def test_a_request_is_answered_once_and_the_second_answer_is_a_mistake_in_the_code(database: str) -> None:
    @workflow
    async def twice(ctx: Context) -> str:
        request = await ctx.wait_for_request("ask", "question")
        await request.reply(1)
        try:
            await request.refuse("no")
        except DuplicateKey as error:
            return str(error)
        return ""

    async with AsyncClient(database) as client, Worker(database, [twice]):
        run = await client.begin(twice)
        assert await run.request("question", timeout=20) == 1
        expected = "the key 'ask:reply' is used twice in this run: first by the reply 'ask:reply' to request 'question'"
        assert expected in await run.result(timeout=20)


async def test_an_answer_is_given_even_if_what_awaits_it_is_cancelled(database: str) -> None:
    @workflow
    async def hasty(ctx: Context) -> str:
        request = await ctx.wait_for_request("ask", "question")
        task = asyncio.create_task(request.reply(1))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await ctx.sleep("nap", 0.01)
        return "done"

    async with AsyncClient(database) as client, Worker(database, [hasty]):
        run = await client.begin(hasty)
        assert await run.request("question", timeout=20) == 1
        assert await run.result(timeout=20) == "done"


async def test_a_cancelled_run_can_still_refuse(database: str) -> None:
    @workflow
    async def polite(ctx: Context) -> None:
        request = await ctx.wait_for_request("ask", "question")
        try:
            await ctx.sleep("think", 3600)
        finally:
            await request.refuse("closing")

    async with AsyncClient(database) as client, Worker(database, [polite]):
        run = await client.begin(polite)
        asking = asyncio.create_task(run.request("question", timeout=20))
        await until_status(run, "sleeping")
        await run.cancel()
        with pytest.raises(RequestRefused, match="closing"):
            await asking


async def test_a_wait_for_a_request_times_out_like_one_for_an_event(database: str) -> None:
    @workflow
    async def waiting(ctx: Context) -> str:
        try:
            await ctx.wait_for_request("ask", "question", timeout=0.05)
        except EventTimeout as late:
            return str(late)
        return "asked"

    async with AsyncClient(database) as client, Worker(database, [waiting]):
        run = await client.begin(waiting)
        assert await run.result(timeout=20) == "no request 'question' arrived in time for the wait 'ask'"


async def test_a_losing_wait_for_a_request_leaves_it_in_the_inbox(database: str) -> None:
    @workflow
    async def choosing(ctx: Context) -> str:
        waits: list[asyncio.Task[Any]] = [
            asyncio.create_task(ctx.wait_for_request("ask", "question")),
            asyncio.create_task(ctx.wait_for_event("hear", "news")),
        ]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        waits[0].cancel()
        request = await ctx.wait_for_request("ask again", "question")
        await request.reply("late")
        return "done"

    async with AsyncClient(database) as client, Worker(database, [choosing]):
        run = await client.begin(choosing)
        await until_status(run, "waiting_event")
        await run.publish_event("news")
        await until(lambda: rows(database, "SELECT 1 FROM durable.runs WHERE awaits = '{request:question}'"))
        assert await run.request("question", timeout=20) == "late"


async def test_a_payload_that_does_not_fit_sets_the_run_aside_and_matching_code_answers(database: str) -> None:
    @workflow(name="picky")
    async def picky(ctx: Context) -> None:
        request = await ctx.wait_for_request("ask", "question", int)
        await request.reply(request.payload)

    @workflow(name="picky")
    async def easy(ctx: Context) -> None:
        request = await ctx.wait_for_request("ask", "question")
        await request.reply(request.payload)

    async with AsyncClient(database) as client:
        async with Worker(database, [picky]):
            run = await client.begin(picky)
            with pytest.raises(RequestTimeout) as late:
                await run.request("question", "five", timeout=0.5)
            assert (await run.info()).status_reason == "set_aside"
        async with Worker(database, [easy]):
            assert await run.request("question", key=late.value.key, timeout=20) == "five"


async def test_an_unfit_request_is_dropped_by_a_retry_of_the_run(database: str) -> None:
    @workflow
    async def picky(ctx: Context) -> int:
        request: Request[int] = await ctx.wait_for_request("ask", "question", int)
        await request.reply(request.payload)
        return request.payload

    async with AsyncClient(database) as client, Worker(database, [picky]):
        run = await client.begin(picky)
        with pytest.raises(RequestTimeout):
            await run.request("question", "five", timeout=0.5)
        await run.retry()
        assert await run.request("question", 5, timeout=20) == 5
        assert await run.result(timeout=20) == 5


@workflow
async def counter(ctx: Context, total: int) -> int:
    """Answers one request in a chapter."""
    request = await ctx.wait_for_request("ask", "add", int)
    await request.reply([ctx.chapter, total + request.payload])
    if request.payload == 0:
        return total
    return await ctx.continue_as_new(total + request.payload)


async def test_requests_follow_a_run_that_continues_as_new(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [counter]):
        run = await client.begin(counter, 0)
        asked = await asyncio.gather(*(run.request("add", 1, key=str(n), timeout=20) for n in range(20)))
        assert sorted(asked) == [[n, n] for n in range(1, 21)]
        # What was answered chapters ago is still known.
        assert await run.request("add", 1, key="0") == asked[0]
        assert await run.request("add", 0, timeout=20) == [21, 20]


async def test_an_old_answer_goes_with_the_chapter_after_some_minutes(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [counter]):
        run = await client.begin(counter, 0)
        for number in range(3):
            await run.request("add", 1, key=str(number), timeout=20)
        await reached(client, run.run_key, "waiting_event")
        await rows(
            database,
            "UPDATE durable.events SET created_at = created_at - interval '1 hour',"
            " replied_at = replied_at - interval '1 hour' WHERE key IN ('0', '1')",
        )
        await run.request("add", 1, key="3", timeout=20)
        await reached(client, run.run_key, "waiting_event")
    assert await rows(database, "SELECT key FROM durable.events ORDER BY key") == [("2",), ("3",)]


async def test_the_next_chapter_takes_a_request_that_was_not_answered_before_any_other(database: str) -> None:
    @workflow
    async def forgetful(ctx: Context, number: int) -> str:
        request = await ctx.wait_for_request("ask", "question", str)
        if number < 3:
            await ctx.continue_as_new(number + 1)
        await request.reply(ctx.chapter)
        return request.payload

    async with AsyncClient(database) as client:
        run = await client.begin(forgetful, 1)
        first = asyncio.create_task(run.request("question", "first", timeout=20))
        await until(lambda: rows(database, "SELECT 1 FROM durable.events"))
        second = asyncio.create_task(run.request("question", "second", timeout=20))
        async with Worker(database, [forgetful]):
            assert await first == 3
            assert await run.result(timeout=20) == "first"
            with pytest.raises(RunEnded):
                await second


async def test_a_request_is_made_with_the_begin_whether_the_run_is_new_or_not(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [cart]):
        first = await client.begin(cart, 3, key="c", if_ended="begin_anew", request=Ask("add", Item("tea")))
        assert await first.reply(int, timeout=20) == 1
        again = await client.begin(cart, 3, key="c", if_ended="begin_anew", request=Ask("add", Item("cup"), key="k"))
        assert not again.is_new
        assert await again.reply(int, timeout=20) == 2
        repeated = await client.begin(cart, 3, key="c", if_ended="begin_anew", request=Ask("add", key="k"))
        assert await repeated.reply(timeout=0) == 2
        last = await client.begin(cart, 3, key="c", if_ended="begin_anew", request=Ask("add", Item("pot"), key="l"))
        assert await last.reply(timeout=20) == 3
        assert await first.result(timeout=20) == ["tea", "cup", "pot"]
        # The run has ended, but it has answered this one, so there is nothing to begin.
        repeated = await client.begin(cart, 3, key="c", if_ended="begin_anew", request=Ask("add", key="l"))
        assert (repeated.is_new, repeated.run_key) == (False, first.run_key)
        assert await repeated.reply(timeout=0) == 3
        anew = await client.begin(cart, 1, key="c", if_ended="begin_anew", request=Ask("add", Item("jug"), key="m"))
        assert anew.is_new
        assert await anew.reply(timeout=20) == 1
        plain = await client.begin(cart, 1, request=Ask("add", Item("jug")))
        assert await plain.reply(timeout=20) == 1
        with pytest.raises(InvalidArgument, match="request must be given to the begin"):
            await client.handle(plain.run_key).reply()


async def test_a_request_that_a_joined_run_does_not_read_is_answered_by_another_run(database: str) -> None:
    notes = Notes()
    go_on = asyncio.Event()

    async def hold() -> None:
        await notes.note("holding")
        await go_on.wait()

    @workflow
    async def once(ctx: Context, name: str) -> str:
        request = await ctx.wait_for_request("ask", "question")
        await request.reply(f"{name} to {request.payload}")
        if name == "first":
            await ctx.execute("hold", hold)
        return name

    async with AsyncClient(database) as client, Worker(database, [once]):
        first = await client.begin(once, "first", key="k", if_ended="begin_anew", request=Ask("question", 1))
        assert await first.reply(timeout=20) == "first to 1"
        await notes.until("holding")
        joined = await client.begin(once, "second", key="k", if_ended="begin_anew", request=Ask("question", 2))
        assert joined.run_key == first.run_key
        waiting = asyncio.create_task(joined.reply(str, timeout=20))
        plain = asyncio.create_task(first.request("question", 3, key="plain", timeout=20))
        await until(lambda: rows(database, "SELECT 1 FROM durable.events HAVING count(*) = 5"))
        go_on.set()
        assert await waiting == "second to 2"
        with pytest.raises(RunEnded) as ended:
            await plain  # which was moved as well, but the second run answers only one
        assert ended.value.run_key != first.run_key
        # By its key, it is found where it was moved.
        with pytest.raises(RunEnded):
            await first.request("question", key="plain")
    assert len(await rows(database, "SELECT 1 FROM durable.runs")) == 2


async def test_a_run_that_ends_with_unread_requests_leaves_no_asker_waiting_if_no_other_run_is_begun(
    database: str,
) -> None:
    @workflow
    async def deaf(ctx: Context) -> None:
        return None

    async with AsyncClient(database) as client, Worker(database, [deaf]):
        run = await client.begin(deaf, key="k", if_ended="begin_anew", request=Ask("question"))
        with pytest.raises(RunEnded):
            await run.reply(timeout=20)


async def test_a_transaction_asks_and_the_reply_is_awaited_after_the_commit(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [cart]):
        async with await psycopg.AsyncConnection.connect(database) as tx:
            run_key = await client.begin_tx(tx, cart, 2)
            request = await client.request_tx(tx, run_key, "add", Item("tea"), type=int)
            again = await client.request_tx(tx, run_key, "add", Item("tea"), key=request.key)
            async with tx.transaction(force_rollback=True):
                undone = await client.request_tx(tx, run_key, "add", Item("cup"))
            with pytest.raises(RunNotFound):
                await request.reply(timeout=5)
        assert await request.reply(timeout=20) == await again.reply(timeout=20) == 1
        with pytest.raises(RequestNotFound, match="was never committed"):
            await undone.reply(timeout=5)
        assert await client.request(run_key, "add", Item("pot"), timeout=20) == 2


async def test_what_is_wrong_is_said_before_anything_is_stored(database: str) -> None:
    async with AsyncClient(database) as client:
        run = await client.begin(cart, 1)
        for arguments in (
            {"name": ""},
            {"name": "x" * 201},
            {"key": ""},
            {"timeout": -1},
            {"timeout": "soon"},
        ):
            with pytest.raises(InvalidArgument):
                await run.request(**{"name": "add", **arguments})
        with pytest.raises(SerializationError):
            await run.request("add", object())
        with pytest.raises(InvalidArgument, match="an Ask, as in Ask"):
            await client.begin(cart, 1, request=("add", 1))  # type: ignore[arg-type]
        with pytest.raises(InvalidArgument, match="request must be None if an event is given"):
            await client.begin(cart, 1, request=Ask("add"), event=("add", 1))
        with pytest.raises(InvalidArgument, match="because a run that has ended answers no request"):
            await client.begin(cart, 1, key="k", request=Ask("add"))
    assert await rows(database, "SELECT count(*) FROM durable.events") == [(0,)]


async def test_bad_answers_are_refused_and_a_good_one_can_follow(database: str) -> None:
    said: list[str] = []

    @workflow
    async def clumsy(ctx: Context) -> None:
        try:
            await ctx.wait_for_request("k" * 195, "question")
        except InvalidArgument as error:
            said.append(error.rule)
        request = await ctx.wait_for_request("ask", "question")
        for reason in (1, "nul\0", "\ud800", "x" * 2001):
            try:
                await request.refuse(reason)  # type: ignore[arg-type]
            except InvalidArgument as error:
                said.append(error.argument)
        try:
            await request.reply(object())
        except SerializationError as error:
            said.append(error.what)
        await request.reply("good")

    async with AsyncClient(database) as client, Worker(database, [clumsy]):
        run = await client.begin(clumsy)
        with pytest.raises(DeserializationError, match="the reply of run"):
            await run.request("question", type=int, key="k", timeout=20)
        assert await run.request("question", type=str, key="k") == "good"
    assert said[0].startswith("at most 194 bytes for a request")
    assert said[1:] == ["reason"] * 4 + ["the reply to request 'question'"]


async def test_two_askers_and_two_waits_are_matched_in_order(database: str) -> None:
    @workflow
    async def pair(ctx: Context) -> list[Any]:
        first, second = await asyncio.gather(
            ctx.wait_for_request("one", "question"), ctx.wait_for_request("two", "question")
        )
        await second.reply("two")
        await first.reply("one")
        return [first.payload, second.payload]

    async with AsyncClient(database) as client:
        run = await client.begin(pair)
        one = asyncio.create_task(run.request("question", 1, timeout=20))
        await until(lambda: rows(database, "SELECT 1 FROM durable.events"))
        two = asyncio.create_task(run.request("question", 2, timeout=20))
        async with Worker(database, [pair]):
            assert await asyncio.gather(one, two) == ["one", "two"]
            assert await run.result(timeout=20) == [1, 2]


async def test_a_reply_that_is_the_last_thing_a_run_does_is_written_with_its_end(database: str) -> None:
    async with AsyncClient(database) as client, Worker(database, [cart]):
        runs = [await client.begin(cart, 1) for _ in range(20)]
        assert await asyncio.gather(*(run.request("add", Item("tea"), timeout=20) for run in runs)) == [1] * 20
