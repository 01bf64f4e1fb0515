"""Claims the runs of one workflow, across all its shard values, in batches as large as the number of free places."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import Any, TypeVar

from psycopg_pool import PoolTimeout

from durable.core.replay.workflow import Workflow
from durable.core.runs import RunKey
from durable.core.suspicion import TRIAL_SECONDS
from durable.core.suspicion import Isolation as Kind
from durable.store.channels import number_of
from durable.store.claims import end_trial
from durable.worker.asides import Asides
from durable.worker.clock import Clock
from durable.worker.database import Database
from durable.worker.detours import BLOCKED_SECONDS, Detours
from durable.worker.executions import Executions
from durable.worker.isolation import Isolation
from durable.worker.later_looks import LaterLooks
from durable.worker.lost_runs import LostRuns
from durable.worker.passed_on import PassedOn
from durable.worker.precedence import STAND_IN_SECONDS, Precedence
from durable.worker.succession import Succession
from durable.worker.visit import EndsBlocked, Visited, visit

T = TypeVar("T")

_logger = logging.getLogger("durable.worker")

_MAX_CLAIMED = 500
"""Runs claimed at once: half as many after a visit that failed, because its answer may take more memory than there is,
and twice as many after one that did not."""
_ACQUIT_SECONDS = 1.0
_COURTESY_SECONDS = 60.0
"""How long after its wake a run that was set aside here is left to other workers, whose code may match it."""
_TRY_AGAIN_SECONDS = 0.25
"""How often it is asked whether a suspect that is due may be tried. That costs no statement."""
_MIN_SECONDS = 0.005
"""The least pause before a wake that is due but locked by another worker is asked for again."""


class Dispatcher:
    """Sleeps until there is something to claim: a notification, the next due wake, a freed place, or the poll."""

    def __init__(
        self,
        workflow: Workflow[Any, Any],
        shard_values: Sequence[str],
        database: Database,
        executions: Executions,
        isolation: Isolation,
        worker_id: Callable[[], str],
        clock: Clock,
        *,
        poll_interval: float,
        max_poll_interval: Callable[[], float],
        max_strikes: int,
    ) -> None:
        self.workflow = workflow
        self._extra = {"workflow": workflow.name}
        self._shard_values = list(shard_values)
        self._known = set(shard_values)
        self._database = database
        self._outages = database.outages
        self._executions = executions
        self._isolation = isolation
        self._worker_id = worker_id
        self._clock = clock
        self._asides = Asides(clock)
        self._detours = Detours(clock)
        self._claimable: dict[str, int] = {}
        self._poll_interval = poll_interval
        self._max_poll_interval = max_poll_interval
        self._interval = poll_interval
        self._awake = asyncio.Event()
        self._to_claim: set[str] = set(shard_values)
        self._to_route: set[str] = set(shard_values)
        self._lost = LostRuns(
            workflow, database, executions, worker_id, clock, max_strikes=max_strikes, due=self._awake.set
        )
        self._to_try: dict[str, Sequence[Kind]] = {}
        self._to_try_later: dict[str, set[Kind]] = {}
        self._to_acquit: dict[RunKey, int] = {}
        self._failed: set[str] = set()
        """Shard values that are not looked at until it is their turn to be tried again."""
        self._wakes: dict[str, float] = {}
        self.precedence = Precedence(worker_id)
        self._later_looks = LaterLooks(clock, self._look_now)
        self._passed_on = PassedOn(database, clock, poll_interval, self._awake.set)
        codec = workflow.codec or executions.codec
        self._succession = Succession(database, clock, codec, self._awake.set, self._look_again)

    # hints, from callbacks of the loop

    def poll(self) -> None:
        """Has everything looked at now."""
        self._to_claim.update(self._shard_values)
        self._to_route.update(self._shard_values)
        self._interval = self._poll_interval
        self._awake.set()

    def work_arrived(self, shard_value: str, *, is_event: bool, ticket: str | None = None) -> None:
        """Notes that something was committed for that shard value. One that does not exist is ignored, because anyone
        who may log in can announce anything; that the shard count was raised is learned from the heartbeat. With a
        ticket, this worker waits for its turn to look."""
        if shard_value not in self._known:
            return
        if ticket is not None and not self._is_our_turn(shard_value, ticket):
            return
        (self._to_route if is_event else self._to_claim).add(shard_value)
        self._interval = self._poll_interval
        self._awake.set()

    def hear_more(self, numbers: Collection[int]) -> None:
        """Notes that runs whose shard value has one of these numbers are announced to this worker from now on. What was
        announced before may have been heard only by workers that are gone."""
        for shard_value in self._shard_values:
            if number_of(shard_value) in numbers:
                self._look_now(shard_value)

    def _is_our_turn(self, shard_value: str, ticket: str) -> bool:
        """Plans a later look if it is not."""
        pause = self.precedence.pause(shard_value, ticket)
        if self._executions.free_places(self.workflow) <= 0:
            if pause == 0 and self.precedence.has_others:
                self._passed_on.heard(shard_value)
            return True  # as soon as a place is free
        if pause > 0:
            self._later_looks.plan(shard_value, pause)
        return pause == 0

    def _look_now(self, shard_value: str) -> None:
        self._to_claim.add(shard_value)
        self._awake.set()

    def place_freed(self, shard_value: str, wake_in: float | None) -> None:
        """Notes that a run left. ``wake_in`` is how many seconds from now it wants to be claimed again, ``None`` if it
        need not be."""
        if wake_in is not None:
            self._note_wake(shard_value, wake_in)
        if self._to_claim or wake_in is not None:
            self._awake.set()

    def reopened(self) -> None:
        """Notes that runs may be claimed again."""
        if self._to_claim:
            self._awake.set()

    def run_followed(self, shard_value: str) -> None:
        self._succession.note(shard_value)

    def run_set_aside(self, run_key: RunKey, wake_in: float) -> None:
        self._asides.add(run_key.run_id, wake_in + _COURTESY_SECONDS)

    def run_lost(self, shard_value: str, *, culprits: Collection[str] = ()) -> None:
        """Notes that a run may belong to this worker according to its row, although it is not executed here. It will be
        released; the culprits, given by their ids, are to blame for that themselves."""
        self._lost.note(shard_value, culprits)

    def _trial_over(self, run_key: RunKey, epoch: int) -> None:
        if self._isolation.is_on_trial(run_key.run_id):
            self._to_acquit[run_key] = epoch
            self._awake.set()

    def _note_wake(self, shard_value: str, wake_in: float) -> None:
        moment = self._clock.monotonic() + wake_in
        self._wakes[shard_value] = min(moment, self._wakes.get(shard_value, moment))

    def raise_shards(self, shard_values: Sequence[str]) -> None:
        """Notes that there are more shard values now."""
        new = [shard_value for shard_value in shard_values if shard_value not in self._known]
        self._known.update(new)
        self._shard_values.extend(new)
        self.poll()

    # the loop

    async def claim_one(self) -> bool:
        """Claims at most one run, and waits until it has left this worker again. Returns whether there was one."""
        for shard_value in list(self._shard_values):
            is_found = await self._visit(shard_value, most=1)
            if not is_found and shard_value in self._succession.due:
                await self._succession.succeed(shard_value)
                is_found = await self._visit(shard_value, most=1)
            if is_found or await self._try_suspects(shard_value, most=1):
                await self._executions.becomes_idle()
                return True
        return False

    async def run(self) -> None:
        """Claims runs until cancelled. Waits while the database is unavailable."""
        duty = f"claiming runs of {self.workflow.name}"
        while True:
            self._awake.clear()
            try:
                found = await self._pass()
            except Exception as error:
                await self._outages.pause(duty, error, **self._extra)
                self._to_claim.update(self._shard_values)
                self._to_route.update(self._shard_values)
                continue
            self._outages.succeeded(duty)
            if found:
                self._interval = self._poll_interval
            if not self._is_work_known():
                await self._wait()

    def _is_work_known(self) -> bool:
        if self._to_acquit or self._to_route - self._failed:
            return True
        if (self._lost.due | self._succession.due | self._to_try.keys()) - self._failed:
            return True
        return bool(self._to_claim - self._failed) and self._executions.free_places(self.workflow) > 0

    async def _wait(self) -> None:
        timeout = self._interval
        wakes = {shard_value: moment for shard_value, moment in self._wakes.items() if shard_value not in self._failed}
        if wakes:
            timeout = max(min(timeout, min(wakes.values()) - self._clock.monotonic()), _MIN_SECONDS)
        if await self._clock.wait(self._awake, timeout):
            return
        now = self._clock.monotonic()
        due = [shard_value for shard_value, moment in wakes.items() if moment <= now + 0.001]
        self._to_claim.update(due)
        if due and self._executions.free_places(self.workflow) == 0:
            self._passed_on.waiting(due)
            for shard_value in due:
                del self._wakes[shard_value]
        if not due:
            self._to_claim.update(self._shard_values)
            self._to_route.update(self._shard_values)
            self._interval = min(self._interval * 2, max(self._max_poll_interval(), self._poll_interval))

    async def _pass(self) -> bool:
        found = False
        if self._passed_on:
            await self._passed_on.announce()
        for shard_value in sorted(self._lost.due - self._failed):
            await self._each_by_itself("releasing lost runs of", self._lost.release(shard_value), shard_value)
        for shard_value in sorted(self._succession.due - self._failed):
            await self._each_by_itself("letting runs follow of", self._succession.succeed(shard_value), shard_value)
        for run_key in sorted(self._to_acquit):
            await self._each_by_itself("ending trials of", self._acquit(run_key), run_key.workflow_name_shard)
        for shard_value in sorted(self._to_try.keys() - self._failed):
            trying = self._try_suspects(shard_value)
            found |= bool(await self._each_by_itself("trying suspects of", trying, shard_value))
        # The first one moves to the end: a crowded shard value must not starve the others.
        self._shard_values.append(self._shard_values.pop(0))
        for shard_value in list(self._shard_values):
            is_to_claim = shard_value in self._to_claim and self._executions.free_places(self.workflow) > 0
            if shard_value not in self._failed and (is_to_claim or shard_value in self._to_route):
                found |= bool(await self._each_by_itself("claiming runs of", self._visit(shard_value), shard_value))
        return found

    async def _each_by_itself(self, what: str, look: Awaitable[T], shard_value: str) -> T | None:
        """Looks at one shard value. If that fails, for example because its node is down, it is looked at again later
        and holds up no other. ``PoolTimeout`` is raised: if no connection can be had, the others would fail as well."""
        duty = f"{what} {shard_value}"
        try:
            seen = await look
        except PoolTimeout:
            raise
        except Exception as error:
            self._failed.add(shard_value)
            self._outages.failed(duty, error, partial(self._look_again, shard_value), **self._extra)
            return None
        self._outages.succeeded(duty)
        return seen

    def _look_again(self, shard_value: str) -> None:
        self._failed.discard(shard_value)
        self._to_claim.add(shard_value)
        self._to_route.add(shard_value)
        self._awake.set()

    async def _try_suspects(self, shard_value: str, *, most: int = _MAX_CLAIMED) -> bool:
        """Claims those of the suspects that may be tried now. For the others, it is asked again later. Returns whether
        any were claimed."""
        found = False
        for kind in self._to_try.pop(shard_value, ()):
            places = min(self._executions.places(self.workflow), most)
            places = min(places, self._isolation.places(kind)) if places > 0 else 0
            if places <= 0:
                self._try_later(shard_value, kind)
                continue
            with self._isolation.trying(kind):
                found |= await self._visit(shard_value, most=places, isolation=kind)
        return found

    def _try_later(self, shard_value: str, kind: Kind) -> None:
        if shard_value not in self._to_try_later:
            self._clock.call_later(_TRY_AGAIN_SECONDS, self._try_again, shard_value)
        self._to_try_later.setdefault(shard_value, set()).add(kind)

    def _try_again(self, shard_value: str) -> None:
        self._to_try.setdefault(shard_value, sorted(self._to_try_later.pop(shard_value)))
        self._awake.set()

    async def _acquit(self, run_key: RunKey) -> None:
        epoch = self._to_acquit.pop(run_key)
        try:
            async with self._database.engine() as connection:
                await connection.run(end_trial(run_key, epoch))
        except BaseException:
            self._clock.call_later(_ACQUIT_SECONDS, self._trial_over, run_key, epoch)
            raise
        self._isolation.trial_is_over(run_key.run_id)

    async def _visit(self, shard_value: str, *, most: int = _MAX_CLAIMED, isolation: Kind | None = None) -> bool:
        """Returns whether runs were claimed."""
        claimable = self._claimable.pop(shard_value, _MAX_CLAIMED)
        free = most if isolation else min(self._executions.free_places(self.workflow), most)
        limit = min(free, claimable)
        is_routing = isolation is None and shard_value in self._to_route
        # Before asking, because a hint that arrives while the answer is on its way may concern something newer.
        if is_routing:
            self._to_route.discard(shard_value)
        if limit > 0 and isolation is None:
            self._to_claim.discard(shard_value)
            self._wakes.pop(shard_value, None)
            self._later_looks.cancel(shard_value)
        asked = visit(
            shard_value,
            self._worker_id(),
            is_routing=is_routing,
            routing_limit=self._detours.limit(shard_value),
            left_out=self._detours.left_out(),
            limit=limit,
            left_to_others=self._asides.run_ids(),
            hold=self._executions.hold,
            isolation=isolation,
            sequel_of=self._executions.sequels.after_cancel(shard_value),
        )
        is_asked = False
        with self._isolation.claiming():
            try:
                async with self._database.engine() as connection:
                    is_asked = True
                    visited = await connection.run(asked)
            except BaseException as error:
                if is_asked:
                    self.run_lost(shard_value)  # runs may have been claimed, but were not submitted
                    self._executions.visit_failed(shard_value, is_routing=is_routing)
                self._claimable[shard_value] = max(limit // 2, 1) if limit > 0 else claimable
                if isinstance(error, EndsBlocked):
                    self._detours.blocked(shard_value, error.children)
                    self._clock.call_later(BLOCKED_SECONDS, self._look_at_events, shard_value)
                    raise error.error from error
                raise
            for event in visited.live:
                self._executions.deliver(event)
            self._executions.submit(self.workflow, shard_value, visited.claimed, isolation)
        if claimable < _MAX_CLAIMED:
            self._claimable[shard_value] = min(2 * claimable, _MAX_CLAIMED)
        if is_routing:
            self._detours.routed(shard_value)
        self._take_note(shard_value, visited, isolation)
        return bool(visited.claimed)

    def _take_note(self, shard_value: str, visited: Visited, isolation: Kind | None) -> None:
        if visited.is_more_to_claim:
            self._to_claim.add(shard_value)
        if visited.is_more_to_route:
            self._clock.call_later(_MIN_SECONDS, self._look_at_events, shard_value)
        for run_id in visited.unchanged:
            _logger.warning("run %s:%s has no time that could be changed as requested", shard_value, run_id)
        if visited.is_next:
            self._succession.note(shard_value)
        wake = visited.next_wake
        if wake.wake_in is not None and wake.moment is not None:
            pause = self.precedence.pause_after_wake(shard_value, wake.moment)
            if pause > 0 and wake.wake_in > STAND_IN_SECONDS:
                self._later_looks.plan(shard_value, wake.wake_in + pause)
            else:
                self._note_wake(shard_value, wake.wake_in)
        if wake.suspects:
            self._to_try.setdefault(shard_value, wake.suspects)
        if isolation in ("alone", "sole"):
            for run, _ in visited.claimed:
                self._clock.call_later(TRIAL_SECONDS, self._trial_over, RunKey(shard_value, run.run_id), run.epoch)
        if visited.is_more_to_claim and self.precedence.has_others and self._executions.free_places(self.workflow) <= 0:
            self._passed_on.waiting([shard_value])
            self._awake.set()

    def _look_at_events(self, shard_value: str) -> None:
        self.work_arrived(shard_value, is_event=True)
