"""Each operation of a client, written once for both colors, without I/O.

Bad arguments are refused by the methods that make a ``NewRun`` or ``NewEvent``, before any statement is run. The
operations themselves may be run again after a lost connection, because all ids are chosen beforehand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypedDict, get_args

import msgspec

from durable.client.arguments import check_run_key, encoded_tags, storable_payload
from durable.core.arguments import check_codec, one_of, truth, whole_number
from durable.core.codec.json_codec import Codec
from durable.core.codec.places import Place, codec_at
from durable.core.durations import aware, seconds
from durable.core.errors import (
    InvalidArgument,
    RunCancelled,
    RunFailed,
    RunNotCancellable,
    RunNotCompleted,
    RunNotFound,
    RunNotRetryable,
    RunTerminal,
)
from durable.core.keys import check_key
from durable.core.replay.workflow import Workflow, check_workflow
from durable.core.runs import TERMINAL, Run, RunInfo, RunKey, Status
from durable.core.shards import shard_value
from durable.store import events, inspection, runs, workers
from durable.store.channels import announce_event, announce_runs
from durable.store.events import NewEvent
from durable.store.ids import keyed_run_id, uuid7
from durable.store.inspection import RunOutcome
from durable.store.operation import Operation, operation
from durable.store.runs import NewRun
from durable.store.settings import lock_names, read_settings
from durable.store.statement import Requests, Statement

_MAX_REASON = 2000
_MAX_LISTED = 10_000
_BATCH_ROWS = 5_000
_BATCH_CHARACTERS = 16 * 1024 * 1024
_TRIES = 3


RequestKind = Literal["cancel", "terminate", "retry"]


class BeginOptions(TypedDict, total=False):
    """The keywords of ``begin`` and ``begin_tx``."""

    key: str | None
    """Makes the call idempotent for as long as the first run is kept: the same workflow and key always give the same
    run, whatever the other arguments are. ``None``, or not given: each call begins a run."""
    delay: timedelta | float | None
    """The run starts this many seconds from now at the earliest, by the database's clock. Cannot be combined with
    ``at``."""
    at: datetime | None
    """The earliest time at which the run starts; an aware datetime. Cannot be combined with ``delay``. If neither is
    given, the run may start at once."""
    priority: int
    """Runs with a higher priority start first; from -32768 to 32767, 0 if not given."""
    tags: Mapping[str, str] | None
    """At most 64 names and values by which people can find the run."""


class ShardsAreRaised(Exception):
    """The shard count is being raised: a run with a key can then only be begun in a transaction."""


class Begun(msgspec.Struct, frozen=True):
    """``is_new`` is False if a run with the same key already existed."""

    run_key: RunKey
    is_new: bool


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

    # begin

    def new_run(
        self,
        wf: Workflow[Any, Any],
        input: object,
        *,
        key: str | None = None,
        delay: timedelta | float | None = None,
        at: datetime | None = None,
        priority: int = 0,
        tags: Mapping[str, str] | None = None,
    ) -> NewRun:
        """Checks all arguments. Raises ``InvalidArgument`` or ``SerializationError``."""
        check_workflow(wf)
        if delay is not None and at is not None:
            raise InvalidArgument("at", at, "None if delay is given")
        run_id = str(uuid7()) if key is None else keyed_run_id(wf.name, check_key("key", key))
        return NewRun(
            run_id=run_id,
            workflow_name=wf.name,
            version=wf.version,
            input=storable_payload(wf.encoded_input(input, self.codec, Place("input", run_id)), "input"),
            key=key,
            delay=None if delay is None else seconds("delay", delay),
            at=None if at is None else aware("at", at).astimezone(UTC),
            priority=whole_number("priority", priority, -32768, 32767),
            tags=None if tags is None else encoded_tags(tags),
            timeout=wf.timeout,
        )

    def new_runs(
        self,
        wf: Workflow[Any, Any],
        inputs: Iterable[object],
        *,
        priority: int = 0,
        tags: Mapping[str, str] | None = None,
    ) -> list[NewRun]:
        """Makes one run per input, in the same order, with the same priority and tags. Raises ``InvalidArgument`` or
        ``SerializationError``."""
        check_workflow(wf)
        try:
            named = [(f"inputs[{number}]", input) for number, input in enumerate(inputs)]
        except TypeError:
            raise InvalidArgument("inputs", inputs, "an iterable with one input per run") from None
        priority = whole_number("priority", priority, -32768, 32767)
        shared_tags = None if tags is None else encoded_tags(tags)
        run_ids = [str(uuid7()) for _ in named]
        return [
            NewRun(
                run_id,
                wf.name,
                wf.version,
                storable_payload(wf.encoded_input(input, self.codec, Place("input", run_id), what), what),
                priority=priority,
                tags=shared_tags,
                timeout=wf.timeout,
            )
            for run_id, (what, input) in zip(run_ids, named, strict=True)
        ]

    @operation
    def begin(self, run: NewRun, *, is_transaction: bool = True) -> Requests[Begun]:
        """Inserts the run and notifies the workers. ``is_transaction``: all of this is one transaction. If it is not,
        ``ShardsAreRaised`` is raised for a run with a key while the shard count is being raised."""
        if run.key is not None:
            return (yield from self._begin_keyed(run, is_transaction=is_transaction))
        shard = shard_value(run.workflow_name, run.run_id, (yield from self.shard_count()))
        yield from runs.begin_run(shard, run)
        yield from self.announce(announce_runs(shard))
        # Only an earlier try of this same operation can have inserted the run.
        return Begun(RunKey(shard, run.run_id), is_new=True)

    def _begin_keyed(self, run: NewRun, *, is_transaction: bool) -> Requests[Begun]:
        counts = {(yield from self.shard_count())}
        is_locked = False
        refused = 0
        while True:
            # The shard count may have been raised since the first run with this key was begun, and since we read it.
            looked = {shard_value(run.workflow_name, run.run_id, count) for count in counts}
            found = yield from runs.find_keyed_run(sorted(looked), run.run_id)
            if found.shard_value is not None:
                yield from self.announce(announce_runs(found.shard_value))  # an earlier try may not have come that far
                return Begun(RunKey(found.shard_value, run.run_id), is_new=False)
            count = self._shard_count = found.shard_count
            if found.is_being_raised and not is_locked:
                if not is_transaction:
                    raise ShardsAreRaised
                yield from lock_names([run.run_id])
                is_locked = True  # by now, another transaction may have begun it
            elif not found.known <= counts:
                counts |= found.known
            else:
                shard = shard_value(run.workflow_name, run.run_id, count)
                if is_transaction:
                    is_new = yield from runs.begin_run(shard, run)
                else:
                    is_new = yield from runs.begin_keyed_run(shard, run, count)
                if is_new:
                    yield from self.announce(announce_runs(shard))
                    return Begun(RunKey(shard, run.run_id), is_new=True)
                refused += 1
                if refused == _TRIES:  # it exists, but row-level security hides it from this role
                    return Begun(RunKey(shard, run.run_id), is_new=False)
                # Another transaction has begun it in this moment, or the shard count is another now.

    @operation
    def begin_many(self, new: Sequence[NewRun]) -> Requests[list[RunKey]]:
        """Inserts all the runs, one statement per shard value and batch, and notifies the workers."""
        count = yield from self.shard_count()
        by_shard: dict[str, list[NewRun]] = {}
        run_keys: list[RunKey] = []
        for run in new:
            shard = shard_value(run.workflow_name, run.run_id, count)
            by_shard.setdefault(shard, []).append(run)
            run_keys.append(RunKey(shard, run.run_id))
        for shard, members in by_shard.items():
            for batch in _batches(members):
                yield from runs.begin_runs(shard, batch)
        for shard in by_shard:
            yield from self.announce(announce_runs(shard))
        return run_keys

    # events

    def new_event(
        self, run_key: RunKey | str, name: str, payload: object, key: str | None, codec: Codec | None = None
    ) -> NewEvent:
        """Checks all arguments; ``codec`` is the workflow's own codec, if it has one. Raises ``InvalidArgument`` or
        ``SerializationError``."""
        name, run_key = check_key("name", name), check_run_key("run_key", run_key)
        codec = codec_at(codec or self.codec, "event", run_key.run_id, name)
        what = f"the payload of event {name!r}"
        return NewEvent(
            run_key=run_key,
            event_id=str(uuid7()),
            name=name,
            payload=storable_payload(codec.encode(payload, what), what),
            key=None if key is None else check_key("key", key),
        )

    @operation
    def publish_event(self, event: NewEvent) -> Requests[bool]:
        """Inserts the event and notifies the workers; answers whether it is stored, and not another one with its key.
        Raises ``RunNotFound`` or ``RunTerminal``."""
        yield from self.require_schema()
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

    def new_request(self, run_key: RunKey | str, kind: RequestKind, reason: str | None = None) -> NewEvent:
        """Checks all arguments. Raises ``InvalidArgument``."""
        rule = f"a str of at most {_MAX_REASON} characters without NUL or lone surrogates"
        if reason is not None and (not isinstance(reason, str) or "\0" in reason or len(reason) > _MAX_REASON):
            raise InvalidArgument("reason", reason, rule)
        try:
            payload = msgspec.json.encode(None if reason is None else str.__str__(reason)).decode()
        except UnicodeEncodeError:
            raise InvalidArgument("reason", reason, rule) from None
        return NewEvent(check_run_key("run_key", run_key), str(uuid7()), kind, payload, kind=kind)

    @operation
    def request_end(self, request: NewEvent) -> Requests[None]:
        """Requests a cancel or a termination. Raises ``RunNotFound`` or ``RunNotCancellable``."""
        try:
            yield from self.publish_event(request)
        except RunTerminal as ended:
            raise RunNotCancellable(ended.run_key, ended.status) from None

    @operation
    def request_retry(self, request: NewEvent) -> Requests[None]:
        """Requests a retry. Raises ``RunNotFound`` or ``RunNotRetryable``."""
        yield from self.require_schema()
        if (yield from events.request_retry(request)):
            yield from self.announce(announce_event(request.run_key.workflow_name_shard))
            return
        found = yield from events.why_not_published(request)
        if found is None:
            raise RunNotFound(request.run_key)
        if not found.is_stored:
            raise RunNotRetryable(request.run_key, found.status)

    # looking

    @operation
    def run_info(self, run_key: RunKey, codec: Codec | None = None) -> Requests[RunInfo]:
        """Returns the current state of the run. ``codec`` is the one of its workflow, if that is known. Raises
        ``RunNotFound``, and ``DeserializationError`` if its status cannot be decoded."""
        yield from self.require_schema()
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
    def run_output(self, run_key: RunKey, type: Any) -> Requests[Any]:
        """Returns the decoded output of a completed run. Raises ``RunNotFound``, ``RunNotCompleted`` or
        ``DeserializationError``."""
        outcome = yield from self.outcome(run_key)
        if outcome.status != "completed":
            raise RunNotCompleted(run_key, outcome.status)
        return self.result(run_key, outcome, type)

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
    def list_runs(
        self, workflow: Workflow[Any, Any] | str | None, status: Status | None, limit: int, before: RunKey | str | None
    ) -> Requests[list[Run]]:
        """Lists runs, newest first. Raises ``InvalidArgument``, and ``RunNotFound`` if ``before`` does not exist."""
        limit = whole_number("limit", limit, 1, _MAX_LISTED)
        if status is not None:
            one_of("status", status, get_args(Status))
        name = workflow.name if isinstance(workflow, Workflow) else workflow
        if name is not None:
            name = check_key("workflow", name)
        yield from self.require_schema()
        cursor = None
        if before is not None:
            run_key = check_run_key("before", before)
            created_at = yield from inspection.run_created_at(run_key)
            if created_at is None:
                raise RunNotFound(run_key)
            cursor = (created_at, run_key)
        return (yield from inspection.list_runs(workflow_name=name, status=status, limit=limit, before=cursor))


def _batches(runs: Sequence[NewRun]) -> Iterator[list[NewRun]]:
    batch: list[NewRun] = []
    characters = 0
    for run in runs:
        if batch and (len(batch) == _BATCH_ROWS or characters + len(run.input) > _BATCH_CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append(run)
        characters += len(run.input)
    if batch:
        yield batch
