"""What is drawn for one simulated run."""

from __future__ import annotations

import msgspec

from tests.laws.programs import Node


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A program and all that happens to it. Moments are counted from 1; at each the worker may crash or be
    stopped, the clock of the database jump, or the run be asked for something."""

    program: Node
    seed: int
    crashes: frozenset[int] = frozenset()
    stops: frozenset[int] = frozenset()
    jumps: frozenset[int] = frozenset()
    request_at: int | None = None
    request: str = "cancel"
    pauses: frozenset[int] = frozenset()
    """When a pause of the run is requested."""
    resumes: frozenset[int] = frozenset()
    """When it is requested that the run go on, besides whenever it stands still for long."""
    deadline: float | None = None
    max_attempts: int = 1
    events: int | None = None
    """How many are published unasked; else a random number."""
    chapters: int = 1
    """In how many the program is run; it continues as new after each that ends well."""
    drawn_from: int | None = None
    """Makes what is drawn a function of this and the key, instead of new in every world."""
