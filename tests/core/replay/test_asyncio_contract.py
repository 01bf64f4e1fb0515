"""Where workflow code meets the fine print of asyncio: handlers, hooks, factories, unwinding, names."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any
from uuid import UUID

import anyio
import pytest

from durable import Context, DuplicateKey
from durable.core.replay.commands import Complete, Fail
from durable.core.replay.history import History
from tests.core.replay.playing import Play, execute
from tests.laws.programs import machine_of

# errors in callbacks


def test_a_callback_that_raises_is_logged_and_the_run_continues(caplog: pytest.LogCaptureFixture) -> None:
    async def main(ctx: Context) -> Any:
        task = asyncio.create_task(execute(ctx, "call"))
        task.add_done_callback(lambda _: 1 / 0)
        asyncio.get_running_loop().call_soon(int, "no number")
        return await task

    play = Play(main).to_the_end()
    assert play.result == 0
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ValueError, ZeroDivisionError]
    caplog.clear()
    play.check_replays()


def test_a_replay_does_not_log_an_error_of_the_past_again(caplog: pytest.LogCaptureFixture) -> None:
    async def main(ctx: Context) -> None:
        asyncio.get_running_loop().call_soon(int, "no number")
        await execute(ctx, "one")
        await execute(ctx, "two")

    play = Play(main).start()
    play.answer("one")
    assert len(caplog.records) == 1
    caplog.clear()
    machine = play._machine(History(tuple(play.memos)))
    machine.start(main(Context(machine, None, "program", 1, 1)))  # type: ignore[arg-type]
    machine.close()
    assert caplog.records == []


def test_the_exception_handler_of_the_code_is_called() -> None:
    async def main(ctx: Context) -> list[str]:
        found: list[str] = []
        loop = asyncio.get_running_loop()
        assert loop.get_exception_handler() is None
        loop.set_exception_handler(lambda _, context: found.append(type(context["exception"]).__name__))
        loop.call_soon(int, "no number")
        await execute(ctx, "call")
        return found

    assert Play(main).to_the_end().result == ["ValueError"]


# async generators


def test_an_async_generator_that_is_left_half_way_cleans_up_durably() -> None:
    async def main(ctx: Context) -> str:
        async def pages() -> AsyncIterator[int]:
            try:
                for index in range(10):
                    yield await execute(ctx, f"page {index}")
            finally:
                await execute(ctx, "close the cursor")

        async for page in pages():
            if page == 1:
                break
        await execute(ctx, "after")
        return "done"

    play = Play(main).start()
    for key in ("page 0", "page 1", "close the cursor", "after"):
        play.answer(key)
    assert play.result == "done"
    play.check_replays()


def test_a_generator_that_only_the_garbage_collector_finds_is_not_closed(caplog: pytest.LogCaptureFixture) -> None:
    async def main(ctx: Context) -> str:
        async def pages() -> AsyncIterator[int]:
            try:
                yield 1
            finally:
                await execute(ctx, "close")

        cycle: list[Any] = [pages()]
        await anext(cycle[0])
        cycle.append(cycle)
        del cycle
        gc.collect()
        await execute(ctx, "after")
        return "done"

    play = Play(main).start()
    assert "use aclosing" in caplog.text
    play.answer("after")
    assert [memo.key for memo in play.memos] == ["after"]


def test_generators_outside_of_runs_still_belong_to_the_real_loop() -> None:
    closed: list[str] = []

    async def pages() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.append("closed")

    async def program() -> None:
        Play(lambda ctx: execute(ctx, "call")).start()  # sets the hooks of this thread
        async for _ in pages():
            break
        await asyncio.sleep(0.01)

    asyncio.run(program())
    assert closed == ["closed"]


async def test_aclosing_needs_no_hook() -> None:
    async def main(ctx: Context) -> str:
        async def pages() -> AsyncIterator[int]:
            try:
                yield 1
            finally:
                await execute(ctx, "close")

        async with aclosing(pages()) as found:
            async for _ in found:
                break
        return "done"

    play = Play(main).to_the_end()
    assert [memo.key for memo in play.memos] == ["close"]


# unwinding

request: ContextVar[str] = ContextVar("request", default="none")


def test_a_run_that_leaves_its_worker_tells_no_handler_and_no_logger(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []

    async def main(ctx: Context) -> None:
        token = request.set("ours")
        try:
            with anyio.CancelScope():
                async with anyio.create_task_group() as group:
                    group.start_soon(execute, ctx, "inner")
                    await execute(ctx, "outer")
        except Exception as error:
            seen.append(f"failed: {error!r}")
        finally:
            ctx.logger.error("the run has failed")
            request.reset(token)
            await asyncio.gather(execute(ctx, "clean up"), execute(ctx, "more"))

    with caplog.at_level(logging.DEBUG):
        play = Play(main).start()
        play.machine.close()
    assert seen == []
    assert caplog.records == []


@pytest.mark.parametrize("handler", ["the default", "of the code"])
def test_a_run_that_leaves_its_worker_has_not_failed_to_retrieve_an_exception(
    handler: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It will, once it has been replayed elsewhere."""
    told: list[str] = []

    async def main(ctx: Context) -> Any:
        if handler == "of the code":
            asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))

        async def fails() -> None:
            raise ValueError("to be retrieved later")

        task = asyncio.create_task(fails())
        future = asyncio.get_running_loop().create_future()
        future.set_exception(ValueError("as well"))
        await execute(ctx, "call")
        return [str(error) for error in await asyncio.gather(task, future, return_exceptions=True)]

    play = Play(main).start()
    play.machine.close()
    del play
    gc.collect()
    assert told == []
    assert caplog.records == []
    assert Play(main).to_the_end().result == ["to be retrieved later", "as well"]


