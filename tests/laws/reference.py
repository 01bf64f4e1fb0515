"""What must come of a history, told by another judge: the same program on a stock asyncio loop, answered in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from datetime import datetime
from functools import partial
from itertools import count
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import msgspec

from durable import Call, MapFailed, MapResult, RunCancelled, RunFailed, RunKey, StepFailed, StepInterrupted, Workflow
from durable.core.errors import EventTimeout
from durable.core.failures import ErrorInfo, error_info
from durable.core.replay.history import REPLY, TIMER_KEYS, UNDO, Failure, History, Memo, OpenWait, Outcome, Value
from tests.laws.programs import Interpreter, Node, Receipt, Trace

_TYPES: dict[str, Any] = {"random_uuid7": UUID, "random_uint64": int, "random": float, "now": datetime}


class Mismatch(Exception):
    """The program does not call what was recorded."""


class Verdict(msgspec.Struct, frozen=True):
    """``ending`` is the status with the output or the error, ``None`` where the program waits for ``asked``."""

    ending: tuple[str, str] | None
    asked: tuple[str, ...]
    trace: Trace


def judge(program: Node, history: History, began: datetime, salt: int, *, may_differ: bool = False) -> Verdict | None:
    """What the program does with that history; ``None`` where it does not match, which only changed code may do.
    ``began`` is when the attempt began."""
    loop = _Loop(began)
    loop.set_exception_handler(lambda *_: None)  # what nobody awaits any more may raise
    numbers = count(salt)
    loop.set_task_factory(lambda loop, coro, **options: _Counted(coro, next(numbers), loop, **options))
    reference = _Reference(loop, program, history)
    try:
        return reference.judge()
    except Mismatch:
        if not may_differ:
            raise
        return None
    finally:
        reference.unwind()
        loop.close()


class _Counted(asyncio.Task[Any]):
    """Has the same place in a set on every loop."""

    def __init__(self, coro: Any, number: int, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        self._number = number
        super().__init__(coro, loop=loop, **options)

    def __hash__(self) -> int:
        return self._number


class _Loop(asyncio.SelectorEventLoop):
    """Its time passes with the answers, and its timers wait for theirs."""

    def __init__(self, began: datetime) -> None:
        super().__init__()
        self.began = self.moment = began
        self.armed: Callable[[asyncio.TimerHandle], object] = id

    def time(self) -> float:
        return self.moment.timestamp()

    def call_at(self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Any:
        if when <= self.time():
            return self.call_soon(callback, *args, context=context)
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self.armed(timer)
        return timer


class _Timer:
    """A timer in place of the future of a call."""

    def __init__(self, handle: asyncio.TimerHandle) -> None:
        self._handle = handle
        self._has_fired = False

    def done(self) -> bool:
        return self._has_fired or self._handle.cancelled()

    def fire(self, loop: _Loop) -> None:
        self._has_fired = True
        loop._ready.append(self._handle)  # type: ignore[attr-defined]  # as when a stock loop finds it due


class _Child:
    def __init__(self, end: Callable[[], asyncio.Future[Any]], read: Callable[[str], asyncio.Future[Any]]) -> None:
        self.end = end
        self.status = read

    async def cancel(self) -> None: ...

    async def result(self) -> Any:
        return await asyncio.shield(self.end())


class _Request:
    def __init__(self, answer: Callable[[], asyncio.Future[Any]], payload: str) -> None:
        self._answer = answer
        self.payload = payload

    async def reply(self, _: str) -> None:
        await asyncio.shield(self._answer())

    refuse = reply


class _Saga:
    """Each compensation is a task that nothing cancels."""

    def __init__(self, reference: _Reference) -> None:
        self._reference = reference
        self._undos: list[tuple[str, Callable[..., Any]]] = []

    def undo(self, key: str, fn: Callable[..., Any], *_: Any) -> None:
        self._undos.append((key + UNDO, fn))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None or self._reference.is_unwound:
            return
        failed: list[Exception] = []
        cancels: list[asyncio.CancelledError] = []
        while self._undos:
            key, fn = self._undos.pop()
            call = self._reference.call("undo", key, fn.__name__, str)
            while not call.done():
                try:
                    await asyncio.shield(call)
                except asyncio.CancelledError as cancel:
                    cancels.append(cancel)
                    if self._reference.is_unwound:
                        raise
                except StepFailed as failure:
                    failed.append(failure)
        if failed:
            many = "a compensation" if len(failed) == 1 else f"{len(failed)} compensations"
            raise ExceptionGroup(f"{many} of the saga failed", failed) from error
        if cancels:
            raise cancels[-1]


class _Timeout:
    """asyncio's own, whose timer has a name."""

    def __init__(self, reference: _Reference, key: str, seconds: float) -> None:
        self._reference = reference
        self._key = key
        self._limit = asyncio.timeout(seconds)
        self.expired = self._limit.expired

    async def __aenter__(self) -> None:
        self._reference.naming = self._key
        await self._limit.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._limit.__aexit__(kind, error, traceback)


