"""One reason why a run is not moving."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

Severity = Literal["wrong", "waiting", "ended"]
"""Something must be done about it; it goes on by itself or when what it waits for comes; it goes on no more."""


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """One reason. ``code`` is its name for programs; ``since`` is when it began, if that is known; ``remedy`` is what
    can be done about it, ``None`` if nothing need be. ``causes`` are those of a child that the run waits for."""

    code: str
    sentence: str
    severity: Severity
    since: datetime | None = None
    remedy: str | None = None
    causes: tuple[Cause, ...] = ()
