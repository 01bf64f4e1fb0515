"""The same step for many items, a limited number at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Generic, TypeVar

import msgspec

from durable.core.arguments import whole_number
from durable.core.errors import InvalidArgument, MapFailed, StepFailed
from durable.core.keys import check_key
from durable.core.replay.calls import Answer, Calls
from durable.core.replay.commands import Execute
from durable.core.replay.signatures import signature_of
from durable.core.replay.step_call import Call, step_call

T = TypeVar("T")


class MapResult(msgspec.Struct, Generic[T], frozen=True):
    """What ``ctx.map`` returns if items may fail: ``outcomes`` has a result or an error for each item, in the order of
    the items."""

    outcomes: list[T | StepFailed]

    @property
    def values(self) -> list[T]:
        """The results of the items that did not fail, in the order of the items."""
        return [outcome for outcome in self.outcomes if not isinstance(outcome, StepFailed)]

    @property
    def failures(self) -> dict[int, StepFailed]:
        """The errors, each by the index of its item."""
        return {index: outcome for index, outcome in enumerate(self.outcomes) if isinstance(outcome, StepFailed)}


async def map_items(
    calls: Calls,
    key: str | Call,
    fn: Callable[..., object],
    items: Iterable[Any],
    max_concurrency: int | None,
    max_failures: int | None,
) -> MapResult[Any]:
    """Does what ``Context.map`` says; ``None`` means that there is no limit."""
    if isinstance(items, set | frozenset):
        rule = "an iterable whose order a replay repeats, such as sorted(items)"
        raise InvalidArgument("items", items, rule, got=f"a {type(items).__name__}")
    try:
        listed = list(items)
    except TypeError:
        raise InvalidArgument("items", items, "an iterable with one argument for each call") from None
    if max_concurrency is not None:
        whole_number("max_concurrency", max_concurrency, 1)
    if max_failures is not None:
        whole_number("max_failures", max_failures, 0)
    mapping = _Mapping(calls, key, fn, listed, max_concurrency or len(listed), max_failures)
    return MapResult(await mapping.run())


class _Mapping:
    """Has no task for each item: a call that is answered makes the next one."""

    def __init__(
        self,
        calls: Calls,
        key: str | Call,
        fn: Callable[..., object],
        items: list[Any],
        most_at_once: int,
        max_failures: int | None,
    ) -> None:
        self._calls = calls
        self._key = key
        self._plain_key = key.key if isinstance(key, Call) else check_key("key", key)
        self._fn = fn
        self._signature = signature_of(fn)
        self._items = items
        self._most_at_once = most_at_once
        self._max_failures = len(items) if max_failures is None else max_failures
        self._outcomes: list[Any] = [None] * len(items)
        self._failed: list[StepFailed] = []
        self._started = 0
        self._running: dict[int, Answer] = {}
        self._ended: asyncio.Future[None] = calls.loop.create_future()
        if items:
            self._call_of(len(items) - 1)  # refuses a key that would be too long before anything is called

    async def run(self) -> list[Any]:
        self._start_some()
        try:
            await self._ended
        except BaseException:
            self._give_up()
            raise
        if len(self._failed) > self._max_failures:
            raise MapFailed(self._plain_key, len(self._items), self._max_failures, self._failed)
        return self._outcomes

    def _give_up(self) -> None:
        running, self._running = self._running, {}
        self._started = len(self._items)
        for answer in running.values():
            answer.cancel()

    def _start_some(self) -> None:
        may_start = len(self._failed) <= self._max_failures
        while may_start and self._started < len(self._items) and len(self._running) < self._most_at_once:
            index = self._started
            self._started += 1
            answer = self._running[index] = self._calls.call(self._call_of(index))
            answer.add_done_callback(partial(self._item_ended, index))
        if not self._running and not self._ended.done():
            self._ended.set_result(None)

    def _call_of(self, index: int) -> Execute:
        key: str | Call = f"{self._plain_key}[{index}]"
        if isinstance(self._key, Call):
            key = msgspec.structs.replace(self._key, key=key)
        return step_call(Execute, key, self._fn, (self._items[index],), {}, self._signature)

    def _item_ended(self, index: int, answer: asyncio.Future[Any]) -> None:
        if self._running.pop(index, None) is None:
            return  # all were given up
        error = answer.exception()
        if isinstance(error, StepFailed):
            self._failed.append(error)
            self._outcomes[index] = error
        elif error is None:
            self._outcomes[index] = answer.result()
        try:
            if error is not None and not isinstance(error, StepFailed):
                raise error
            self._start_some()
        except Exception as unexpected:  # a key that is used twice, for example
            if not self._ended.done():
                self._ended.set_exception(unexpected)
