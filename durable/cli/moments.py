"""Moments on the command line."""

from __future__ import annotations

from datetime import datetime

from durable.core.errors import InvalidArgument


def moment_of(option: str, text: str) -> datetime:
    """Returns the moment that the text is. Raises ``InvalidArgument`` unless it has a zone."""
    rule = "a moment with its zone, such as 2026-03-01T00:00Z or 2026-03-01T09:00+09:00"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidArgument(option, text, rule) from None
    if moment.tzinfo is None:
        raise InvalidArgument(option, text, rule)
    return moment
