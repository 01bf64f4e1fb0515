"""What happens after the ends of runs with keys, so that at most one run of each key executes; see
``store/successors``."""

from __future__ import annotations

import logging
from collections.abc import Callable

from durable.core.codec.json_codec import Codec
from durable.core.codec.places import is_bound
from durable.core.runs import RunKey
from durable.postgres.outages import is_blocked
from durable.store.successors import SuccessorsRefused, succeed
from durable.worker.asides import Asides
from durable.worker.clock import Clock
from durable.worker.database import Database

_logger = logging.getLogger("durable.worker")

_MAX_ENDED = 500
_LOCK_SECONDS = 0.1
_BLOCKED_SECONDS = 2.0
"""How long a run is left out after whose end another one cannot be begun, because a client has begun the same one in a
transaction that is still open."""
_AGAIN_SECONDS = 0.05


class Succession:
    """``due`` is called when there is something to do, and ``look`` with a shard value at which something was done or
    must be looked at again."""

    def __init__(
        self, database: Database, clock: Clock, codec: Codec, due: Callable[[], None], look: Callable[[str], None]
    ) -> None:
        self._codec = codec if is_bound(codec) else None
        self._database = database
        self._clock = clock
        self._call_due = due
        self._look = look
        self._blocked = Asides(clock)
        self._limits: dict[str, int] = {}
        self.due: set[str] = set()
        """The shard values with runs that have ended and after which something is to happen."""

    def note(self, shard_value: str) -> None:
        """Notes that a run has ended, and that something is to happen now."""
        self.due.add(shard_value)
        self._call_due()

    async def succeed(self, shard_value: str) -> None:
        """Lets that happen."""
        self.due.discard(shard_value)
        limit = self._limits.pop(shard_value, _MAX_ENDED)
        left_out = self._blocked.run_ids()
        try:
            async with self._database.engine() as connection:
                done = await connection.run(
                    succeed(shard_value, limit, left_out=left_out, lock_seconds=_LOCK_SECONDS, codec=self._codec)
                )
        except SuccessorsRefused as refused:
            if not is_blocked(refused.error):
                self.due.add(shard_value)
                raise refused.error from refused
            if len(refused.run_ids) == 1:
                self._blocked.add(refused.run_ids[0], _BLOCKED_SECONDS)
                self._clock.call_later(_BLOCKED_SECONDS, self.note, shard_value)
            else:
                self._limits[shard_value] = 1
            self.note(shard_value)
            return
        except BaseException:
            self.due.add(shard_value)
            raise
        for run_id in done.futile:
            run_key = RunKey(shard_value, run_id)
            extra = {"run_key": str(run_key)}
            _logger.warning(
                "run %s has read no event, and no other run is begun for those that it has left",
                run_key,
                extra=extra,
            )
        if done.is_any:
            if limit < _MAX_ENDED:
                self._limits[shard_value] = 2 * limit
            self._look(shard_value)
        elif not left_out:
            self._clock.call_later(_AGAIN_SECONDS, self._look, shard_value)  # somebody else has locked the run
