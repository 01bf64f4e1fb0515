"""Runs that may belong to this worker according to their rows, although they are not executed here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any

from durable.core.replay.workflow import Workflow
from durable.core.runs import RunKey
from durable.store.takeovers import take_over
from durable.worker.clock import Clock
from durable.worker.database import Database
from durable.worker.executions import Executions

_logger = logging.getLogger("durable.worker")

_MAX_RELEASED = 1000
_SECONDS = 1.0


class LostRuns:
    """The lost runs of one workflow, by shard value and with the culprits. They are released in a second at most: a
    claim may still be on its way to the database. ``due`` is called when some can be released."""

    def __init__(
        self,
        workflow: Workflow[Any, Any],
        database: Database,
        executions: Executions,
        worker_id: Callable[[], str],
        clock: Clock,
        *,
        max_strikes: int,
        due: Callable[[], None],
    ) -> None:
        self._workflow = workflow
        self._database = database
        self._executions = executions
        self._worker_id = worker_id
        self._clock = clock
        self._max_strikes = max_strikes
        self._call_due = due
        self._due: dict[str, set[str]] = {}
        self._noted: dict[str, set[str]] = {}
        """Each has one timer."""
        self._noted_later: dict[str, set[str]] = {}

    @property
    def due(self) -> set[str]:
        """The shard values of which runs can be released."""
        return set(self._due)

    def note(self, shard_value: str, culprits: Collection[str]) -> None:
        """Notes that a run was lost; the culprits, given by their ids, are to blame for that themselves."""
        if shard_value not in self._noted:
            self._noted[shard_value] = set(culprits)
            self._clock.call_later(_SECONDS, self._have_waited, shard_value)
        else:  # this one needs a second of its own
            self._noted_later.setdefault(shard_value, set()).update(culprits)

    def _have_waited(self, shard_value: str) -> None:
        self._are_due(shard_value, self._noted.pop(shard_value))
        if shard_value in self._noted_later:
            self.note(shard_value, self._noted_later.pop(shard_value))

    def _are_due(self, shard_value: str, culprits: Collection[str]) -> None:
        self._due.setdefault(shard_value, set()).update(culprits)
        self._call_due()

    async def release(self, shard_value: str) -> None:
        """Releases the lost runs of that shard value."""
        culprits = self._due.pop(shard_value)
        try:
            async with self._database.engine() as connection:
                # Looked up here, between two claims, because runs that are claimed but not submitted would seem lost.
                held = self._executions.held_runs(self._workflow)
                taken = await connection.run(
                    take_over(
                        shard_value,
                        self._worker_id(),
                        _MAX_RELEASED,
                        max_strikes=self._max_strikes,
                        held=held,
                        culprits=sorted(culprits),
                        is_death=False,
                        sequel_of=self._executions.sequels.after_failure(shard_value),
                    )
                )
        except BaseException:
            self._due.setdefault(shard_value, set()).update(culprits)
            raise
        released = (*taken.queued, *taken.failed)
        if len(released) == _MAX_RELEASED:
            self._are_due(shard_value, culprits)
        for run_id in released:
            run_key = RunKey(shard_value, run_id)
            extra = {"run_key": str(run_key)}
            _logger.error("run %s was not being executed by the worker that owned it; released", run_key, extra=extra)
