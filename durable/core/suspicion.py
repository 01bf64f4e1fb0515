"""Runs that may have killed their workers: how they are tried, and when one is condemned.

A worker that dies takes all its runs with it, and nothing tells which of them was the cause, or whether it was one of
them at all. A death is therefore a *strike* against each run that has recorded nothing new since the strike before, and
never more than a suspicion. From the second strike in a row, a run is put on trial, after a growing pause, with ever
less company: first in a group, so that one cause among many runs is found by few deaths while the others go on; then
alone; in the end as the only suspect of its worker for many minutes, because some causes work slowly. What survives
its trial is no longer apart from others. A run is condemned only for *lone* strikes: deaths while it was on trial alone
or as the sole suspect.

The pauses keep an operator or a series of deploys from meeting the same run in all its trials. Ordinary runs are kept
away from a trial for seconds only, and between two trials they have as much time as the trial took.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import msgspec

from durable.core.retry import exponential

Isolation = Literal["group", "alone", "sole"]
"""How a suspect is tried next. ``alone``: beside runs that have been executing there for a while. ``sole``: as well,
and beside no other suspect."""

SUSPECT_STRIKES = 2
ALONE_STRIKES = 3
SOLE_STRIKES = 6
GROUP_SIZE = 8
"""At most this many members of groups are on trial in a worker at once."""
TRIAL_SECONDS = 10.0
"""How long a trial lasts, and how long a run has to execute in order to be company for one."""
SOLE_SECONDS = 600.0
"""How long no other suspect begins beside a sole one."""
PAUSE = exponential(0.5, 300)
"""Between a death and the next trial; the second strike in a row counts as the first failure."""


class Companion(msgspec.Struct, frozen=True):
    """A run that a worker is executing, for that many seconds by now. ``isolation`` is how it was claimed; ``None``
    means that it was not under suspicion."""

    seconds: float
    isolation: Isolation | None = None


def isolation_after(strikes: int, *, had_company: bool) -> Isolation | None:
    """Returns how a run is tried after that many strikes in a row, ``None`` if it is not under suspicion. A run that
    has never died in company needs no group."""
    if strikes < SUSPECT_STRIKES:
        return None
    if strikes >= SOLE_STRIKES:
        return "sole"
    return "alone" if strikes >= ALONE_STRIKES or not had_company else "group"


def may_begin(isolation: Isolation, here: Collection[Companion]) -> int:
    """Returns how many suspects of that kind a worker may claim now, given what it is executing."""
    on_trial = [one for one in here if one.isolation is not None and one.seconds < TRIAL_SECONDS]
    soles = [one for one in here if one.isolation == "sole" and one.seconds < SOLE_SECONDS]
    if soles:
        return 0
    if isolation == "group":
        are_apart = any(one.isolation != "group" for one in on_trial)
        return 0 if are_apart else max(GROUP_SIZE - len(on_trial), 0)
    if isolation == "sole" and any(one.isolation is not None for one in here):
        return 0
    return 0 if any(one.seconds < TRIAL_SECONDS for one in here) else 1
