"""``ctx.saga``: what a block has done is undone, in reverse order, if the block does not end well."""

from __future__ import annotations

import asyncio

import pytest

from durable import Call, Context, DuplicateKey, InvalidArgument, RetryPolicy, Saga, StepFailed, WorkflowCodeError
from durable.core.replay.commands import EndCancelled, Execute, Fail, Undo
from durable.core.replay.history import History, Value
from tests.core.replay.playing import Main, Play, execute, work
from tests.laws.programs import machine_of

SEEDS = range(8)


def keys_of(play: Play) -> list[str]:
    return [memo.key for memo in play.memos]


async def trip(ctx: Context) -> str:
    async with ctx.saga() as saga:
        for name in ("hotel", "car", "flight"):
            reference = await execute(ctx, name)
            saga.undo(name, work, reference)
    return "booked"


def test_a_block_that_ends_well_undoes_nothing() -> None:
    play = Play(trip).to_the_end()
    play.check_replays()
    assert play.result == "booked"
    assert keys_of(play) == ["hotel", "car", "flight"]


def test_what_was_done_is_undone_in_reverse_order_and_then_the_error_is_raised() -> None:
    play = Play(trip, fails=["flight"]).to_the_end()
    play.check_replays()
    assert keys_of(play) == ["hotel", "car", "flight", "car:undo", "hotel:undo"]
    assert [memo.kind for memo in play.memos][-2:] == ["undo", "undo"]
    with pytest.raises(StepFailed, match="no flight"):
        _ = play.result


def test_an_undo_that_is_registered_first_runs_even_for_a_step_that_failed_and_has_the_arguments_of_then() -> None:
    seen: list[Execute] = []

    async def main(ctx: Context) -> None:
        stops = [1, 2]
        async with ctx.saga() as saga:
            saga.undo("book", work, stops)  # type: ignore[arg-type]  # a list, to see that it is copied
            stops.append(3)
            await execute(ctx, "book")

    play = Play(main, fails=["book"]).start()
    play.answer("book")
    assert play.open_keys == ["book:undo"]
    call, _ = play._open["book:undo"]
    assert isinstance(call, Execute)
    seen.append(call)
    play.answer("book:undo")
    play.check_replays()
    assert seen[0].args == ([1, 2],)
    assert str(seen[0]) == "undo 'book' by work"
    play.machine.close()


def test_a_cancel_of_the_run_undoes_and_the_run_ends_cancelled() -> None:
    async def main(ctx: Context) -> None:
        async with ctx.saga() as saga:
            saga.undo("book", work, await execute(ctx, "book"))
            await ctx.sleep("nap", 3600)

    play = Play(main).start()
    play.answer("book")
    play.cancel()
    assert play.open_keys == ["book:undo"]
    play.answer("book:undo")
    play.check_replays()
    assert isinstance(play.ending, EndCancelled)
    assert play.ending.error is None
    play.machine.close()


@pytest.mark.parametrize("cancelled_at", ["car:undo", "hotel:undo"])
def test_a_cancel_in_the_midst_of_undoing_interrupts_no_compensation(cancelled_at: str) -> None:
    play = Play(trip, fails=["flight"]).start()
    while play.ending is None:
        (key,) = play.open_keys
        if key == cancelled_at:
            play.cancel()
            assert play.open_keys == [key]
        play.answer(key)
    play.check_replays()
    assert [key for key in keys_of(play) if key.endswith("undo")] == ["car:undo", "hotel:undo"]
    assert play.abandoned == []
    assert isinstance(play.ending, EndCancelled)
    play.machine.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_limit_around_that_is_over_while_undoing_ends_the_block_after_it(seed: int) -> None:
    async def main(ctx: Context) -> list[str]:
        try:
            async with ctx.timeout("limit", 0.7):
                async with ctx.saga() as saga:
                    saga.undo("a", work)
                    saga.undo("b", work)
                    await execute(ctx, "b")
        except TimeoutError:
            return ["timeout"]
        except StepFailed as error:
            return [error.step_key]
        return []

    play = Play(main, seed, fails=["b"]).to_the_end()
    play.check_replays()
    assert play.result in (["timeout"], ["b"])
    assert [key for key in keys_of(play) if key.endswith("undo")] == ["b:undo", "a:undo"]


