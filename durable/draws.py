"""What a run draws from the world: random values and the time. Each is stored, so a replay draws nothing."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from datetime import datetime

from durable.core.commands import Draw
from durable.ids import uuid7

_random = random.SystemRandom()


def draw(call: Draw, now: Callable[[], datetime]) -> object:
    """A fresh value. ``now`` tells the time by the database's clock."""
    match call.source:
        case "random_uuid7":
            return uuid7()
        case "random_uint64":
            return int.from_bytes(os.urandom(8))
        case "random":
            return _random.random()
        case "now":
            return now()
