"""Calls that wait: for a time, for an event, or for a request."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from durable.core.codec.complaints import described
from durable.core.codec.json_codec import Codec
from durable.core.codec.places import decode_at
from durable.core.errors import DeserializationError, EventTimeout
from durable.core.replay.commands.base import BaseCall
from durable.core.replay.handles import Timer
from durable.core.replay.history import TIMER_KEYS, Kind


class Sleep(BaseCall, frozen=True):
    """Wake after ``seconds``, or at ``until`` if that is given, by the database's clock."""

    seconds: float
    until: datetime | None = None

    @property
    def kind(self) -> Kind:
        return "sleep"

    def decode(self, text: str, codec: Codec, run_id: str) -> None:
        """Returns nothing, because a sleep has no answer that a codec has written."""


class ArmTimer(Sleep, frozen=True):
    """Fire a timer of asyncio's after ``seconds``. ``is_sleep``: it only ends an ``asyncio.sleep``. ``is_open``: it was
    armed before this replay, and its time is running."""

    is_sleep: bool = True
    is_open: bool = False

    @classmethod
    def of(cls, timer: Timer, *, is_open: bool = False) -> ArmTimer:
        """Returns the command to arm a timer that has its number."""
        return cls(f"{TIMER_KEYS}{timer.number}", timer.delay, None, timer.is_sleep, is_open)

    @property
    def kind(self) -> Kind:
        return "timer"


class WaitEvent(BaseCall, frozen=True):
    """Take the oldest event with that name; give up after ``timeout`` seconds, or never if it is ``None``."""

    event_name: str
    payload_type: Any
    timeout: float | None

    @property
    def kind(self) -> Kind:
        return "event"

    @property
    def name(self) -> str:
        return self.event_name

    @property
    def type(self) -> Any:
        return self.payload_type

    def decode(self, text: str, codec: Codec, run_id: str) -> Any:
        return decode_at(codec, "event", run_id, self.event_name, text, self.payload_type, self._answer)


class WaitEvents(WaitEvent, frozen=True):
    """Take up to ``max`` events with that name, as soon as there are so many, or else ``within`` seconds after the
    first one; give up as ``WaitEvent`` does if none comes. The answer is an array of their payloads."""

    max: int
    within: float

    @staticmethod
    def answer(payloads: Sequence[str]) -> str:
        """Returns the answer for events with these payloads. If one of them is too large to be loaded, so is it."""
        return f"[{','.join(payloads)}]" if all(payloads) else ""

    def decode(self, text: str, codec: Codec, run_id: str) -> list[Any]:
        try:
            payloads = msgspec.json.decode(text, type=list[msgspec.Raw])
        except (msgspec.MsgspecError, RecursionError) as error:
            raise DeserializationError(self._answer(), described(error)) from None
        return [super(WaitEvents, self).decode(bytes(one).decode(), codec, run_id) for one in payloads]


class Taken(msgspec.Struct, frozen=True):
    """A request that a wait has taken, as it is recorded: its id, by which it is answered, and its payload, encoded."""

    id: str
    payload: msgspec.Raw

    @classmethod
    def parse(cls, text: str, what: str) -> Taken:
        """Reads back a request. Raises ``DeserializationError`` for text that the engine cannot have written."""
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise DeserializationError(what, described(error)) from None


class WaitRequest(WaitEvent, frozen=True):
    """Take the oldest request with that name; otherwise like ``WaitEvent``. The answer is its id and its payload."""

    @property
    def kind(self) -> Kind:
        return "request"

    def decode(self, text: str, codec: Codec, run_id: str) -> tuple[str, Any]:
        taken = Taken.parse(text, self._answer())
        payload = bytes(taken.payload).decode()
        return taken.id, decode_at(codec, "request", run_id, self.event_name, payload, self.payload_type, self._answer)

    def timed_out(self) -> EventTimeout:
        return EventTimeout(self.key, self.event_name, what="request")

    @staticmethod
    def taken(request_id: str, payload: str) -> str:
        """Returns the answer, encoded. There is none for a payload that is too large to be loaded, which is empty."""
        if not payload:
            return payload
        return msgspec.json.encode(Taken(request_id, msgspec.Raw(payload.encode()))).decode()
