"""Requests of applications to runs, and the answers to them, as operations without I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, TypeAlias

import msgspec

from durable.client.operations import Operations
from durable.client.targets import codec_of
from durable.core.codec.json_codec import Codec
from durable.core.codec.places import codec_at
from durable.core.errors import (
    DurableError,
    InvalidArgument,
    RequestNotFound,
    RequestRefused,
    RunEnded,
    RunNotFound,
)
from durable.core.keys import check_key
from durable.core.replay.targets import Keyed, RunTarget
from durable.core.runs import TERMINAL, RunKey, Status
from durable.store import events, requests
from durable.store.channels import announce_event
from durable.store.events import NewEvent
from durable.store.operation import operation
from durable.store.requests import Heard
from durable.store.statement import Requests

_TRIES = 3


class Ask:
    """A request that is made of the run that ``begin`` gives: ``client.begin(cart, request=Ask("add", item))``."""

    __slots__ = ("key", "name", "payload")

    def __init__(self, name: str, payload: object = None, *, key: str | None = None) -> None:
        self.name = name
        """What the workflow waits for."""
        self.payload = payload
        self.key = key
        """As for ``Client.request``; ``None``: each call makes a request."""


class Asked(msgspec.Struct, frozen=True):
    """A request that was made: the run that was asked, and the id, name and key of the request."""

    run_key: RunKey
    request_id: str
    name: str
    key: str

    @classmethod
    def of(cls, request: NewEvent) -> Asked:
        """Returns the request as it was stored."""
        return cls(request.run_key, request.event_id, request.name, request.key or request.event_id)


class Answered(msgspec.Struct, frozen=True):
    """An answer: the reply, encoded, or the reason of a refusal; and the run that gave it."""

    run_key: RunKey
    text: str
    is_refused: bool


class Unanswered(msgspec.Struct, frozen=True):
    """There is no answer yet; ``status`` is that of the run."""

    status: Status


Reply: TypeAlias = Answered | Unanswered | DurableError
"""What became of a request; an error if there will be no answer."""


class RequestOperations(Operations):
    """The operations that need no more than a run."""

    def new_ask(
        self,
        run: RunTarget | Keyed,
        name: str,
        payload: object,
        key: str | None,
        type: Any = Any,
        codec: Codec | None = None,
    ) -> NewEvent:
        """Checks all arguments; ``type`` is that of the reply, and ``codec`` is the workflow's own codec, if it has
        one. Raises ``InvalidArgument`` or ``SerializationError``."""
        request = self.new_event(run, name, payload, key, codec, kind="request")
        (codec or codec_of(run) or self.codec).check_type(type, f"the reply to request {request.name!r}")
        return request

    @operation
    def ask(self, request: NewEvent) -> Requests[Asked]:
        """Inserts the request, or finds the one with its key, and notifies the workers. Raises ``RunNotFound`` or
        ``RunEnded``."""
        yield from self.require_schema()
        sent = request
        for _ in range(_TRIES):
            sent = yield from self.addressed(request)
            if (yield from events.publish_event(sent)):
                asked: Asked | None = Asked.of(sent)
            else:
                asked = yield from self.find_asked(sent)
            if asked is not None:
                # Also if it was there: whoever made it may not have come that far.
                yield from self.announce(announce_event(asked.run_key.workflow_name_shard))
                return asked
            # The run, or the outcome of a competing transaction, became visible between the two statements.
        raise RunNotFound(sent.run_key)

    def find_asked(self, request: NewEvent) -> Requests[Asked | None]:
        """Returns the request that is there already with that id, or with that name and key; ``None`` if there is none
        and the run has not ended. Raises ``RunNotFound`` or ``RunEnded``."""
        run_key = request.run_key
        found = yield from requests.find_request(request)
        if found is None:
            raise RunNotFound(run_key)
        asked = Asked.of(request)
        if found.request_id is not None:
            return msgspec.structs.replace(asked, request_id=found.request_id)
        if found.status not in TERMINAL:
            return None
        moved = yield from requests.find_moved(run_key, request.event_id, request.name, request.key)
        if moved is None:
            raise RunEnded(run_key, request.name, asked.key, found.status)
        run_key = RunKey(run_key.workflow_name_shard, moved.run_id)
        return Asked(run_key, moved.event_id, request.name, asked.key)

    @operation
    def replies(self, asked: Iterable[Asked]) -> Requests[dict[Asked, Reply]]:
        """Returns what became of requests, using one statement per shard value, and one more for each request that was
        moved to another run."""
        yield from self.require_schema()
        by_shard: defaultdict[str, dict[tuple[str, str], Asked]] = defaultdict(dict)
        for one in asked:
            by_shard[one.run_key.workflow_name_shard][one.run_key.run_id, one.request_id] = one
        replies: dict[Asked, Reply] = {}
        for shard, wanted in by_shard.items():
            found: dict[tuple[str, str], Heard] = {}
            for heard in (yield from requests.load_replies(shard, list(wanted))):
                found[heard.run_id, heard.request_id] = heard
            for ids, one in wanted.items():
                heard_of = found.get(ids)
                if heard_of is not None and not heard_of.is_there:
                    heard_of = yield from self._moved(one, heard_of)
                replies[one] = RunNotFound(one.run_key) if heard_of is None else _reply(one, heard_of)
        return replies

    def _moved(self, asked: Asked, heard: Heard) -> Requests[Heard]:
        """Returns what became of a request that is not where it was made."""
        shard = asked.run_key.workflow_name_shard
        moved = yield from requests.find_moved(asked.run_key, asked.request_id, asked.name, asked.key)
        if moved is None:
            return heard
        for found in (yield from requests.load_replies(shard, [(moved.run_id, moved.event_id)])):
            return found
        return heard

    def answer(self, asked: Asked, answered: Answered, type: Any, codec: Codec | None) -> Any:
        """Returns the decoded reply; ``codec`` is the workflow's own codec, if it has one. Raises ``RequestRefused`` or
        ``DeserializationError``."""
        if answered.is_refused:
            raise RequestRefused(answered.run_key, asked.name, _reason(answered.text))
        codec = codec_at(codec or self.codec, "reply", answered.run_key.run_id, asked.request_id)
        return codec.decode(answered.text, type, f"the reply of run {answered.run_key} to request {asked.name!r}")


def _reply(asked: Asked, heard: Heard) -> Reply:
    run_key = RunKey(asked.run_key.workflow_name_shard, heard.run_id)
    if heard.reply is not None:
        return Answered(run_key, heard.reply, heard.is_refused)
    if not heard.is_there:
        return RequestNotFound(asked.run_key, asked.name, asked.key)
    if heard.status in TERMINAL and not heard.is_followed:
        return RunEnded(run_key, asked.name, asked.key, heard.status)
    return Unanswered(heard.status)


def _reason(text: str) -> str:
    try:
        return msgspec.json.decode(text, type=str)
    except (msgspec.MsgspecError, UnicodeError):
        return "no reason was given"


def begun_with(asked: Asked | None) -> Asked:
    """Returns the request that was made of a run by the call that began it. Raises ``InvalidArgument``."""
    if asked is None:
        raise InvalidArgument("request", None, "given to the begin whose handle is asked for a reply")
    return asked


def check_ask(argument: str, ask: object) -> Ask:
    """Returns the request. Raises ``InvalidArgument``."""
    if not isinstance(ask, Ask):
        raise InvalidArgument(argument, ask, "an Ask, as in Ask(name, payload)")
    check_key("name", ask.name)
    return ask