def test_an_exception_that_a_run_has_not_retrieved_when_it_returns_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main(ctx: Context) -> str:
        async def fails() -> None:
            raise ValueError("lost")

        asyncio.create_task(fails())  # noqa: RUF006  # it is lost, as this one shows
        await execute(ctx, "call")
        return "done"

    play = Play(main).to_the_end()
    assert play.result == "done"
    del play
    gc.collect()
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["lost"]


# factories


def test_libraries_that_ask_for_the_task_factory_are_told_that_there_is_none() -> None:
    async def main(ctx: Context) -> bool:
        return asyncio.get_running_loop().get_task_factory() is None

    assert Play(main).start().result is True


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_eager_tasks_are_numbered_like_others() -> None:
    async def main(ctx: Context) -> list[Any]:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(execute(ctx, f"call {index}")) for index in range(6)]
        return [(task.get_name(), task.result()) for task in set(tasks)]

    for seed in range(3):
        Play(main, seed).to_the_end().check_replays()


# drawn values


def test_the_same_key_gives_the_same_value() -> None:
    async def main(ctx: Context) -> list[bool]:
        first = await ctx.random("r")
        both = await asyncio.gather(ctx.random("r"), ctx.random("s"), ctx.random("s"))
        return [first == both[0], both[1] == both[2]]

    machine = machine_of(main, History())
    (command,) = machine.start()
    from durable.core.replay.history import Value

    _, commands = machine.resolve(command.key, Value("0.25"))  # type: ignore[union-attr]
    assert [one.key for one in commands] == ["s"]  # type: ignore[union-attr]
    assert machine.resolve("s", Value("0.5"))[1] == [Complete("[true,true]")]


def test_a_draw_that_is_cancelled_before_it_is_drawn_may_be_made_again() -> None:
    async def main(ctx: Context) -> UUID:
        first = asyncio.create_task(ctx.random_uuid7("id"))
        await asyncio.sleep(0)
        first.cancel()
        return await ctx.random_uuid7("id")

    (command,) = machine_of(main, History()).start()
    assert command.key == "id"  # type: ignore[union-attr]


def test_the_same_key_for_another_kind_of_value_is_refused() -> None:
    async def main(ctx: Context) -> None:
        await asyncio.gather(ctx.random("r"), ctx.now("r"))

    ending = machine_of(main, History()).start()[-1]
    assert isinstance(ending, Fail)
    assert isinstance(ending.exception, DuplicateKey)


# what a run leaves behind


def test_calls_that_nothing_waits_for_when_the_workflow_returns_are_named() -> None:
    async def main(ctx: Context) -> str:
        task = asyncio.create_task(execute(ctx, "audit"))
        await asyncio.sleep(0)
        assert not task.done()
        return "done"

    ending = Play(main).start().ending
    assert isinstance(ending, Complete)
    assert [name.split(" of ")[0] for name in ending.unfinished] == ["execute 'audit'"]


def test_what_made_the_code_stop_short_of_its_history_is_named() -> None:
    from durable.core.replay.commands import SetAside
    from durable.core.replay.history import Memo, Value

    async def main(ctx: Context) -> None:
        raise LookupError("no such customer")

    (ending,) = machine_of(main, History((Memo("pay", "execute", "pay", 1, False, Value("1")),))).start()
    assert isinstance(ending, SetAside)
    assert "the workflow raised LookupError: no such customer" in str(ending.error)
    assert "PYTHONHASHSEED" in str(ending.error)


def test_the_message_of_a_failed_group_names_what_failed() -> None:
    async def one(number: int) -> None:
        raise ValueError(f"card {number} was declined")

    async def main(ctx: Context) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(one(1))
            group.create_task(one(2))

    ending = Play(main).start().ending
    assert isinstance(ending, Fail)
    assert "ValueError: card 1 was declined; ValueError: card 2 was declined" in ending.error.message
