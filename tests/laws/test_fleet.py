"""Suspects in a simulated fleet of workers."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings

from tests.laws.fleet import Kinds, fleets, only_what_kills_its_workers_is_condemned


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(fleets())
def test_whoever_dies_with_whom_only_what_kills_its_workers_is_condemned(kinds: Kinds) -> None:
    only_what_kills_its_workers_is_condemned(kinds)
