"""What a run says to others, and what it hears."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, overload

from durable.core.codec.json_codec import Codec
from durable.core.durations import seconds
from durable.core.keys import check_key
from durable.core.replay.commands import WaitEvent, WaitRequest
from durable.core.replay.machine import Machine
from durable.core.replay.request import Request, check_wait_key

if TYPE_CHECKING:
    from typing_extensions import TypeForm  # only for type checkers, which bring it along

T = TypeVar("T")


class Messages:
    """The part of ``Context`` by which a run exchanges messages with applications and other runs. ``codec`` is for
    messages to others whose workflow has none of its own; it is not the one of this workflow."""

    __slots__ = ("_codec", "_machine")

    def __init__(self, machine: Machine, codec: Codec) -> None:
        self._machine = machine
        self._codec = codec

    @overload
    async def wait_for_event(
        self, key: str, event_name: str, type: TypeForm[T], *, timeout: timedelta | float | None = None
    ) -> T: ...
    @overload
    async def wait_for_event(
        self, key: str, event_name: str, type: Any = Any, *, timeout: timedelta | float | None = None
    ) -> Any: ...
    async def wait_for_event(
        self, key: str, event_name: str, type: Any = Any, *, timeout: timedelta | float | None = None
    ) -> Any:
        """Takes the oldest event with that name that was published to this run, even before the wait began.

        Raises ``EventTimeout`` after ``timeout`` seconds by the database's clock (``None``: waits indefinitely),
        ``DeserializationError`` if the payload does not fit ``type``, and ``SerializationError`` before it waits if no
        payload could.
        """
        name = check_key("event_name", event_name)
        self._machine.check_type(type, f"the payload of event {name!r}")
        call = WaitEvent(
            check_key("key", key),
            name,
            type,
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
