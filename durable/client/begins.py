"""How a client begins runs: one by one or many at once, with or without a key.

A begin with a key looks for the newest run that has the key, decides (``core/generations``), and inserts. If a rival
was faster, nothing is inserted, and it looks again. The insert decides, so that no two runs of a key have the same
generation, and no row is locked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Unpack

import msgspec

from durable.client.beginnings import BeginOptions, new_run, new_runs
from durable.client.begun import find_newest_runs
from durable.client.new_begins import NewBegin
from durable.client.requests import Asked, RequestOperations
from durable.core.errors import DurableError, RunExists, RunNotFound
from durable.core.generations import BeginGeneration, Follower, Join, Newest, Refuse, decide
from durable.core.replay.targets import Keyed
from durable.core.replay.workflow import Workflow
from durable.core.run_options import RunOptions
from durable.core.runs import RunKey
from durable.core.shards import shard_value
from durable.store import events, generations, requests, runs
from durable.store.channels import announce_event, announce_runs
from durable.store.events import NewEvent
from durable.store.operation import Operation
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
    """``is_new`` is False if a run with the same key already existed. ``asked`` is the request that was made of it."""

    run_key: RunKey
    is_new: bool
    asked: Asked | None = None


class BeginOperations(RequestOperations):
    """All operations of a client but those about schedules."""

    def new_run(self, wf: Workflow[Any, Any], input: object, **options: Unpack[BeginOptions]) -> NewBegin:
        """Checks all arguments. Raises ``InvalidArgument`` or ``SerializationError``."""
        return new_run(self.codec, wf, input, **options)

    def new_runs(
        self, wf: Workflow[Any, Any], inputs: Iterable[object], **options: Unpack[RunOptions]
    ) -> list[NewBegin]:
        """Makes one run per input, in the same order. Raises ``InvalidArgument`` or ``SerializationError``."""
        return new_runs(self.codec, wf, inputs, **options)

    def begin(self, new: NewBegin, *, is_transaction: bool = True) -> Operation[Begun]:
        """Inserts the run and notifies the workers. ``is_transaction``: all of this is one transaction. If it is not,
        ``ShardsAreRaised`` is raised for a run with a key while the shard count is being raised. Raises
        ``RunExists``."""
        return _Beginning(self, new, is_transaction=is_transaction)

    def begin_many(self, new: Sequence[NewBegin]) -> Operation[list[RunKey]]:
        """Inserts all the runs, which are of one workflow, and notifies the workers. Must be one transaction. Raises
        ``RunExists``."""
        return _BeginningMany(self, new)


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
        if new.message is not None:
            yield from events.publish_event(new.message.sent_to(run_key))
        yield from self._operations.announce(announce_runs(shard))
        # Only an earlier try of this same operation can have inserted the run.
        return self._begun(run_key, is_new=True)

    def _begin_keyed(self, new: NewBegin, key: str) -> Requests[Begun]:
        is_repeated, self._was_tried = self._was_tried, True
        is_locked = False
        refused: list[Newest | None] = []
        while True:
            newest, shards = yield from self._operations.newest(Keyed(new.workflow_name, key))
            if newest is not None and is_repeated and not new.is_plain:
                shard = newest.run_key.workflow_name_shard
                event_id = None if new.message is None else new.message.event_id
                earlier = yield from generations.find_earlier(shard, key, new.call_id, event_id)
                if earlier is not None:  # it was committed with its notification
                    return self._begun(RunKey(shard, earlier.run_id), is_new=earlier.is_new)
            if newest is not None and (repeated := (yield from self._repeated(newest.run_key))) is not None:
                return repeated
            if newest is None and shards.is_being_raised and not is_locked:
                if not self._is_transaction:
                    raise ShardsAreRaised
                yield from lock_names([new.run_id])
                is_locked = True  # by now, another transaction may have begun it
                continue
            match decide(newest, new.if_active, new.if_ended):
                case Join(joined):
                    begun = self._begun(joined.run_key, is_new=False)
                    if (yield from self._join(joined.run_key)):
                        return begun
                case Refuse(active):
                    raise RunExists(active.run_key, active.status)
                case BeginGeneration() as begin:
                    shard = self._shard_value(newest, shards.shard_count)
                    generation = new.generation(begin)
                    begun = self._begun(RunKey(shard, generation.run_id), is_new=True)
                    if (yield from self._insert(generation, begin, shard, shards.shard_count)):
                        return begun
            # Another transaction has begun or ended it in this moment, or the shard count is another now.
            refused = [*refused, newest] if newest in refused else [newest]
            if len(refused) == _TRIES:  # it is there, but row-level security hides it from this role
                return self._begun(begun.run_key, is_new=False)

    def _begun(self, run_key: RunKey, *, is_new: bool) -> Begun:
        message = self._new.message
        if message is None or message.kind != "request":
            return Begun(run_key, is_new)
        return Begun(run_key, is_new, Asked.of(message.sent_to(run_key)))

    def _repeated(self, run_key: RunKey) -> Requests[Begun | None]:
        """Returns the same run and request if another call has made the request of that run before, and it was answered
        or still can be."""
        request, shard = self._new.repeatable, run_key.workflow_name_shard
        if request is None:
            return None
        found = yield from requests.find_request(request.sent_to(run_key))
        if found is None or found.request_id is None:
            return None
        asked = Asked(run_key, found.request_id, request.name, request.key or found.request_id)
        replies = yield from self._operations.replies([asked])
        if isinstance(replies[asked], DurableError):
            return None
        yield from self._operations.announce(announce_event(shard))  # whoever made it may not have come that far
        return Begun(run_key, is_new=False, asked=asked)

    def _shard_value(self, newest: Newest | None, count: int) -> str:
        if newest is not None:
            return newest.run_key.workflow_name_shard
        return shard_value(self._new.workflow_name, self._new.run_id, count)

    def _join(self, run_key: RunKey) -> Requests[bool]:
        """Answers whether it was joined: a run that has ended in this moment takes no event, and a request that another
        call has made in this moment is not made again."""
        message, shard = self._new.message, run_key.workflow_name_shard
        if message is None:
            yield from self._operations.announce(announce_runs(shard))  # an earlier try may not have come that far
            return True
        if not (yield from events.publish_event(message.sent_to(run_key))):
            return False
        yield from self._bequeath(run_key, message, is_own=False)
        yield from self._operations.announce(announce_event(shard))
        return True

    def _insert(self, new: NewBegin, begin: BeginGeneration, shard: str, count: int) -> Requests[bool]:
        if not new.is_plain:
            is_new = yield from generations.begin_generation(shard, new, begin, new.call_id)
        elif self._is_transaction:
            is_new = yield from runs.begin_run(shard, new)
        else:
            is_new = yield from runs.begin_keyed_run(shard, new, count)
        if not is_new:
            return False
        if begin.follows is not None:
            yield from self._follow(new, begin, begin.follows)
        if new.message is not None:
            run_key = RunKey(shard, new.run_id)
            yield from events.publish_event(new.message.sent_to(run_key))
            yield from self._bequeath(run_key, new.message, is_own=True)
        if begin.follows is None:
            yield from self._operations.announce(announce_runs(shard))
        else:
            yield from self._operations.announce(announce_event(shard))
        return True

    def _bequeath(self, run_key: RunKey, message: NewEvent, *, is_own: bool) -> Requests[None]:
        bequest = self._new.bequest(run_key, is_own=is_own)
        yield from generations.put_next(run_key, self._new.message_id, message.event_id, bequest)

    def _follow(self, new: NewBegin, begin: BeginGeneration, older: RunKey) -> Requests[None]:
        if begin.request is not None:  # nothing is stored if it has ended meanwhile
            kind = begin.request
            yield from events.publish_event(NewEvent(older, new.request_id, kind, _REPLACED, kind=kind))
        payload = Follower(at=new.at, delay=new.delay, timeout=new.timeout).text
        if not (yield from generations.put_next(older, new.next_id, new.run_id, payload)):
            raise RunNotFound(older)  # it was pruned in this moment, and would never be said to have ended


class _BeginningMany:
    """One call of begin_many. Runs that take no more than an insert are begun by one statement per shard value and
    batch, and the others one by one. Both go by where the runs are kept, so that two calls with the same keys wait for
    each other instead of failing with a deadlock. If one of the runs with keys is begun by itself, all of them are:
    those with the same key are begun in the order of the inputs."""

    def __init__(self, operations: BeginOperations, new: Sequence[NewBegin]) -> None:
        self._operations = operations
        self._new = new
        are_keys_plain = all(run.is_plain for run in new if run.key is not None)
        self._singly = {
            number: _Beginning(operations, run, is_transaction=True)
            for number, run in enumerate(new)
            if not run.is_plain or (run.key is not None and not are_keys_plain)
        }

    def __iter__(self) -> Requests[list[RunKey]]:
        new, count = self._new, (yield from self._operations.shard_count())
        together = {number: run for number, run in enumerate(new) if number not in self._singly}
        found: Mapping[str, RunKey] = {}
        first_ids = {run.key: run.run_id for run in together.values() if run.key is not None}
        if first_ids:
            found, count = yield from find_newest_runs(new[0].workflow_name, first_ids)
        run_keys = [RunKey(shard_value(run.workflow_name, run.run_id, count), run.run_id) for run in new]
        in_order = sorted(self._singly, key=run_keys.__getitem__)
        by_shard: dict[str, dict[str, NewBegin]] = {}
        for number, run in together.items():
            if run.key is not None and run.key in found:
                run_keys[number] = found[run.key]
            else:
                by_shard.setdefault(run_keys[number].workflow_name_shard, {}).setdefault(run.run_id, run)
        for number in in_order:
            begun = yield from self._singly[number]
            run_keys[number] = begun.run_key
        for shard in sorted(by_shard):
            for batch in _batches([by_shard[shard][run_id] for run_id in sorted(by_shard[shard])]):
                yield from runs.begin_runs(shard, batch)
        for shard in {run_keys[number].workflow_name_shard for number in together}:
            yield from self._operations.announce(announce_runs(shard))
        return run_keys


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
