"""Small generated workflows: what a program may look like, and how it is executed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, TypeAlias
from uuid import UUID

import msgspec
from hypothesis import strategies as st

from durable import Call, Context, MapFailed, RunCancelled, RunFailed, RunKey, StepFailed, workflow
from durable.core.codec.json_codec import JsonCodec
from durable.core.errors import EventTimeout
from durable.core.replay.commands import Command
from durable.core.replay.history import UNDO, History
from durable.core.replay.loop import THE_PAST
from durable.core.replay.machine import Machine
from tests.laws import timers
from tests.laws.timers import LIMITS, TIMERS, seconds_of

Main = Callable[[Context], Coroutine[Any, Any, Any]]
Begin = Callable[[], Coroutine[Any, Any, Any]]

Trace: TypeAlias = list[tuple[str, str]]
"""What the code has seen, in order: keys and the answers to them."""

STEPS = ("execute", "typed", "transaction")
DRAWS = ("random", "random_uint64", "random_uuid7", "now")
REQUESTS = ("request", "request_refused", "request_left")
WAITS = ("sleep", "sleep_until", "event", "shared_event", "event_in_time", "events", "events_in_time")
CHILDREN = ("child", "child_later", "child_abandoned", "child_cancelled", "child_asked")
CANCELLED_WITH_THE_AWAIT = ("child", "child_abandoned")
MANY = ("map", "map_some")
OTHER = RunKey("other_0", "01940000-0000-7000-8000-000000000001")
"""A run to which programs send events."""
EPOCH = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
SHARED = "news"
SAID = "status "
"""What lines of a trace begin with that tell what a program has set as its status."""


class Leaf(msgspec.Struct, frozen=True):
    """One call, or ``raise``. A step or child fails for good in that many first attempts of the run."""

    kind: str
    fails: int = 0


class Block(msgspec.Struct, frozen=True):
    how: str
    parts: tuple[Node, ...]


Node: TypeAlias = Leaf | Block

TOGETHER = ("gather", "settled", "group", "race", "first", "lock", "queue")
IN_TURN = ("seq", "guard", "finally", "swallow", "branch", "loop", "drop", "saga", "saga_after")


class Boom(Exception):
    """Raised by the program itself."""


class Receipt(msgspec.Struct, frozen=True):
    amount: Decimal
    at: datetime


async def do(x: str) -> str:
    return x


async def do_typed(x: str) -> tuple[Receipt, ...]:
    return ()


async def do_tx(tx: Any, x: str) -> str:
    return x


async def do_other(x: str) -> str:
    return x


@workflow
async def child(ctx: Context, x: str) -> str:
    return x


def programs() -> st.SearchStrategy[Node]:
    leaves = st.one_of(
        st.builds(Leaf, st.sampled_from((*STEPS, *STEPS, *CHILDREN, *MANY, "once")), st.sampled_from((0, 0, 0, 1, 9))),
        st.builds(
            Leaf,
            st.sampled_from(
                (
                    *WAITS,
                    *DRAWS,
                    *WAITS,
                    *REQUESTS,
                    "publish",
                    "raise",
                    "status",
                    "patched",
                    "patched",
                    *TIMERS,
                    *TIMERS,
                )
            ),
        ),
    )
    return trees(leaves, (*TOGETHER, *IN_TURN, *LIMITS))


def timed_programs() -> st.SearchStrategy[Node]:
    """Programs with little but timers, and calls that keep the run on its worker or have it park."""
    leaves = st.builds(Leaf, st.sampled_from((*TIMERS, "nap", "later", "execute", "event", "shared_event", "child")))
    return trees(leaves, ("seq", "gather", "settled", "race", "loop", *LIMITS))


def wide_programs() -> st.SearchStrategy[Node]:
    """Programs that make many calls at once, steps and timers."""
    leaves = st.builds(Leaf, st.sampled_from(("execute", "nap", "nap", "later")))
    return st.builds(Block, st.just("gather"), st.lists(leaves, min_size=3, max_size=8).map(tuple))


def confluent_programs() -> st.SearchStrategy[Node]:
    """Programs whose result does not depend on the order of answers."""
    # A child that is cancelled may have completed before.
    children = [kind for kind in CHILDREN if kind != "child_cancelled"]
    leaves = st.builds(
        Leaf,
        st.sampled_from(
            (*STEPS, *DRAWS, *children, *MANY, "publish", "sleep", "event", "request", "nap", "later", "glance")
        ),
    )
    return trees(leaves, ("seq", "gather", "settled", "group", "lock", "guard", "finally", "branch", "loop", "saga"))


def trees(leaves: st.SearchStrategy[Leaf], hows: tuple[str, ...]) -> st.SearchStrategy[Node]:
    return st.recursive(
        leaves,
        lambda inner: st.builds(Block, st.sampled_from(hows), st.lists(inner, min_size=1, max_size=3).map(tuple)),
        max_leaves=8,
    )


def leaves_of(node: Node, path: str = "p") -> Iterator[tuple[str, Leaf]]:
    """Paths and leaves. The key of a call is the leaf's path, with an ``@`` and the turn of each loop around it."""
    if isinstance(node, Leaf):
        yield path, node
    else:
        for index, part in enumerate(node.parts):
            yield from leaves_of(part, f"{path}.{index}")


