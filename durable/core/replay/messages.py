"""What a run says to others, and what it hears."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast, overload

from durable.core.arguments import whole_number
from durable.core.codec.json_codec import Codec
from durable.core.codec.places import codec_at, is_bound
from durable.core.durations import seconds
from durable.core.errors import InvalidArgument
from durable.core.events import Event, encoded_payload, name_of, type_of
from durable.core.keys import check_key
from durable.core.replay.child import ChildHandle
from durable.core.replay.commands import Publish, WaitEvent, WaitEvents, WaitRequest
from durable.core.replay.feed import EventFeed
from durable.core.replay.machine import Machine
from durable.core.replay.request import Request, check_wait_key
from durable.core.replay.targets import RunTarget, check_target, workflow_of
from durable.core.runs import RunKey

if TYPE_CHECKING:
    from typing_extensions import TypeForm  # only for type checkers, which bring it along

T = TypeVar("T")

_MAX_EVENTS = 1000

Recipient: TypeAlias = RunTarget | ChildHandle[Any]
"""A run that another one sends something to."""


class Messages:
    """The part of ``Context`` by which a run exchanges messages with applications and other runs. ``codec`` is for
    messages to others whose workflow has none of its own; it is not the one of this workflow."""

    __slots__ = ("_codec", "_machine")

    def __init__(self, machine: Machine, codec: Codec) -> None:
        self._machine = machine
        self._codec = codec

    @overload
    async def wait_for_event(
        self, key: str, event_name: Event[T], *, timeout: timedelta | float | None = None
    ) -> T: ...
    @overload
    async def wait_for_event(
        self, key: str, event_name: str, type: TypeForm[T], *, timeout: timedelta | float | None = None
    ) -> T: ...
    @overload
    async def wait_for_event(
        self, key: str, event_name: str, type: Any = Any, *, timeout: timedelta | float | None = None
    ) -> Any: ...
    async def wait_for_event(
        self, key: str, event_name: str | Event[Any], type: Any = Any, *, timeout: timedelta | float | None = None
    ) -> Any:
        """Takes the oldest event with that name that was published to this run, even before the wait began. An
        ``Event`` in the place of the name brings the type of the payload along.

        Raises ``EventTimeout`` after ``timeout`` seconds by the database's clock (``None``: waits indefinitely),
        ``DeserializationError`` if the payload does not fit ``type``, and ``SerializationError`` before it waits if no
        payload could.
        """
        name, payload_type = self._expected("event_name", event_name, type)
        call = WaitEvent(
            check_key("key", key),
            name,
            payload_type,
            None if timeout is None else seconds("timeout", timeout),
        )
        return await self._machine.call(call)

    @overload
    async def wait_for_request(
        self, key: str, name: str, type: TypeForm[T], *, timeout: timedelta | float | None = None
    ) -> Request[T]: ...
    @overload
    async def wait_for_request(
        self, key: str, name: str, type: Any = Any, *, timeout: timedelta | float | None = None
    ) -> Request[Any]: ...
    async def wait_for_request(
        self, key: str, name: str, type: Any = Any, *, timeout: timedelta | float | None = None
    ) -> Request[Any]:
        """Takes the oldest request with that name that was made of this run, even before the wait began. It is answered
        by ``request.reply`` or ``request.refuse``, whenever the run knows the answer.

        One that is never answered ends for whoever asked with this run, or is taken once more by its next chapter. The
        answer has the key ``"<key>:reply"``, so ``key`` may have at most 194 bytes. Raises the same errors as
        ``wait_for_event``.
        """
        name = check_key("name", name)
        self._machine.check_type(type, f"the payload of request {name!r}")
        duration = None if timeout is None else seconds("timeout", timeout)
        wait = WaitRequest(check_wait_key(key), name, type, duration)
        request_id, payload = await self._machine.call(wait)
        return Request(self._machine, wait, request_id, payload)

    @overload
    async def publish_event(self, key: str, run: Recipient, event: Event[T], payload: T) -> None: ...
    @overload
    async def publish_event(self, key: str, run: Recipient, event: Event[None]) -> None: ...
    @overload
    async def publish_event(self, key: str, run: Recipient, event: str, payload: object = None) -> None: ...
    async def publish_event(self, key: str, run: Recipient, event: str | Event[Any], payload: object = None) -> None:
        """Puts an event into the inbox of another run, exactly once: in the transaction that records the call, like a
        child that begins. ``run`` is a run key or its text, a ``ChildHandle``, or ``(workflow, key)``, which means the
        newest run with that key when the call is recorded. ``event`` is a name or an ``Event``, whose type the payload
        must fit.

        Events of one run arrive in the order of its calls. What nobody can read any longer, because there is no such
        run or it has ended, is logged as a warning by the worker; this call does not wait to find that out.

        Raises ``InvalidArgument``, ``SerializationError`` or ``DuplicateKey`` before anything is stored. The payload is
        encoded by the codec of the other run's workflow if ``run`` says which one that is, and otherwise by the
        worker's; with a codec that binds what it writes to its place, ``run`` cannot be ``(workflow, key)``.
        """
        codec = self._codec
        if isinstance(run, ChildHandle):
            target, codec = check_target("run", run.run_key), run.codec
        else:
            target, wf = check_target("run", run), workflow_of(run)
            codec = (wf.codec if wf is not None else None) or codec
        name = name_of("event", event)
        what = f"the payload of event {name!r}"
        if isinstance(target, RunKey):
            codec = codec_at(codec, "event", target.run_id, name)
        elif is_bound(codec):
            rule = "a run key or a ChildHandle, because the codec binds the payload to the run that it is for"
            raise InvalidArgument("run", run, rule)
        encoded = encoded_payload(codec, event, payload, what)
        await self._machine.call(Publish(check_key("key", key), target, name, encoded))

    @overload
    async def wait_for_events(
        self,
        key: str,
        event: Event[T],
        *,
        max: int,
        within: timedelta | float,
        timeout: timedelta | float | None = None,
    ) -> list[T]: ...
    @overload
    async def wait_for_events(
        self,
        key: str,
        event: str,
        type: TypeForm[T],
        *,
        max: int,
        within: timedelta | float,
        timeout: timedelta | float | None = None,
    ) -> list[T]: ...
    @overload
    async def wait_for_events(
        self,
        key: str,
        event: str,
        type: Any = Any,
        *,
        max: int,
        within: timedelta | float,
        timeout: timedelta | float | None = None,
    ) -> list[Any]: ...
    async def wait_for_events(
        self,
        key: str,
        event: str | Event[Any],
        type: Any = Any,
        *,
        max: int,
        within: timedelta | float,
        timeout: timedelta | float | None = None,
    ) -> list[Any]:
        """Takes up to ``max`` events at once, oldest first: as soon as there are so many, or else ``within`` seconds
        after this wait has seen the first one. If none comes in ``timeout`` seconds (``None``: it waits indefinitely),
        the list is empty. It is one wait with one memo; until it ends, no event is taken. At most 1,000 events, and 16
        MiB of them, are taken.

        Raises ``DeserializationError`` if a payload does not fit ``type``, and ``SerializationError`` before it waits
        if no payload could.
        """
        name, payload_type = self._expected("event", event, type)
        call = WaitEvents(
            check_key("key", key),
            name,
            payload_type,
            None if timeout is None else seconds("timeout", timeout),
            whole_number("max", max, 1, _MAX_EVENTS),
            seconds("within", within),
        )
        return cast("list[Any]", await self._machine.call(call))

    @overload
    def events(self, key: str, event: Event[T], *, timeout: timedelta | float | None = None) -> AsyncIterator[T]: ...
    @overload
    def events(
        self, key: str, event: str, type: TypeForm[T], *, timeout: timedelta | float | None = None
    ) -> AsyncIterator[T]: ...
    @overload
    def events(
        self, key: str, event: str, type: Any = Any, *, timeout: timedelta | float | None = None
    ) -> AsyncIterator[Any]: ...
    def events(
        self, key: str, event: str | Event[Any], type: Any = Any, *, timeout: timedelta | float | None = None
    ) -> AsyncIterator[Any]:
        """Takes one event after the other: ``async for payload in ctx.events("paid", paid):``. Each is a
        ``wait_for_event`` of its own, under the keys ``key[0]``, ``key[1]`` …, with its own ``timeout``. The loop never
        ends by itself; leave it by ``break``. What it has not taken stays in the inbox. A run that does this for ever
        needs ``continue_as_new``, because each event is a memo.
        """
        name, payload_type = self._expected("event", event, type)
        limit = None if timeout is None else seconds("timeout", timeout)
        return EventFeed(
            check_key("key", key), lambda one: self._machine.call(WaitEvent(one, name, payload_type, limit))
        )

    def _expected(self, argument: str, event: str | Event[Any], type: Any) -> tuple[str, Any]:
        """Returns the name and the payload's type of an event that is waited for, checked."""
        name, payload_type = name_of(argument, event), type_of(event, type)
        self._machine.check_type(payload_type, f"the payload of event {name!r}")
        return name, payload_type
