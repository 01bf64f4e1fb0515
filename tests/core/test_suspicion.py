"""How suspects are tried."""

from __future__ import annotations

import pytest

from durable.core.suspicion import (
    GROUP_SIZE,
    SOLE_SECONDS,
    TRIAL_SECONDS,
    Companion,
    Isolation,
    isolation_after,
    may_begin,
)

NEW, OLD, ANCIENT = 0.0, TRIAL_SECONDS, SOLE_SECONDS


def test_suspicion_grows_with_every_strike_in_a_row() -> None:
    tried = [isolation_after(strikes, had_company=True) for strikes in range(8)]
    assert tried == [None, None, "group", "alone", "alone", "alone", "sole", "sole"]
    assert isolation_after(2, had_company=False) == "alone"
    assert isolation_after(1, had_company=False) is None


@pytest.mark.parametrize(
    ("isolation", "here", "places"),
    [
        ("group", [], GROUP_SIZE),
        ("group", [Companion(NEW)], GROUP_SIZE),
        ("group", [Companion(NEW, "group")] * 3, GROUP_SIZE - 3),
        ("group", [Companion(OLD, "group")] * 3, GROUP_SIZE),
        ("group", [Companion(NEW, "group")] * (GROUP_SIZE + 1), 0),
        ("group", [Companion(NEW, "alone")], 0),
        ("group", [Companion(OLD, "alone")], GROUP_SIZE),
        ("alone", [], 1),
        ("alone", [Companion(NEW)], 0),
        ("alone", [Companion(OLD)], 1),
        ("alone", [Companion(OLD), Companion(NEW, "group")], 0),
        ("alone", [Companion(OLD, "alone"), Companion(OLD, "group")], 1),
        ("sole", [], 1),
        ("sole", [Companion(OLD)], 1),
        ("sole", [Companion(OLD, "group")], 0),
        ("sole", [Companion(ANCIENT, "sole")], 0),
    ],
)
def test_a_suspect_begins_only_in_the_company_that_its_trial_allows(
    isolation: Isolation, here: list[Companion], places: int
) -> None:
    assert may_begin(isolation, here) == places


@pytest.mark.parametrize("isolation", ["group", "alone", "sole"])
def test_no_suspect_begins_beside_a_sole_one_for_minutes(isolation: Isolation) -> None:
    assert may_begin(isolation, [Companion(SOLE_SECONDS - 1, "sole")]) == 0
