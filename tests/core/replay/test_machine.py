"""What the machine makes of workflow code, call by call."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from durable import Context, DuplicateKey, InvalidArgument, NondeterminismError, StepFailed, WorkflowCodeError
from durable.core.failures import ErrorInfo
from durable.core.replay.commands import Abandon, Complete, Execute, Fail, SetAside
from durable.core.replay.history import ELAPSED, Failure, History, Memo, OpenWait, Value
from tests.laws.programs import Main, machine_of


async def charge(amount: int) -> int:
    return amount


async def refund(amount: int) -> int:
    return amount


def fail_of(main: Main) -> BaseException:
    ending = machine_of(main, History()).start()[-1]
    assert isinstance(ending, Fail)
    return ending.exception


def aside_of(main: Main, *memos: Memo, waits: tuple[OpenWait, ...] = ()) -> NondeterminismError:
    commands = machine_of(main, History(memos, waits)).start()
    assert len(commands) == 1
    assert isinstance(commands[0], SetAside)
    return commands[0].error


def done(key: str, fn: str = "charge", seq: int = 1, text: str = "1", *, carried: bool = False) -> Memo:
    return Memo(key, "execute", fn, None if carried else seq, carried, Value(text))


def test_a_step_is_asked_for_once_and_its_answer_is_the_decoded_one() -> None:
    async def main(ctx: Context) -> Any:
        return await ctx.execute("a", charge, 1)

    machine = machine_of(main, History())
    (command,) = machine.start()
    assert isinstance(command, Execute)
    assert (command.key, command.args) == ("a", (1,))
    assert machine.resolve("a", Value("7")) == (1, [Complete("7")])


def test_a_recorded_answer_that_does_not_fit_the_declared_type_sets_the_run_aside() -> None:
    refunded = False

    async def main(ctx: Context) -> Any:
        nonlocal refunded
        try:
            return await ctx.execute("a", charge, 1)
        except Exception:
            refunded = True

    (first,) = machine_of(main, History((done("a", text='"secret"'),))).start()
    machine = machine_of(main, History())
    machine.start()
    _, (later,) = machine.resolve("a", Value('"secret"'))
    for aside in (first, later):
        assert isinstance(aside, SetAside)
        assert "the answer to execute 'a' of charge is recorded, but does not fit" in str(aside.error)
        assert "Expected `int`, got `str`" in str(aside.error)
        assert "secret" not in str(aside.error)
    assert not refunded


def test_after_an_answer_that_does_not_fit_no_carried_one_is_given() -> None:
    seen: list[str] = []

    async def one(ctx: Context, key: str) -> None:
        await ctx.execute(key, charge, 1)
        seen.append(key)

    async def main(ctx: Context) -> Any:
        await asyncio.gather(one(ctx, "a"), one(ctx, "b"))

    history = History((done("a", text='"text"', carried=True), done("b", text="1", carried=True)))
    (aside,) = machine_of(main, history).start()
    assert isinstance(aside, SetAside)
    assert seen == []


def test_a_failed_step_raises_the_same_failure_again() -> None:
    async def main(ctx: Context) -> Any:
        try:
            await ctx.execute("a", charge, 1)
        except StepFailed as error:
            return [error.step_key, error.error_type, error.message]

    failed = Failure(ErrorInfo("ValueError", "no money"))
    machine = machine_of(main, History())
    machine.start()
    first = machine.resolve("a", failed)[1]
    replayed = machine_of(main, History((Memo("a", "execute", "charge", 1, False, failed),))).start()
    assert first == replayed == [Complete('["a","ValueError","no money"]')]


@pytest.mark.parametrize("winner", ["a", "b"])
def test_a_race_has_the_recorded_winner(winner: str) -> None:
    async def main(ctx: Context) -> Any:
        tasks = {asyncio.ensure_future(ctx.execute(key, charge, 1)): key for key in "ab"}
        finished, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return [tasks[task] for task in finished]

    order = ["a", "b"] if winner == "a" else ["b", "a"]
    history = History(tuple(done(key, seq=index) for index, key in enumerate(order, 1)))
    assert machine_of(main, history).start()[-1] == Complete(f'["{winner}"]')


def test_a_call_that_its_own_code_cancels_is_abandoned() -> None:
    async def main(ctx: Context) -> Any:
        slow = asyncio.ensure_future(ctx.execute("slow", charge, 1))
        await ctx.sleep("nap", 1)
        slow.cancel()
        return await asyncio.gather(slow, return_exceptions=True) and "done"

    machine = machine_of(main, History())
    machine.start()
    _, commands = machine.resolve("nap", ELAPSED)
    assert [type(command) for command in commands] == [Abandon, Complete]


# refusals


def test_a_key_used_twice_is_refused_and_both_uses_are_named() -> None:
    async def main(ctx: Context) -> Any:
        await asyncio.gather(ctx.execute("a", charge, 1), ctx.sleep("a", 1))

    error = fail_of(main)
    assert isinstance(error, DuplicateKey)
    assert "execute 'a' of charge" in str(error)
    assert "sleep 'a'" in str(error)


@pytest.mark.parametrize("key", ["", "x" * 201, "ä" * 101, "a\0b", "\ud800", 7])
def test_a_key_that_fits_no_index_is_refused(key: Any) -> None:
    async def main(ctx: Context) -> Any:
        await ctx.execute(key, charge, 1)

    error = fail_of(main)
    assert isinstance(error, InvalidArgument)
    assert error.argument == "key"


async def through_thread(ctx: Context) -> None:
    await asyncio.to_thread(print)


async def through_socket(ctx: Context) -> None:
    await asyncio.open_connection("127.0.0.1", 1)


async def through_subprocess(ctx: Context) -> None:
    await asyncio.create_subprocess_exec("true")


@pytest.mark.parametrize(
    "main",
    [through_thread, through_socket, through_subprocess],
    ids=lambda f: f.__name__,
)
def test_workflow_code_that_reaches_for_the_world_is_told_where_to_put_it(main: Main) -> None:
    error = fail_of(main)
    assert isinstance(error, WorkflowCodeError)
    assert "ctx." in str(error)


async def test_a_primitive_inside_a_step_is_refused() -> None:
    contexts: list[Context] = []

    async def main(ctx: Context) -> Any:
        contexts.append(ctx)
        return await ctx.execute("a", charge, 1)

    machine_of(main, History()).start()
    with pytest.raises(WorkflowCodeError, match="inside a step"):
        await contexts[0].execute("b", charge, 1)


def test_a_workflow_that_awaits_what_never_comes_fails_instead_of_hanging() -> None:
    async def main(ctx: Context) -> Any:
        await asyncio.Event().wait()

    assert isinstance(fail_of(main), WorkflowCodeError)


def test_sys_exit_in_workflow_code_fails_the_run_and_not_the_worker() -> None:
    async def main(ctx: Context) -> Any:
        sys.exit(3)

    assert isinstance(fail_of(main), SystemExit)


def test_a_closed_machine_answers_no_cleanup_code_and_no_handler_takes_that_for_a_failure() -> None:
    believed: list[str] = []

    async def main(ctx: Context) -> Any:
        try:
            await ctx.sleep("nap", 1)
        except Exception:
            believed.append("the sleep failed")
        finally:
            try:
                await ctx.execute("cleanup", charge, 1)
            except Exception:
                believed.append("the cleanup failed")

    machine = machine_of(main, History())
    machine.start()
    machine.close()
    assert believed == []


# changed code


def test_a_renamed_step_function_is_noticed() -> None:
    async def main(ctx: Context) -> Any:
        return await ctx.execute("pay", refund, 1)

    error = aside_of(main, done("pay"))
    assert (error.recorded, error.called) == ("execute 'pay' of charge", "execute 'pay' of refund")


def test_a_changed_kind_is_noticed() -> None:
    async def main(ctx: Context) -> Any:
        return await ctx.sleep("pay", 1)

    error = aside_of(main, done("pay"))
    assert (error.recorded, error.called) == ("execute 'pay' of charge", "sleep 'pay'")


def test_a_renamed_key_executes_nothing() -> None:
    async def main(ctx: Context) -> Any:
        return await ctx.execute("pay-v2", charge, 1)

    error = aside_of(main, done("pay"))
    assert (error.recorded, error.called) == ("execute 'pay' of charge", "execute 'pay-v2' of charge")


def test_a_removed_step_is_noticed_at_the_end() -> None:
    async def main(ctx: Context) -> Any:
        return None

    assert aside_of(main, done("pay")).called == "nothing more: the workflow returned"


def test_a_renamed_wait_is_noticed() -> None:
    async def main(ctx: Context) -> Any:
        await ctx.sleep("week", 1)

    error = aside_of(main, waits=(OpenWait("month", "sleep", ""),))
    assert (error.recorded, error.called) == ("sleep 'month'", "sleep 'week'")


def test_user_code_cannot_swallow_a_mismatch() -> None:
    async def main(ctx: Context) -> Any:
        try:
            return await ctx.execute("pay", refund, 1)
        except BaseException:
            return "swallowed"

    aside_of(main, done("pay"))


def test_a_carried_memo_answers_when_called_and_need_not_be_called() -> None:
    async def main(ctx: Context) -> Any:
        return await ctx.execute("a", charge, 1)

    history = History((done("a", carried=True), done("b", carried=True)))
    assert machine_of(main, history).start() == [Complete("1")]


def test_a_transaction_without_its_order_comes_last() -> None:
    async def main(ctx: Context) -> Any:
        order: list[str] = []

        async def note(key: str) -> None:
            await ctx.execute(key, charge, 1)
            order.append(key)

        await asyncio.gather(note("a"), note("b"), note("c"))
        return order

    loose = Memo("a", "execute", "charge", None, False, Value("1"))
    machine = machine_of(main, History((loose, done("c", seq=1), done("b", seq=2))))
    assert machine.start() == [Complete('["c","b","a"]')]
    assert machine.unordered() == [("a", 3, None)]


def test_the_logger_is_silent_while_replaying(caplog: pytest.LogCaptureFixture) -> None:
    async def main(ctx: Context) -> Any:
        ctx.logger.warning("before")
        await ctx.execute("a", charge, 1)
        ctx.logger.warning("after")

    machine_of(main, History((done("a"),))).start()
    assert [record.message for record in caplog.records] == ["after"]
