"""Keeps the number of time series bounded."""

from __future__ import annotations

OTHER = "other"
_MOST = 100


class Labels:
    """Lets through the first values it sees, and answers ``other`` for the rest."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._known: set[str] = set()

    def bounded(self, value: str) -> str:
        """Returns the value, or ``other`` if there are too many."""
        if value not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(value)
        return value
