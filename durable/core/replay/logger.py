"""The logger of a run, which says nothing again on replay."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from durable.core.replay.machine import Machine
from durable.core.runs import RunKey


class ReplayAwareLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds the run's key as ``extra``. Is silent while the run replays, and once it has left."""

    def __init__(self, machine: Machine, run_key: RunKey) -> None:
        super().__init__(logging.getLogger("durable.workflow"), {"run_key": str(run_key)})
        self._machine = machine

    def isEnabledFor(self, level: int) -> bool:
        machine = self._machine
        return not machine.is_replaying and not machine.is_closed and super().isEnabledFor(level)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs
