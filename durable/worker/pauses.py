"""What a worker logs about workflows that are paused."""

from __future__ import annotations

import logging
from collections.abc import Collection

_logger = logging.getLogger("durable.worker")


def tell_pauses(before: frozenset[str], now: frozenset[str], ours: Collection[str]) -> None:
    """Logs which of our workflows were paused or resumed."""
    for name in sorted(set(ours) & (now - before)):
        _logger.warning("workflow %s is paused: its runs are not claimed until it is resumed", name)
    for name in sorted(set(ours) & (before - now)):
        _logger.info("workflow %s was resumed: its runs are claimed again", name)