def test_errors_of_compensations_are_raised_together_from_the_original_and_stop_no_other() -> None:
    play = Play(trip, fails=["flight", "car:undo", "hotel:undo"]).to_the_end()
    play.check_replays()
    assert keys_of(play)[-2:] == ["car:undo", "hotel:undo"]
    with pytest.raises(ExceptionGroup, match="2 compensations of the saga failed") as caught:
        _ = play.result
    assert [error.step_key for error in caught.value.exceptions if isinstance(error, StepFailed)] == [
        "car:undo",
        "hotel:undo",
    ]
    assert isinstance(caught.value.__cause__, StepFailed)
    assert caught.value.__cause__.step_key == "flight"


def test_the_inner_of_two_sagas_is_undone_first_and_one_that_ended_well_is_not() -> None:
    async def main(ctx: Context) -> None:
        async with ctx.saga() as outer:
            outer.undo("a", work)
            async with ctx.saga() as done:
                done.undo("b", work)
            async with ctx.saga() as inner:
                inner.undo("c", work)
                raise ValueError("no")

    play = Play(main).to_the_end()
    play.check_replays()
    assert keys_of(play) == ["c:undo", "a:undo"]


@pytest.mark.parametrize("seed", SEEDS)
def test_what_a_sibling_registers_while_the_saga_undoes_is_undone_too(seed: int) -> None:
    async def main(ctx: Context) -> None:
        async def book(saga: Saga, name: str) -> None:
            saga.undo(name, work, await execute(ctx, name))

        async with ctx.saga() as saga:
            saga.undo("first", work)
            await asyncio.gather(book(saga, "a"), book(saga, "b"))

    play = Play(main, seed, fails=["a"]).start()
    play.answer("a")
    play.answer("b")
    while play.ending is None:
        play.step()
    play.check_replays()
    assert sorted(keys_of(play)) == ["a", "b", "b:undo", "first:undo"]
    play.machine.close()


def test_a_run_that_leaves_its_worker_undoes_nothing() -> None:
    caught: list[str] = []

    async def main(ctx: Context) -> None:
        try:
            async with ctx.saga() as saga:
                saga.undo("book", work)
                await ctx.sleep("nap", 3600)
        except Exception as error:
            caught.append(str(error))
            raise

    machine = machine_of(main, History())
    machine.start()
    machine.close()
    assert caught == []


def refused(main: Main) -> BaseException:
    machine = machine_of(main, History())
    (*_, ending) = machine.start()
    while isinstance(ending, Undo):
        _, (*_, ending) = machine.resolve(ending.key, Value("1"))
    assert isinstance(ending, Fail)
    return ending.exception


def test_bad_registrations_are_refused_before_anything_is_called() -> None:
    async def twice(ctx: Context) -> None:
        async with ctx.saga() as saga:
            saga.undo("book", work)
            saga.undo("book", work)

    async def used(ctx: Context) -> None:
        task = asyncio.ensure_future(execute(ctx, "book:undo"))
        await asyncio.sleep(0)
        async with ctx.saga() as saga:
            saga.undo("book", work)
        await task

    async def too_long(ctx: Context) -> None:
        async with ctx.saga() as saga:
            saga.undo("é" * 98, work)

    async def no_function(ctx: Context) -> None:
        async with ctx.saga() as saga:
            saga.undo("book", "unbook")  # type: ignore[arg-type]

    async def outside(ctx: Context) -> None:
        ctx.saga().undo("book", work)

    async def entered_twice(ctx: Context) -> None:
        saga = ctx.saga()
        for _ in range(2):
            async with saga:
                pass

    assert isinstance(refused(twice), DuplicateKey)
    assert isinstance(refused(used), DuplicateKey)
    assert "at most 195 bytes" in str(refused(too_long))
    assert isinstance(refused(no_function), InvalidArgument)
    assert isinstance(refused(outside), WorkflowCodeError)
    assert "has been entered before" in str(refused(entered_twice))


def test_a_compensation_takes_options_and_arguments_by_name() -> None:
    policy = RetryPolicy(max_retries=9)

    async def main(ctx: Context) -> None:
        async with ctx.saga() as saga:
            saga.undo(Call("book", retry=policy, name="unbook-v1"), work, what=3)
            raise ValueError("no")

    (call,) = machine_of(main, History()).start()
    assert isinstance(call, Execute)
    assert (call.key, call.kwargs, call.retry, call.name) == ("book:undo", {"what": 3}, policy, "unbook-v1")
