"""The laws of the rooms beside replay, small enough to be tried against every mutant of theirs."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import msgspec

from durable import (
    Context,
    DuplicateKey,
    Every,
    RetryPolicy,
    RunKey,
    RunRetryPolicy,
    SerializationError,
    StepFailed,
    Terminal,
    exponential,
    workflow,
)
from durable.core import shards
from durable.core.codec.json_codec import JsonCodec, encode_as
from durable.core.errors import EventTimeout, NondeterminismError
from durable.core.failures import ErrorInfo
from durable.core.replay import endings
from durable.core.replay.commands import Complete, Execute, Fail, SetAside, WaitEvent, failure_of
from durable.core.replay.history import History, Memo, Value
from durable.core.replay.isolation import isolated
from durable.core.schedules import turns
from durable.core.schedules.timetable import Timetable, run_id_of
from durable.store import ids
from durable.store.channels import number_of
from durable.store.records import ClaimedRun
from durable.worker.blocked_records import Blocked
from durable.worker.clock import Clock
from durable.worker.precedence import STAND_IN_SECONDS, Precedence
from durable.worker.run.attempt import Attempt
from tests.core.replay.playing import Play, execute
from tests.laws.programs import do, machine_of

START = datetime(2026, 1, 1, tzinfo=UTC)


def a_key_is_used_once(kinds: tuple[str, str]) -> None:
    async def main(ctx: Context) -> None:
        await asyncio.gather(*(ctx.execute("a", do, "a") if kind == "execute" else ctx.sleep("a", 1) for kind in kinds))

    ending = machine_of(main, History()).start()[-1]
    assert isinstance(ending, Fail)
    assert isinstance(ending.exception, DuplicateKey)


def a_closed_machine_calls_nothing_more_and_sets_have_one_order(size: int) -> None:
    believed: list[str] = []

    async def main(ctx: Context) -> list[int]:
        tasks = [asyncio.ensure_future(asyncio.Event().wait()) for _ in range(size)]
        places = {task: index for index, task in enumerate(tasks)}
        order = [places[task] for task in set(tasks)]
        for task in tasks:
            task.cancel()
        return order

    async def unwound(ctx: Context) -> None:
        try:
            await ctx.sleep("nap", 1)
        finally:
            try:
                await ctx.execute("clean up", do, "a")
            except Exception as error:
                believed.append(str(error))
            else:
                believed.append("it was called")

    machine = machine_of(unwound, History())
    machine.start()
    machine.close()
    assert believed == []
    assert "clean up" not in machine._used
    endings_of_two = [machine_of(main, History()).start()[-1] for _ in range(2)]
    assert isinstance(endings_of_two[0], Complete)
    assert endings_of_two[0] == endings_of_two[1]


def retries_are_counted_and_spaced(most: int, base: int, factor: int) -> None:
    backoff = exponential(base, 1000, factor)
    step = RetryPolicy(max_retries=most, backoff=backoff)
    run = RunRetryPolicy(max_attempts=most + 1, backoff=backoff)
    for failures in range(1, most + 3):
        expected = min(1000.0, base * float(factor) ** (failures - 1)) if failures <= most else None
        assert step.next_delay(failures, ValueError()) == expected
        assert run.next_delay(failures, ValueError()) == expected
    for hopeless in (Terminal("no"), StepFailed("a", ErrorInfo("Terminal", "no"))):
        assert run.next_delay(1, hopeless) is None


def a_run_is_tried_anew_without_what_failed(attempts: int, set_asides: int, most: int) -> None:
    policy = RunRetryPolicy(max_attempts=most, backoff=2)
    settled = endings.ending_of(failure_of(ValueError("no")), policy, attempts=attempts, set_asides=set_asides)
    is_last = attempts + 1 >= most
    assert (settled.status, settled.is_retry) == (("failed", False) if is_last else ("sleeping", True))
    _a_timeout_is_named_by_what_it_led_to()
    aside = SetAside(NondeterminismError("a", "b"))
    waits = [endings.ending_of(aside, policy, attempts=attempts, set_asides=times).wake_in for times in range(12)]
    assert waits == [min(300.0, 2.0**times) for times in range(12)]


class _Animal(msgspec.Struct):
    name: str


class _Dog(_Animal):
    tricks: list[float]


def _a_timeout_is_named_by_what_it_led_to() -> None:
    for cause in ("itself", "group", "cause", "context"):
        timeout = EventTimeout("wait", "news")
        error: BaseException = ValueError("no")
        match cause:
            case "itself":
                error = timeout
            case "group":
                error = ExceptionGroup("several", [error, timeout])
            case "cause":
                error.__cause__ = timeout
            case _:
                error.__context__ = timeout
        settled = endings.ending_of(failure_of(error), RunRetryPolicy(), attempts=0, set_asides=0)
        assert settled.error is not None
        assert msgspec.json.decode(settled.error)["waits"] == ["wait"]


def what_does_not_fit_its_type_sets_the_run_aside(kind: str, is_replayed: bool) -> None:  # noqa: FBT001 - drawn
    refunds: list[str] = []

    async def count() -> int:
        return 1

    async def main(ctx: Context) -> None:
        try:
            await (ctx.execute("a", count) if kind == "execute" else ctx.wait_for_event("a", "news", int))
        except Exception as error:
            refunds.append(str(error))

    machine = machine_of(main, History())
    (call,) = machine.start()
    assert isinstance(call, Execute | WaitEvent)
    memo = Memo("a", call.kind, call.name, 1, False, Value('"text"'))
    commands = machine_of(main, History((memo,))).start() if is_replayed else machine.resolve("a", memo.outcome)[1]
    assert [type(command) for command in commands] == [SetAside]
    assert not refunds


def a_number_comes_back_or_is_refused(numbers: list[float]) -> None:
    """A list that also holds ``None``, among which a NaN could hide; two keys that are one text, and a field that the
    declared type does not have."""
    lossy: list[tuple[object, Any]] = [({1: None, "1": None}, Any), (_Dog("a", []), _Animal)]
    for value, type in lossy:
        try:
            encode_as(JsonCodec(), value, type, "it")
        except SerializationError:
            continue
        raise AssertionError(f"{value} was stored")
    codec, listed = JsonCodec(), [None, *numbers]
    if all(map(math.isfinite, numbers)):
        assert codec.decode(codec.encode(listed, "it"), list[float | None], "it") == listed
        return
    try:
        codec.encode(listed, "it")
    except SerializationError:
        return
    raise AssertionError(f"{listed} was stored")


def every_tick_begins_one_run(every: int, looks: list[int], actives: list[bool]) -> None:
    """However late and irregularly a worker looks at a schedule that catches up on all it missed."""
    timetable = Timetable(schedule=Every(every), anchor=START)
    now, next_tick = START, timetable.next_tick(START)
    begun: list[datetime] = []
    for pause in looks:
        now += timedelta(seconds=pause)
        assert next_tick is not None
        due = turns.plan(timetable, next_tick, now, "all")
        begun += due.ticks
        next_tick = due.next_tick
    passed = int((now - START).total_seconds()) // every
    assert begun == [START + timedelta(seconds=every * number) for number in range(1, passed + 1)]
    assert len({run_id_of("schedule", tick) for tick in begun}) == len(begun)
    _a_buffered_tick_waits(timetable, actives)


def _a_buffered_tick_waits(timetable: Timetable, actives: list[bool]) -> None:
    waiting, owed = None, False
    tick = timetable.next_tick(START)
    for is_active in actives:
        assert tick is not None
        scheduled = turns.Scheduled(
            schedule_id="one",
            timetable=timetable,
            catch_up="one",
            overlap="buffer_one",
            jitter=0.0,
            next_tick=tick,
            waiting=waiting,
        )
        turn = turns.turn_of(scheduled, tick, is_previous_active=is_active)
        assert len(turn.ticks) == (0 if is_active else 1)
        assert (turn.waiting is not None) == (is_active or owed)
        waiting, tick = turn.waiting, turn.next_tick
        owed = waiting is not None


def one_worker_comes_first_and_another_stands_in(size: int, ticket: int, shard: int) -> None:
    """Whichever worker is killed, another hears of the run and looks within 40 ms."""
    workers = [f"worker {number}" for number in range(size)]
    shard_value = f"flow_{shard}"
    pauses: list[float] = []
    for worker in workers:
        precedence = Precedence(partial(str, worker))
        precedence.know([other for other in workers if other != worker])
        assert precedence.pause(shard_value, str(ticket)) == 0
        precedence.know(workers)
        if precedence.numbers() & {ticket, number_of(shard_value)}:
            pauses.append(precedence.pause(shard_value, str(ticket)))
    pauses.sort()
    assert pauses.count(0.0) == 1
    assert len(pauses) in (2, 3)
    assert pauses[1] <= STAND_IN_SECONDS


def a_run_has_one_shard_of_all(workflow: str, count: int) -> None:
    used = {shards.shard_value(workflow, f"run-{number}", count) for number in range(60 * count)}
    assert used == set(shards.shard_values(workflow, count))
    assert (shards.fnv1a32("run-123") % 8, shards.fnv1a32("run-456") % 8) == (3, 4)


def the_ids_of_a_run_s_children_are_reserved_in_its_inbox(parent: UUID) -> None:
    child = ids.child_run_id(str(parent))
    cancel = ids.cancel_id(str(parent), child)
    assert ids.cancel_id(str(parent), child) == cancel
    assert _is_reserved(child, str(parent))
    assert _is_reserved(ids.child_run_id(child), child)
    assert _is_reserved(cancel, child)
    assert not _is_reserved(str(parent), child)
    assert not _is_reserved(child, ids.child_run_id(child))  # for parents that cancel under their own ids


def _is_reserved(event_id: str, run_id: str) -> bool:
    """As the check `events_sent` of the schema has it."""
    return UUID(event_id).int >> 76 & 0xF == 8 and UUID(event_id).bytes[15] == (UUID(run_id).bytes[15] + 1) % 256


def what_is_not_blocked_is_written_although_its_neighbors_are(blocked: list[bool]) -> None:
    async def main() -> None:
        locked = {number for number, is_blocked in enumerate(blocked) if is_blocked}
        free = set(range(len(blocked))) - locked
        written: list[int] = []
        parts = Blocked[int]()
        tries = 0

        async def write(items: Sequence[int]) -> bool:
            nonlocal tries
            tries += 1
            assert tries < 8 * len(blocked), "tried again and again"
            if locked & set(items):
                if free <= set(written):
                    locked.clear()  # the transaction that held them ends
                return False
            written.extend(items)
            return True

        parts.add(write, range(len(blocked)))
        await asyncio.gather(*parts.tasks)
        assert sorted(written) == list(range(len(blocked)))

    asyncio.run(main())


async def _through_time_and_generators(ctx: Context) -> list[float]:
    loop = asyncio.get_running_loop()
    times, closed = [loop.time()], asyncio.Event()

    async def pages() -> AsyncIterator[int]:
        try:
            for index in range(3):
                yield await execute(ctx, f"page {index}")
        finally:
            await execute(ctx, "close")
            closed.set()

    async for _ in pages():
        times.append(loop.time())
        break
    await closed.wait()
    polled = asyncio.create_task(execute(ctx, "polled"))
    turns = 0
    while not polled.done():
        turns += 1
        await asyncio.sleep(0)
    await asyncio.sleep(1)
    for index in range(3):
        await execute(ctx, f"last {index}")
    return [*times, turns, loop.time()]


def asyncio_is_the_same_on_every_replay(seed: int) -> None:
    play = Play(_through_time_and_generators, seed).to_the_end()
    assert play.result[-2] < 100_000
    play.check_replays()


def a_step_changes_none_of_its_arguments(argument: list[list[int]]) -> None:
    shown = repr(argument)
    (copied,) = isolated((argument,))
    copied.append([1])
    for inner in copied:
        inner.append(1)
    assert repr(argument) == shown


def tasks_have_hashes_of_their_run(size: int, salt: int) -> None:
    """The same in every process. asyncio keeps the tasks of all runs in one set."""

    @workflow
    async def made(ctx: Context) -> list[list[int]]:
        tasks = [asyncio.ensure_future(asyncio.Event().wait()) for _ in range(size)]
        places = {task: place for place, task in enumerate(tasks)}
        order = [places[task] for task in set(tasks)]
        hashes = [hash(task) for task in tasks]
        for task in tasks:
            task.cancel()
        return [hashes, order]

    kept: list[ClaimedRun] = []

    def hashes(run_id: str) -> list[int]:
        claimed = ClaimedRun(run_id, 1, 1, 0, 0, "null", START, None, None)
        kept.append(claimed)  # so that the next one has another address, as in another process
        attempt = Attempt(made, RunKey("made_0", run_id), claimed, JsonCodec(), Clock())
        machine = attempt.machine(History())
        ending = machine.start(attempt.main(machine))[-1]
        machine.close()
        assert isinstance(ending, Complete)
        found, order = msgspec.json.decode(ending.output)
        assert order == sorted(order), "a small set has another order than that of creation"
        return list(found)

    one, other = (f"01940000-0000-7000-8000-{number:012x}" for number in (salt, salt + 1))
    assert hashes(one) == hashes(one)
    assert not set(hashes(one)) & set(hashes(other))
