"""A request that a run has taken, as its workflow sees it."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

import msgspec

from durable.core.arguments import instance
from durable.core.errors import InvalidArgument
from durable.core.keys import check_key
from durable.core.replay.calls import Calls
from durable.core.replay.commands import Reply, WaitRequest
from durable.core.replay.history import REPLY
from durable.core.run_arguments import storable_payload

T = TypeVar("T")

_MAX_BYTES = 200 - len(REPLY)
_MAX_REASON = 2000
_REASON = f"a str of at most {_MAX_REASON} characters without NUL or lone surrogates"


class Request(Generic[T]):
    """A request, as ``ctx.wait_for_request`` returns it. It is answered once, by ``reply`` or ``refuse``; the answer
    has the key ``"<key>:reply"``, after the key of the wait."""

    __slots__ = ("_calls", "_key", "id", "name", "payload")

    def __init__(self, calls: Calls, wait: WaitRequest, id: str, payload: T) -> None:
        self._calls = calls
        self._key = wait.key + REPLY
        self.id = id
        """Identifies the request; the same on every replay."""
        self.name = wait.event_name
        self.payload = payload
        """What was asked, as the declared type."""

    def __repr__(self) -> str:
        return f"<Request {self.name!r} {self.id}>"

    async def reply(self, value: object = None) -> None:
        """Answers with ``value``: whoever asked, or asks again with the same key, gets it. It is durable with whatever
        the run records next, written once, and told once that is committed; a cancel that comes meanwhile does not
        undo it.

        Raises ``SerializationError`` for a value that cannot be stored, and then nothing is answered; ``DuplicateKey``
        if the request has been answered before.
        """
        what = f"the reply to request {self.name!r}"
        text = storable_payload(self._calls.encoded("reply", self.id, value, what), what)
        await self._answer(text, is_refused=False)

    async def refuse(self, reason: str) -> None:
        """Refuses, in place of an answer: whoever asked gets ``RequestRefused`` with that reason, which is stored as it
        is, whatever the codec. Otherwise like ``reply``."""
        instance("reason", reason, str, _REASON)
        try:
            text = msgspec.json.encode(str.__str__(reason)).decode()
        except UnicodeEncodeError:
            raise InvalidArgument("reason", reason, _REASON) from None
        if "\0" in reason or len(reason) > _MAX_REASON:
            raise InvalidArgument("reason", reason, _REASON)
        await self._answer(text, is_refused=True)

    async def _answer(self, text: str, *, is_refused: bool) -> None:
        reply = Reply(self._key, self.id, self.name, text, is_refused)
        await asyncio.shield(self._calls.call(reply))  # what is answered stays answered


def check_wait_key(key: str) -> str:
    """Returns the key of a wait for a request. Raises ``InvalidArgument`` if its reply could have none."""
    key = check_key("key", key)
    if len(key.encode()) > _MAX_BYTES:
        rule = f"at most {_MAX_BYTES} bytes for a request, because its reply has the key '<key>{REPLY}'"
        raise InvalidArgument("key", key, rule)
    return key