def leaf_at(leaves: Mapping[str, Leaf], key: str) -> Leaf:
    """The leaf, of those by their paths, that makes the call of that key. A compensation fails as what it undoes."""
    path, _, undo = re.sub(r"@[01]|\[\d\]|:status", "", key).partition(UNDO)
    is_undo = key.endswith(UNDO)
    return leaves.get(path, Leaf("execute")) if is_undo else leaves[path + undo]


class Interpreter:
    """Executes a program and keeps its trace. ``ctx`` is a ``Context``, or what the reference has in its place."""

    def __init__(self, ctx: Any, trace: Trace) -> None:
        self._ctx = ctx
        self._trace = trace

    async def run(self, node: Node, path: str = "p") -> Any:
        if isinstance(node, Leaf):
            if node.kind == "raise":
                raise Boom(path)
            if node.kind == "status":
                return await self._seen(f"{SAID}{path}", self._say(path))
            if node.kind in TIMERS:
                return await self._seen(f"{node.kind} {path}", timers.begin(node.kind, path))
            if node.kind in MANY:
                return await self._seen(f"{node.kind} {path}", self._many(node.kind, path))
            return await self._seen(path, self._call(node.kind, path))
        if node.how in TOGETHER:
            begins = [partial(self.run, part, f"{path}.{index}") for index, part in enumerate(node.parts)]
            return await self._together(node.how, begins)
        if node.how in LIMITS:
            return await self._in_time(node.how, node.parts, path)
        return await self._in_turn(node.how, node.parts, path)

    async def _seen(self, key: str, answer: Awaitable[Any]) -> Any:
        try:
            value = await answer
        except (StepFailed, EventTimeout, RunFailed, RunCancelled, MapFailed) as error:
            self._trace.append((key, f"{type(error).__name__}: {error}"))
            if isinstance(error, EventTimeout):
                return "too late"
            raise
        except asyncio.CancelledError:
            self._trace.append((key, "cancelled"))
            raise
        self._trace.append((key, repr(value)))
        return value

    async def _say(self, path: str) -> None:
        self._ctx.set_status(path)

    def _call(self, kind: str, key: str) -> Any:
        ctx, seconds = self._ctx, len(key) % 3
        match kind:
            case "execute":
                return ctx.execute(key, do, key)
            case "once":
                return ctx.execute(Call(key, at_most_once=True), do, key)
            case "typed":
                return ctx.execute(key, do_typed, key)
            case "other":
                return ctx.execute(key, do_other, key)
            case "transaction":
                return ctx.transaction(key, do_tx, key)
            case "sleep":
                return ctx.sleep(key, seconds)
            case "sleep_until":
                return ctx.sleep_until(key, EPOCH + timedelta(seconds=seconds))
            case "event":
                return ctx.wait_for_event(key, f"to {key}")
            case "shared_event":
                return ctx.wait_for_event(key, SHARED)
            case "event_in_time":
                return ctx.wait_for_event(key, SHARED, timeout=seconds)
            case "request" | "request_refused" | "request_left":
                return self._asked(key, kind)
            case "events":
                return ctx.wait_for_events(key, SHARED, max=2, within=1.5)
            case "events_in_time":
                return ctx.wait_for_events(key, SHARED, max=3, within=0.5, timeout=seconds)
            case "publish":
                return ctx.publish_event(key, OTHER, "news for another", key)
            case "child":
                return ctx.run_child(key, child, key)
            case "child_abandoned":
                return ctx.run_child(key, child, key, abandon=True)
            case "child_later" | "child_cancelled" | "child_asked":
                return self._child_later(key, kind)
            case "patched":
                return self._said(key)
            case _:
                return getattr(ctx, kind)(key)

    async def _many(self, kind: str, key: str) -> Any:
        if kind == "map":
            return await self._ctx.map(key, do, "abc", max_concurrency=2)
        result = await self._ctx.map(key, do, "abcd", max_concurrency=3, max_failures=2)
        return [_shown(outcome) for outcome in result.outcomes]

    async def _said(self, key: str) -> bool:
        return bool(self._ctx.patched(key))

    async def _asked(self, key: str, kind: str) -> Any:
        request = await self._ctx.wait_for_request(key, f"to {key}")
        if kind == "request":
            await request.reply(request.payload)
        elif kind == "request_refused":
            await request.refuse(key)
        return request.payload

    async def _child_later(self, key: str, kind: str) -> Any:
        handle = await self._ctx.start_child(key, child, key)
        if kind == "child_cancelled":
            await handle.cancel()
        if kind == "child_asked":
            await handle.status(f"{key}:status")
        return await handle.result()

    async def _together(self, how: str, begins: Sequence[Begin]) -> Any:
        match how:
            case "gather":
                return await asyncio.gather(*(begin() for begin in begins))
            case "settled":
                results = await asyncio.gather(*(begin() for begin in begins), return_exceptions=True)
                return [_shown(result) for result in results]
            case "group":
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(begin()) for begin in begins]
                return [task.result() for task in tasks]
            case "race" | "first":
                when = asyncio.FIRST_COMPLETED if how == "race" else asyncio.FIRST_EXCEPTION
                tasks = [asyncio.ensure_future(begin()) for begin in begins]
                pending = set(tasks)
                try:
                    done, pending = await asyncio.wait(tasks, return_when=when)
                finally:
                    for task in pending:
                        task.cancel()
                    await asyncio.gather(*pending, return_exceptions=True)
                return [index for index, task in enumerate(tasks) if task in done and task.exception() is None]
            case "lock":
                lock, order = asyncio.Lock(), list[int]()

                async def alone(index: int, begin: Begin) -> Any:
                    async with lock:
                        order.append(index)
                        return await begin()

                return [await asyncio.gather(*(alone(i, begin) for i, begin in enumerate(begins))), order]
            case _:
                return await _through_a_queue(begins)

    async def _in_time(self, how: str, parts: tuple[Node, ...], path: str) -> Any:
        seconds = seconds_of(path)
        if how == "wait":
            return await self._while_time_lasts(seconds, parts, path)
        if how == "wait_for":
            try:
                return await asyncio.wait_for(self._in_turn("seq", parts, path), seconds)
            except TimeoutError:  # of its own timer, or of a part that is strict
                self._trace.append((f"wait_for {path}", "too late"))
                return "too late"
        limit = self._ctx.timeout(path, seconds) if how == "named" else asyncio.timeout(seconds)
        try:
            async with limit:
                return await self._in_turn("seq", parts, path)
        except TimeoutError:
            if limit.expired():
                self._trace.append((f"limit {path}", "too late"))
            if how == "strict" or not limit.expired():
                raise
            return "too late"

    async def _while_time_lasts(self, seconds: float, parts: tuple[Node, ...], path: str) -> list[int]:
        tasks = [asyncio.ensure_future(self.run(part, f"{path}.{index}")) for index, part in enumerate(parts)]
        pending = set(tasks)
        try:
            _, pending = await asyncio.wait(tasks, timeout=seconds)
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if pending:
            self._trace.append((f"limit {path}", "too late"))
        return [index for index, task in enumerate(tasks) if task not in pending]

    async def _in_turn(self, how: str, parts: tuple[Node, ...], path: str) -> Any:
        results: list[Any] = []
        match how:
            case "seq":
                for index, part in enumerate(parts):
                    results.append(await self.run(part, f"{path}.{index}"))
            case "guard" | "swallow":
                caught = Exception if how == "guard" else BaseException
                for index, part in enumerate(parts):
                    try:
                        results.append(await self.run(part, f"{path}.{index}"))
                    except caught as error:
                        if isinstance(error, GeneratorExit):
                            raise
                        results.append(_shown(error))
            case "finally":
                try:
                    for index, part in enumerate(parts[:-1]):
                        results.append(await self.run(part, f"{path}.{index}"))
                finally:
                    results.append(await self.run(parts[-1], f"{path}.{len(parts) - 1}"))
            case "saga" | "saga_after":
                async with self._ctx.saga() as saga:
                    for index, part in enumerate(parts):
                        key = f"{path}.{index}"
                        if how == "saga":
                            saga.undo(key, do, key)
                        results.append(await self.run(part, key))
                        if how == "saga_after":
                            saga.undo(key, do, key)
            case "branch":
                first = await self.run(parts[0], f"{path}.0")
                chosen = sum(repr(first).encode()) % len(parts)
                if chosen:
                    results.append(await self.run(parts[chosen], f"{path}.{chosen}"))
            case "loop":
                for turn in range(2):
                    for index, part in enumerate(parts):
                        results.append(await self.run(part, f"{path}@{turn}.{index}"))
            case "drop":
                dropped = asyncio.ensure_future(self.run(parts[0], f"{path}.0"))
                for index, part in enumerate(parts[1:], 1):
                    results.append(await self.run(part, f"{path}.{index}"))
                dropped.cancel()
                results += [_shown(result) for result in await asyncio.gather(dropped, return_exceptions=True)]
        return results


async def _through_a_queue(begins: Sequence[Begin]) -> list[Any]:
    """Each part tells its result through a queue that holds one."""
    queue: asyncio.Queue[Any] = asyncio.Queue(1)

    async def tell(begin: Begin) -> None:
        await queue.put(_shown((await asyncio.gather(begin(), return_exceptions=True))[0]))

    tellers = [asyncio.ensure_future(tell(begin)) for begin in begins]
    try:
        return [await queue.get() for _ in begins]
    finally:
        for teller in tellers:
            teller.cancel()


def _shown(result: Any) -> Any:
    return type(result).__name__ if isinstance(result, BaseException) else result


class Prepared(Machine):
    """A machine that is given its code before it starts."""

    def __init__(self, main: Main, history: History, began: datetime = THE_PAST, salt: int = 0) -> None:
        super().__init__(history, JsonCodec(), output=lambda: "the output", began=began, salt=salt)
        self._code = main

    def start(self) -> list[Command]:  # type: ignore[override]  # the code is here already
        return super().start(self._code(Context(self, RunKey("program_0", str(UUID(int=0))), "program", 1, 1)))


def machine_of(main: Main, history: History, began: datetime = THE_PAST, salt: int = 0) -> Prepared:
    return Prepared(main, history, began, salt)
