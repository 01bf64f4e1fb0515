"""The signs of life that a step gives while it is being executed, from its thread too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from durable.core.codec.json_codec import Codec
from durable.core.replay.commands import Execute


class Pulse:
    """Belongs to one try. ``said`` is called in the event loop with the call and an encoded detail. ``last`` is when
    the step last gave a sign of life, by ``time.monotonic()``."""

    __slots__ = ("_call", "_codec", "_loop", "_said", "last", "noticed")

    def __init__(
        self,
        call: Execute,
        codec: Codec,
        loop: asyncio.AbstractEventLoop,
        said: Callable[[Execute, str], None],
    ) -> None:
        self._call = call
        self._codec = codec
        self._loop = loop
        self._said = said
        self.last = 0.0
        self.noticed: Callable[[], None] | None = None
        """Called in the event loop after each sign of life."""

    def beat(self, detail: object) -> None:
        """Notes that the step is alive. Raises ``SerializationError`` for a detail that cannot be stored."""
        text = None if detail is None else self._codec.encode(detail, f"a detail of step {self._call.key!r}")
        self.last = time.monotonic()
        if self.noticed is not None:
            self._loop.call_soon_threadsafe(self.noticed)
        if text is not None:
            self._loop.call_soon_threadsafe(self._said, self._call, text)