class _Reference:
    """Has the methods of ``Context`` that programs call."""

    def __init__(self, loop: _Loop, program: Node, history: History) -> None:
        self._loop = loop
        self._history = history
        self._known: dict[str, Memo | OpenWait] = {memo.key: memo for memo in history.memos}
        self._known.update((wait.key, wait) for wait in history.open_waits)
        self._calls: dict[str, tuple[asyncio.Future[Any] | _Timer, Any]] = {}
        self._timers_armed = 0
        self.naming: str | None = None
        """The key of the next timer, if it is not to be its number."""
        loop.armed = self._arm
        self._mismatch: str | None = None
        self._unmet = 0
        self._patches: dict[str, bool] = {}
        self.is_unwound = False
        self._cancel: Memo | None = None
        self._trace: Trace = []
        self._asked: list[str] = []
        self._main = loop.create_task(Interpreter(self, self._trace).run(program))

    # what programs call

    def execute(self, call: str | Call, fn: Callable[..., Any], *_: Any) -> asyncio.Future[Any]:
        key = call.key if isinstance(call, Call) else call
        returns = tuple[Receipt, ...] if fn.__name__ == "do_typed" else str
        return self.call("execute", key, fn.__name__, returns)

    def transaction(self, key: str, fn: Callable[..., Any], *_: Any) -> asyncio.Future[Any]:
        return self.call("transaction", key, fn.__name__, str)

    def sleep(self, key: str, *_: Any) -> asyncio.Future[Any]:
        return self.call("sleep", key, "", None)

    sleep_until = sleep

    def wait_for_event(self, key: str, name: str, **_: Any) -> asyncio.Future[Any]:
        return self.call("event", key, name, Any)

    async def wait_for_request(self, key: str, name: str) -> _Request:
        taken = await self.call("request", key, name, dict[str, str])
        return _Request(lambda: self.call("reply", key + REPLY, name, None), taken["payload"])

    def wait_for_events(self, key: str, name: str, **_: Any) -> asyncio.Future[Any]:
        return self.call("event", key, name, list[Any])

    async def publish_event(self, key: str, run: RunKey, name: str, _: str) -> None:
        await self.call("publish", key, name, str)

    def saga(self) -> _Saga:
        return _Saga(self)

    async def map(
        self, key: str, fn: Callable[..., Any], items: str, max_concurrency: int, max_failures: int | None = None
    ) -> Any:
        numbers = iter(range(len(items)))
        outcomes: list[Any] = [None] * len(items)
        failed: list[StepFailed] = []
        running: set[int] = set()
        most = max_failures or 0
        ended = self._loop.create_future()
        calls: list[asyncio.Future[Any]] = []

        def start_some() -> None:
            while (
                len(failed) <= most and len(running) < max_concurrency and (number := next(numbers, None)) is not None
            ):
                running.add(number)
                calls.append(self.call("execute", f"{key}[{number}]", fn.__name__, str))
                calls[-1].add_done_callback(partial(has_ended, number))
            if not running and not ended.done():
                ended.set_result(None)

        def has_ended(number: int, call: asyncio.Future[Any]) -> None:
            running.discard(number)
            if call.cancelled():
                return
            error = call.exception()
            outcomes[number] = call.result() if error is None else error
            if isinstance(error, StepFailed):
                failed.append(error)
            if not ended.done():
                start_some()

        start_some()
        try:
            await ended
        finally:
            for call in calls:
                call.cancel()
        if len(failed) > most:
            raise MapFailed(key, len(items), most, failed)
        return outcomes if max_failures is None else MapResult(outcomes)

    def patched(self, key: str) -> bool:
        known = self._known.get(key)
        if known is not None and known.kind != "patched":
            self._mismatch = self._mismatch or f"{known} is asked of ctx.patched"
        if key not in self._patches:
            is_passed = self._unmet > 0 or any(wait.key not in self._calls for wait in self._history.open_waits)
            self._patches[key] = known.outcome == Value("true") if isinstance(known, Memo) else not is_passed
        return self._patches[key]

    def set_status(self, value: str) -> None: ...

    def timeout(self, key: str, seconds: float) -> _Timeout:
        return _Timeout(self, key, seconds)

    async def run_child(self, key: str, wf: Workflow[Any, Any], _: object, *, abandon: bool = False) -> Any:
        return await (await self.start_child(key, wf, _)).end()

    async def start_child(self, key: str, wf: Workflow[Any, Any], _: object) -> _Child:
        run_key = RunKey.parse(await self.call("child", key, wf.name, str))
        return _Child(
            lambda: self.call("child_result", f"{key}:result", run_key.run_id, run_key),
            lambda key: self.call("execute", key, "ChildHandle.status", str),
        )

    def __getattr__(self, source: str) -> Callable[[str], asyncio.Future[Any]]:
        return lambda key: self.call(source, key, "", _TYPES[source])

    def call(self, kind: str, key: str, name: str, type: Any) -> asyncio.Future[Any]:
        known = self._known.get(key)
        if known is not None and (known.kind, known.name) != (kind, name):
            self._mismatch = self._mismatch or f"{known} is called as {kind} {name}"
        future = self._loop.create_future()
        self._calls[key] = future, type
        self._asked.append(key)
        return future

    def _arm(self, handle: asyncio.TimerHandle) -> None:
        key, self.naming = self.naming, None
        if key is None:
            self._timers_armed += 1
            key = f"{TIMER_KEYS}{self._timers_armed}"
        elif (known := self._known.get(key)) is not None and known.kind != "timer":
            self._mismatch = self._mismatch or f"{known} is called as a timeout"
        self._calls[key] = _Timer(handle), None
        self._asked.append(key)

    # the judgement

    def judge(self) -> Verdict:
        replayed = sorted(
            (memo for memo in self._history.memos if not memo.carried),
            key=lambda memo: (memo.seq or float("inf"), memo.key),
        )
        self._unmet = len(replayed)
        self._run()
        for memo in replayed:
            self._unmet -= 1
            if memo.kind == "cancel":
                self._cancel = memo
                self._pass_time(memo)
                self._main.cancel(_reason(memo))
            elif memo.key not in self._calls:
                raise Mismatch(f"{memo} is not called")
            else:
                self._answer(memo)
            self._run()
        for wait in self._history.open_waits:
            if wait.key not in self._calls and wait.kind != "timer":  # which has had no influence yet
                raise Mismatch(f"{wait} is not called")
        ending = self._ending() if self._main.done() else None
        asked = tuple(key for key in self._asked if not self._calls[key][0].done())
        return Verdict(ending, () if ending else asked, list(self._trace))

    def unwind(self) -> None:
        """Ends what is left of the program."""
        self.is_unwound = True
        while unfinished := asyncio.all_tasks(self._loop):
            for task in unfinished:
                task.cancel()
            self._loop.call_soon(self._loop.stop)
            self._loop.run_forever()

    def _run(self) -> None:
        """To quiescence, also through what a retry has kept."""
        while True:
            while self._loop._ready:  # type: ignore[attr-defined]  # nothing public tells whether a loop is quiet
                self._loop.call_soon(self._loop.stop)
                self._loop.run_forever()
            if self._mismatch is not None:
                raise Mismatch(self._mismatch)
            known = [self._known.get(key) for key in self._asked if not self._calls[key][0].done()]
            carried = [memo for memo in known if isinstance(memo, Memo) and memo.carried]
            if not carried:
                return
            self._answer(carried[0])

    def _answer(self, memo: Memo) -> None:
        future, type = self._calls[memo.key]
        if future.done():
            return
        self._pass_time(memo)
        if isinstance(future, _Timer):
            future.fire(self._loop)
        else:
            _settle(future, memo, memo.outcome, type)

    def _pass_time(self, memo: Memo) -> None:
        """What a retry has kept has no moment of its own, nor has a transaction without its order."""
        if memo.seq is not None and memo.at is not None:
            self._loop.moment = max(self._loop.began, memo.at)

    def _ending(self) -> tuple[str, str]:
        error: BaseException | None = None
        output: Any = None
        try:
            output = self._main.result()
        except asyncio.CancelledError as cancelled:
            error = None if self._cancel else cancelled
        except Exception as raised:
            error = raised
        if self._cancel is not None:
            is_late = self._cancel.name == "deadline"
            told = "it did not end before its deadline" if is_late else _reason(self._cancel) or "no reason was given"
            cleanup = f"; its cleanup raised {_told(error)}" if error is not None else ""
            status, name = ("failed", "RunTimeout") if is_late else ("cancelled", "RunCancelled")
            return status, f"{name}: {told}{cleanup}"
        if error is None:
            return "completed", msgspec.json.encode(output).decode()
        is_own = isinstance(error, asyncio.CancelledError)
        return "failed", "CancelledError: the workflow cancelled itself" if is_own else _told(error)


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error_info(error).message}"


def _settle(future: asyncio.Future[Any], memo: Memo, outcome: Outcome, type: Any) -> None:
    match outcome:
        case Value(text) if isinstance(type, RunKey):
            _settle_child(future, type, msgspec.json.decode(text))
        case Value(text):
            future.set_result(msgspec.json.decode(text, type=type))
        case Failure(error) if error.type == "StepInterrupted":
            future.set_exception(StepInterrupted(memo.key))
        case Failure(error):
            future.set_exception(StepFailed(memo.key, ErrorInfo(error.type, error.message)))
        case _ if type == list[Any]:
            future.set_result([])
        case _:
            future.set_exception(EventTimeout(memo.key, memo.name))


def _settle_child(future: asyncio.Future[Any], run_key: RunKey, end: dict[str, Any]) -> None:
    match end["status"]:
        case "completed":
            future.set_result(end["output"])
        case "failed":
            future.set_exception(RunFailed(run_key, ErrorInfo(end["error"]["type"], end["error"]["message"])))
        case _:
            future.set_exception(RunCancelled(run_key, end["error"]["message"]))


def _reason(memo: Memo) -> str | None:
    assert isinstance(memo.outcome, Value)
    return msgspec.json.decode(memo.outcome.text, type=str | None)
