"""Each operation of a client, written once for both colors, without I/O; how runs begin is in ``begins``.

Bad arguments are refused by the methods that make a ``NewEvent``, before any statement is run. The
operations themselves may be run again after a lost connection, because all ids are chosen beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

import msgspec

from durable.client.targets import KeyedEvent, MessageKind, codec_of, keyed_event
from durable.core.arguments import check_codec, one_of, truth, whole_number
from durable.core.codec.json_codec import Codec
from durable.core.codec.places import codec_at
from durable.core.diagnosis.cause import Cause
from durable.core.diagnosis.causes import causes_of
from durable.core.durations import aware, seconds
from durable.core.errors import (
    InvalidArgument,
    RunCancelled,
    RunFailed,
    RunNotCancellable,
    RunNotCompleted,
    RunNotFound,
    RunNotPausable,
    RunNotPaused,
    RunNotReschedulable,
    RunNotRetryable,
    RunTerminal,
)
from durable.core.events import Event
from durable.core.generations import Newest
from durable.core.keys import check_key
from durable.core.replay.targets import Keyed, RunTarget, check_target
from durable.core.replay.workflow import Workflow
from durable.core.runs import TERMINAL, Run, RunInfo, RunKey, Status
from durable.core.shards import shard_value, shard_values
from durable.store import diagnosis, events, generations, inspection, pauses, workers
from durable.store.channels import announce_event
from durable.store.events import NewEvent
from durable.store.ids import uuid7
from durable.store.inspection import RunOutcome
from durable.store.operation import Operation, operation
from durable.store.pauses import PausedWorkflow
from durable.store.settings import Shards, read_settings
from durable.store.statement import Requests, Statement

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_REASON = 2000
_MAX_LISTED = 10_000
_TRIES = 3


RequestKind = Literal["cancel", "terminate", "pause", "resume", "reschedule", "retry"]


class _RefusedRequest(msgspec.Struct, frozen=True):
    run_key: RunKey
    status: Status
    is_replaced: bool


class Operations:
    """Holds the codec and, once it has been read, the shard count. Announces what it does only with ``notify``."""

    def __init__(self, codec: Codec, *, notify: bool = True) -> None:
        check_codec(codec)
        self.codec = codec
        self._notify = truth("notify", notify)
        self._shard_count: int | None = None

    def shard_count(self) -> Requests[int]:
        """Returns the shard count, asking the database only the first time. Raises ``SchemaError``."""
        if self._shard_count is None:
            self._shard_count = (yield from read_settings()).shard_count
        return self._shard_count

    def require_schema(self) -> Requests[None]:
        """Raises ``SchemaError``, rather than letting a later statement fail because its table is missing."""
        yield from self.shard_count()

    def announce(self, announcement: Statement[None]) -> Requests[None]:
        """Notifies the workers, unless this client is silent."""
        if self._notify:
            yield from announcement

    # keys

    def newest(self, target: Keyed) -> Requests[tuple[Newest | None, Shards]]:
        """Returns the newest run with that key, ``None`` if there is none, and what there is to know about shard
        counts."""
        counts = {(yield from self.shard_count())}
        while True:
            # The shard count may have been raised since the first run with this key was begun, and since we read it.
            looked = {shard_value(target.workflow_name, target.first_id, count) for count in counts}
            found = yield from generations.find_newest(sorted(looked), target.key)
            self._shard_count = found.shards.shard_count
            if found.newest is not None or found.shards.known <= counts:
                return found.newest, found.shards
            counts |= found.shards.known

    def located(self, target: RunKey | Keyed) -> Requests[RunKey]:
        """Returns the run that is meant. Raises ``RunNotFound`` if there is none with that key."""
        if isinstance(target, RunKey):
            return target
        newest, shards = yield from self.newest(target)
        if newest is None:
            shard = shard_value(target.workflow_name, target.first_id, shards.shard_count)
            raise RunNotFound(RunKey(shard, target.first_id), str(target))
        return newest.run_key

    @operation
    def locate(self, target: RunKey | Keyed) -> Requests[RunKey]:
        """Same as ``located``, by itself."""
        yield from self.require_schema()
        return (yield from self.located(target))

    def addressed(self, event: NewEvent) -> Requests[NewEvent]:
        """Returns the same for the run that is meant. Raises ``RunNotFound`` if there is none with that key."""
        if not isinstance(event, KeyedEvent):
            return event
        return event.sent_to((yield from self.located(event.target)))

    # events

    def new_event(
        self,
        run: RunTarget | Keyed,
        name: str | Event[Any],
        payload: object,
        key: str | None,
        codec: Codec | None = None,
        *,
        kind: MessageKind = "event",
    ) -> NewEvent:
        """Checks all arguments; ``codec`` is the workflow's own codec, if it has one. Raises ``InvalidArgument`` or
        ``SerializationError``."""
        target = check_target("run_key", run)
        if isinstance(target, Keyed):
            codec = codec or codec_of(run) or self.codec
            return keyed_event(codec, target, target.first_id, name, payload, key, kind)
        nobody = Keyed(target.workflow_name, "")
        return keyed_event(codec or self.codec, nobody, target.run_id, name, payload, key, kind).sent_to(target)

    @operation
    def publish_event(self, event: NewEvent) -> Requests[bool]:
        """Inserts the event and notifies the workers; answers whether it is stored, and not another one with its key.
        Raises ``RunNotFound`` or ``RunTerminal``."""
        yield from self.require_schema()
        event = yield from self.addressed(event)
        for _ in range(_TRIES):
            if (yield from events.publish_event(event)):
                shard = event.run_key.workflow_name_shard
                yield from self.announce(announce_event(shard))
                return True
            found = yield from events.why_not_published(event)
            if found is None:
                raise RunNotFound(event.run_key)
            if found.is_stored:
                return found.is_same
            if found.status in TERMINAL:
                raise RunTerminal(event.run_key, found.status)
            # The run, or the outcome of a competing transaction, became visible between the two statements.
        raise RunNotFound(event.run_key)

    # requests

    def new_request(self, run: RunTarget | Keyed, kind: RequestKind, reason: str | None = None) -> NewEvent:
        """Checks all arguments. Raises ``InvalidArgument``."""
        payload = encoded_reason(reason)
        target, request_id = check_target("run_key", run), str(uuid7())
        if isinstance(target, RunKey):
            return NewEvent(target, request_id, kind, payload, kind=kind)
        anyone = RunKey(f"{target.workflow_name}_0", target.first_id)
        return KeyedEvent(
            anyone, request_id, kind, payload, kind=kind, target=target, encoded_for=lambda owner: payload
        )

    @operation
    def request_end(self, request: NewEvent) -> Requests[None]:
        """Requests a cancel or a termination. Raises ``RunNotFound`` or ``RunNotCancellable``."""
        try:
            yield from self.publish_event(request)
        except RunTerminal as ended:
            raise RunNotCancellable(ended.run_key, ended.status) from None

    @operation
    def request_pause(self, request: NewEvent) -> Requests[None]:
        """Requests a pause. Raises ``RunNotFound`` or ``RunNotPausable``."""
        try:
            yield from self.publish_event(request)
        except RunTerminal as ended:
            raise RunNotPausable(ended.run_key, ended.status) from None

    @operation
    def request_resume(self, request: NewEvent) -> Requests[None]:
        """Requests that a run go on. Raises ``RunNotFound`` or ``RunNotPaused``."""
        refused = yield from self._refused(request, events.request_resume)
        if refused is not None:
            raise RunNotPaused(refused.run_key, refused.status)

    def new_reschedule(
        self, run: RunTarget | Keyed, at: datetime | None, delay: timedelta | float | None, *, sleeps: bool
    ) -> NewEvent:
        """Checks all arguments. Raises ``InvalidArgument``."""
        if at is not None and delay is None:
            moment = f"at:{max((aware('at', at) - _EPOCH) // timedelta(microseconds=1), 0)}"
        elif delay is not None and at is None:
            moment = f"in:{round(seconds('delay', delay) * 1e6)}"
        else:
            raise InvalidArgument("delay", delay, "given if at is not, and not given if it is")
        request = self.new_request(run, "reschedule")
        return msgspec.structs.replace(request, name=moment + (":sleeps" if truth("sleeps", sleeps) else ""))

    @operation
    def request_reschedule(self, request: NewEvent) -> Requests[None]:
        """Requests that a run go on at another time. Raises ``RunNotFound`` or ``RunNotReschedulable``."""
        refused = yield from self._refused(request, events.request_reschedule)
        if refused is not None:
            raise RunNotReschedulable(refused.run_key, refused.status)

    @operation
    def pause_workflow(
        self, workflow: Workflow[Any, Any] | str, reason: str | None, *, is_paused: bool
    ) -> Requests[bool]:
        """Pauses or resumes a workflow, and returns whether that has changed anything. Raises ``InvalidArgument``."""
        name = check_key("workflow", workflow.name if isinstance(workflow, Workflow) else workflow)
        encoded_reason(reason)
        yield from self.require_schema()
        return (yield from pauses.put_pause(name, reason, is_paused=is_paused))

    @operation
    def paused_workflows(self) -> Requests[list[PausedWorkflow]]:
        """Returns the workflows that are paused."""
        yield from self.require_schema()
        return (yield from pauses.list_pauses())

    @operation
    def request_retry(self, request: NewEvent) -> Requests[None]:
        """Requests a retry. Raises ``RunNotFound`` or ``RunNotRetryable``."""
        refused = yield from self._refused(request, events.request_retry)
        if refused is not None:
            raise RunNotRetryable(refused.run_key, refused.status, is_replaced=refused.is_replaced)

    def _refused(
        self, request: NewEvent, store: Callable[[NewEvent], Statement[bool]]
    ) -> Requests[_RefusedRequest | None]:
        """Stores a request and announces it. Answers for a run that such a request cannot be made of. Raises
        ``RunNotFound``."""
        yield from self.require_schema()
        request = yield from self.addressed(request)
        if (yield from store(request)):
            yield from self.announce(announce_event(request.run_key.workflow_name_shard))
            return None
        found = yield from events.why_not_published(request)
        if found is None:
            raise RunNotFound(request.run_key)
        return None if found.is_stored else _RefusedRequest(request.run_key, found.status, found.is_replaced)

    # looking

    @operation
    def run_info(self, target: RunKey | Keyed, codec: Codec | None = None) -> Requests[RunInfo]:
        """Returns the current state of the run. ``codec`` is the one of its workflow, if that is known. Raises
        ``RunNotFound``, and ``DeserializationError`` if its status cannot be decoded."""
        yield from self.require_schema()
        run_key = yield from self.located(target)
        info = yield from inspection.run_info(run_key, codec or self.codec)
        if info is None:
            raise RunNotFound(run_key)
        if info.status != "queued":
            return info
        return msgspec.structs.replace(info, is_served=(yield from self.is_served(run_key)))

    def is_served(self, run_key: RunKey) -> Operation[bool | None]:
        """Returns whether a living worker has the workflow of the run, ``None`` if that is not known."""
        return workers.is_served(run_key.workflow_name)

    @operation
    def run_output(self, target: RunKey | Keyed, type: Any, codec: Codec | None = None) -> Requests[Any]:
        """Returns the decoded output of a completed run. Raises ``RunNotFound``, ``RunNotCompleted`` or
        ``DeserializationError``."""
        yield from self.require_schema()
        run_key = yield from self.located(target)
        outcome = yield from self.outcome(run_key)
        if outcome.status != "completed":
            raise RunNotCompleted(run_key, outcome.status)
        return self.result(run_key, outcome, type, codec)

    @operation
    def outcome(self, run_key: RunKey) -> Requests[RunOutcome]:
        """Returns the outcome of the run so far. Raises ``RunNotFound``."""
        yield from self.require_schema()
        shard, run_id = run_key.workflow_name_shard, run_key.run_id
        outcomes = yield from inspection.run_outcomes(shard, [run_id])
        if run_id not in outcomes:
            raise RunNotFound(run_key)
        return outcomes[run_id]

    @operation
    def outcomes(self, run_keys: Iterable[RunKey]) -> Requests[dict[RunKey, RunOutcome]]:
        """Returns the outcomes of many runs, using one statement per shard value. Runs that do not exist are missing
        from the result."""
        yield from self.require_schema()
        by_shard: dict[str, list[str]] = {}
        for run_key in run_keys:
            by_shard.setdefault(run_key.workflow_name_shard, []).append(run_key.run_id)
        found: dict[RunKey, RunOutcome] = {}
        for shard, run_ids in by_shard.items():
            outcomes = yield from inspection.run_outcomes(shard, run_ids)
            found.update({RunKey(shard, run_id): outcome for run_id, outcome in outcomes.items()})
        return found

    def result(self, run_key: RunKey, outcome: RunOutcome, type: Any, codec: Codec | None = None) -> Any:
        """Returns the decoded output of a run that has ended; ``codec`` is the workflow's own codec, if it has one.
        Raises ``RunFailed``, ``RunCancelled`` or ``DeserializationError``."""
        if outcome.status == "cancelled":
            raise RunCancelled(run_key, outcome.error.message if outcome.error else "no reason was given")
        if outcome.error is not None:
            raise RunFailed(run_key, outcome.error)
        codec = codec_at(codec or self.codec, "output", run_key.run_id)
        return codec.decode(outcome.output or "", type, f"the output of run {run_key}")

    @operation
    def explain(self, target: RunKey | Keyed) -> Requests[list[Cause]]:
        """Says why the run is not moving. Must be one transaction. Raises ``RunNotFound``."""
        yield from diagnosis.take_snapshot()
        count = (yield from read_settings()).shard_count
        run_key = yield from self.located(target)
        facts = yield from diagnosis.facts_of(run_key, shard_values(run_key.workflow_name, count))
        if facts is None:
            raise RunNotFound(run_key)
        return causes_of(facts)

    @operation
    def list_runs(
        self,
        workflow: Workflow[Any, Any] | str | None,
        status: Status | None,
        limit: int,
        before: RunTarget | None,
        key: str | None = None,
    ) -> Requests[list[Run]]:
        """Lists runs, newest first. Raises ``InvalidArgument``, and ``RunNotFound`` if ``before`` does not exist."""
        limit = whole_number("limit", limit, 1, _MAX_LISTED)
        if status is not None:
            one_of("status", status, get_args(Status))
        name = workflow.name if isinstance(workflow, Workflow) else workflow
        if name is not None:
            name = check_key("workflow", name)
        if key is not None:
            key = check_key("key", key)
        target = None if before is None else check_target("before", before)
        yield from self.require_schema()
        cursor = None
        if target is not None:
            run_key = yield from self.located(target)
            created_at = yield from inspection.run_created_at(run_key)
            if created_at is None:
                raise RunNotFound(run_key)
            cursor = (created_at, run_key)
        return (yield from inspection.list_runs(workflow_name=name, key=key, status=status, limit=limit, before=cursor))


def encoded_reason(reason: str | None) -> str:
    """Returns a reason as it is stored with a request. Raises ``InvalidArgument``."""
    rule = f"a str of at most {_MAX_REASON} characters without NUL or lone surrogates"
    if reason is not None and (not isinstance(reason, str) or "\0" in reason or len(reason) > _MAX_REASON):
        raise InvalidArgument("reason", reason, rule)
    try:
        return msgspec.json.encode(None if reason is None else str.__str__(reason)).decode()
    except UnicodeEncodeError:
        raise InvalidArgument("reason", reason, rule) from None
