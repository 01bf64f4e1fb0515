"""How a client begins runs: one by one or many at once, with or without a key.

A begin with a key looks for the newest run that has the key, decides (``core/generations``), and inserts. If a rival
was faster, nothing is inserted, and it looks again. The insert decides, so that no two runs of a key have the same
generation, and no row is locked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import msgspec

from durable.client.arguments import encoded_tags, storable_payload
from durable.client.new_begins import BeginOptions, NewBegin
from durable.client.operations import Operations
from durable.client.targets import Keyed, KeyedEvent
from durable.core.arguments import one_of, whole_number
from durable.core.codec.places import Place
from durable.core.durations import aware, seconds
from durable.core.errors import InvalidArgument, RunExists, RunNotFound
from durable.core.generations import Begin, Follower, IfActive, IfEnded, Join, Newest, Refuse, decide
from durable.core.keys import check_key
from durable.core.replay.workflow import Workflow, check_workflow
from durable.core.runs import RunKey
from durable.core.shards import shard_value
from durable.store import events, generations, runs
from durable.store.channels import announce_event, announce_runs
from durable.store.events import NewEvent
from durable.store.ids import keyed_run_id, uuid7
from durable.store.operation import Operation, operation
from durable.store.settings import lock_names
from durable.store.statement import Requests

_BATCH_ROWS = 5_000
_BATCH_CHARACTERS = 16 * 1024 * 1024
_TRIES = 3
_REPLACED = '"another run was begun with its key"'
"""The reason of the cancel or termination, encoded."""


class ShardsAreRaised(Exception):
    """The shard count is being raised: a run with a key can then only be begun in a transaction."""


class Begun(msgspec.Struct, frozen=True):
    """``is_new`` is False if a run with the same key already existed."""

    run_key: RunKey
    is_new: bool


class BeginOperations(Operations):
    """All operations of a client but those about schedules."""

    def new_run(
        self,
        wf: Workflow[Any, Any],
        input: object,
        *,
        argument: str = "input",
        key: str | None = None,
        if_active: IfActive = "join",
        if_ended: IfEnded = "join",
        event: tuple[str, object] | None = None,
        delay: timedelta | float | None = None,
        at: datetime | None = None,
        priority: int = 0,
        tags: Mapping[str, str] | None = None,
    ) -> NewBegin:
        """Checks all arguments; ``argument`` is the name of the input in messages. Raises ``InvalidArgument`` or
        ``SerializationError``."""
        check_workflow(wf)
        if delay is not None and at is not None:
            raise InvalidArgument("at", at, "None if delay is given")
        one_of("if_active", if_active, get_args(IfActive))
        one_of("if_ended", if_ended, get_args(IfEnded))
        run_id = str(uuid7()) if key is None else keyed_run_id(wf.name, check_key("key", key))
        for name, policy in (("if_active", if_active), ("if_ended", if_ended)):
            if key is None and policy != "join":
                raise InvalidArgument(name, policy, '"join" if no key is given')
        if event is not None and key is not None and if_ended == "join":
            rule = '"begin_anew" if a key and an event are given, because a run that has ended reads no event'
            raise InvalidArgument("if_ended", if_ended, rule)

        def input_for(owner: str) -> str:
            return storable_payload(wf.encoded_input(input, self.codec, Place("input", owner), argument), argument)

        new = NewBegin(
            run_id=run_id,
            workflow_name=wf.name,
            version=wf.version,
            input=input_for(run_id),
            key=key,
            delay=None if delay is None else seconds("delay", delay),
            at=None if at is None else aware("at", at).astimezone(UTC),
            priority=whole_number("priority", priority, -32768, 32767),
            tags=None if tags is None else encoded_tags(tags),
            timeout=wf.timeout,
            if_active=if_active,
            if_ended=if_ended,
            event=None if event is None else self._new_message(wf, run_id, event),
            input_for=input_for,
            begin_id=str(uuid7()),
            next_id=str(uuid7()),
            message_id=str(uuid7()),
            request_id=str(uuid7()),
        )
        if new.event is not None and new.key is not None:
            storable_payload(new.bequest(RunKey("", run_id), is_own=True), argument)
        return new

    def _new_message(self, wf: Workflow[Any, Any], run_id: str, event: tuple[str, object]) -> KeyedEvent:
        if not isinstance(event, tuple) or len(event) != 2:
            raise InvalidArgument("event", event, "the name of an event and its payload: (name, payload)")
        name, payload = event
        return self.keyed_event(Keyed(wf.name, run_id), run_id, name, payload, None, wf.codec)

    def new_runs(
        self,
        wf: Workflow[Any, Any],
        inputs: Iterable[object],
        *,
        priority: int = 0,
        tags: Mapping[str, str] | None = None,
        each: Iterable[BeginOptions] | None = None,
    ) -> list[NewBegin]:
        """Makes one run per input, in the same order; ``each`` holds the options of each, which take the place of the
        common ones. Raises ``InvalidArgument`` or ``SerializationError``."""
        check_workflow(wf)
        try:
            named = [(f"inputs[{number}]", input) for number, input in enumerate(inputs)]
        except TypeError:
            raise InvalidArgument("inputs", inputs, "an iterable with one input per run") from None
        rule = f"an iterable of {len(named)} mappings of options, one for each input"
        try:
            options = [BeginOptions() for _ in named] if each is None else list(each)
        except TypeError:
            raise InvalidArgument("each", each, rule) from None
        if len(options) != len(named) or not all(isinstance(one, Mapping) for one in options):
            raise InvalidArgument("each", each, rule)
        common = BeginOptions(priority=priority, tags=tags)
        merged: list[BeginOptions] = [{**common, **one} for one in options]
        if unknown := {name for one in merged for name in one} - BeginOptions.__annotations__.keys():
            raise InvalidArgument("each", sorted(map(str, unknown)), "mappings with the options of begin and no others")
        return [
            self.new_run(wf, input, argument=argument, **one)
            for (argument, input), one in zip(named, merged, strict=True)
        ]

    def begin(self, new: NewBegin, *, is_transaction: bool = True) -> Operation[Begun]:
        """Inserts the run and notifies the workers. ``is_transaction``: all of this is one transaction. If it is not,
        ``ShardsAreRaised`` is raised for a run with a key while the shard count is being raised. Raises
        ``RunExists``."""
        return _Beginning(self, new, is_transaction=is_transaction)

    @operation
    def begin_many(self, new: Sequence[NewBegin]) -> Requests[list[RunKey]]:
        """Inserts all the runs and notifies the workers: those with nothing of their own in one statement per shard
        value and batch, and the others one by one, in the order of their keys, so that two calls with the same keys
        wait for each other instead of failing with a deadlock."""
        count = yield from self.shard_count()
        by_shard: dict[str, list[NewBegin]] = {}
        run_keys: dict[int, RunKey] = {}
        singly = [number for number, run in enumerate(new) if not _is_common(run, new[0])]
        for number in sorted(singly, key=lambda number: new[number].key or ""):
            begun = yield from _Beginning(self, new[number], is_transaction=True)
            run_keys[number] = begun.run_key
        for number, run in enumerate(new):
            if number not in run_keys:
                shard = shard_value(run.workflow_name, run.run_id, count)
                by_shard.setdefault(shard, []).append(run)
                run_keys[number] = RunKey(shard, run.run_id)
        for shard, members in by_shard.items():
            for batch in _batches(members):
                yield from runs.begin_runs(shard, batch)
        for shard in by_shard:
            yield from self.announce(announce_runs(shard))
        return [run_keys[number] for number in range(len(new))]


class _Beginning:
    """One call of begin. It remembers that it was tried before: the answer to the commit may have been lost, and the
    newest run may then be its own, which it must neither refuse nor replace."""

    def __init__(self, operations: BeginOperations, new: NewBegin, *, is_transaction: bool) -> None:
        self._operations = operations
        self._new = new
        self._is_transaction = is_transaction
        self._was_tried = False

    def __iter__(self) -> Requests[Begun]:
        new = self._new
        if new.key is not None:
            return (yield from self._begin_keyed(new, new.key))
        shard = shard_value(new.workflow_name, new.run_id, (yield from self._operations.shard_count()))
        yield from runs.begin_run(shard, new)
        run_key = RunKey(shard, new.run_id)
        if new.event is not None:
            yield from events.publish_event(new.event.sent_to(run_key))
        yield from self._operations.announce(announce_runs(shard))
        # Only an earlier try of this same operation can have inserted the run.
        return Begun(run_key, is_new=True)

    def _begin_keyed(self, new: NewBegin, key: str) -> Requests[Begun]:
        is_repeated, self._was_tried = self._was_tried, True
        is_locked = False
        refused: list[Newest | None] = []
        while True:
            newest, shards = yield from self._operations.newest(Keyed(new.workflow_name, key))
            if newest is not None and is_repeated and not new.is_plain:
                shard = newest.run_key.workflow_name_shard
                event_id = None if new.event is None else new.event.event_id
                earlier = yield from generations.find_earlier(shard, key, new.begin_id, event_id)
                if earlier is not None:  # it was committed with its notification
                    return Begun(RunKey(shard, earlier.run_id), is_new=earlier.is_new)
            if newest is None and shards.is_being_raised and not is_locked:
                if not self._is_transaction:
                    raise ShardsAreRaised
                yield from lock_names([new.run_id])
                is_locked = True  # by now, another transaction may have begun it
                continue
            match decide(newest, new.if_active, new.if_ended):
                case Join(joined):
                    begun = Begun(joined.run_key, is_new=False)
                    if (yield from self._join(joined.run_key)):
                        return begun
                case Refuse(active):
                    raise RunExists(active.run_key, active.status)
                case Begin() as begin:
                    shard = self._shard_value(newest, shards.shard_count)
                    generation = new.generation(begin)
                    begun = Begun(RunKey(shard, generation.run_id), is_new=True)
                    if (yield from self._insert(generation, begin, shard, shards.shard_count)):
                        return begun
            # Another transaction has begun or ended it in this moment, or the shard count is another now.
            refused = [*refused, newest] if newest in refused else [newest]
            if len(refused) == _TRIES:  # it is there, but row-level security hides it from this role
                return Begun(begun.run_key, is_new=False)

    def _shard_value(self, newest: Newest | None, count: int) -> str:
        if newest is not None:
            return newest.run_key.workflow_name_shard
        return shard_value(self._new.workflow_name, self._new.run_id, count)

    def _join(self, run_key: RunKey) -> Requests[bool]:
        """Answers whether it was joined: a run that has ended in this moment takes no event."""
        event, shard = self._new.event, run_key.workflow_name_shard
        if event is None:
            yield from self._operations.announce(announce_runs(shard))  # an earlier try may not have come that far
            return True
        if not (yield from events.publish_event(event.sent_to(run_key))):
            return False
        yield from self._bequeath(run_key, event, is_own=False)
        yield from self._operations.announce(announce_event(shard))
        return True

    def _insert(self, new: NewBegin, begin: Begin, shard: str, count: int) -> Requests[bool]:
        if not new.is_plain:
            is_new = yield from generations.begin_generation(shard, new, begin, new.begin_id)
        elif self._is_transaction:
            is_new = yield from runs.begin_run(shard, new)
        else:
            is_new = yield from runs.begin_keyed_run(shard, new, count)
        if not is_new:
            return False
        if begin.follows is not None:
            yield from self._follow(new, begin, begin.follows)
        if new.event is not None:
            run_key = RunKey(shard, new.run_id)
            yield from events.publish_event(new.event.sent_to(run_key))
            yield from self._bequeath(run_key, new.event, is_own=True)
        if begin.follows is None:
            yield from self._operations.announce(announce_runs(shard))
        else:
            yield from self._operations.announce(announce_event(shard))
        return True

    def _bequeath(self, run_key: RunKey, event: NewEvent, *, is_own: bool) -> Requests[None]:
        bequest = self._new.bequest(run_key, is_own=is_own)
        yield from generations.put_next(run_key, self._new.message_id, event.event_id, bequest)

    def _follow(self, new: NewBegin, begin: Begin, older: RunKey) -> Requests[None]:
        if begin.request is not None:  # nothing is stored if it has ended meanwhile
            kind = begin.request
            yield from events.publish_event(NewEvent(older, new.request_id, kind, _REPLACED, kind=kind))
        payload = Follower(at=new.at, delay=new.delay, timeout=new.timeout).text
        if not (yield from generations.put_next(older, new.next_id, new.run_id, payload)):
            raise RunNotFound(older)  # it was pruned in this moment, and would never be said to have ended


def _is_common(new: NewBegin, first: NewBegin) -> bool:
    """Returns whether it can be inserted in one statement with the first one."""
    is_bare = new.key is None and new.event is None and new.delay is None and new.at is None
    return is_bare and (new.priority, new.tags) == (first.priority, first.tags)


def _batches(new: Sequence[NewBegin]) -> Iterator[list[NewBegin]]:
    batch: list[NewBegin] = []
    characters = 0
    for run in new:
        if batch and (len(batch) == _BATCH_ROWS or characters + len(run.input) > _BATCH_CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append(run)
        characters += len(run.input)
    if batch:
        yield batch
