"""The laws of replay at length: ``python -m tests.laws.replay_campaign --examples 1000000``."""

from __future__ import annotations

import argparse
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Verbosity, given, seed, settings

from tests.laws import laws
from tests.laws.laws import cases, confluent_cases, edits, edits_of_timers
from tests.laws.programs import timed_programs

LAWS: dict[str, tuple[Any, Callable[[Any], object], float]] = {
    "random crashes": (cases(), laws.a_run_is_what_its_history_says, 0.5),
    "every single crash": (cases(), laws.every_single_crash_changes_nothing, 0.02),
    "no races": (confluent_cases(), lambda drawn: laws.crashes_and_order_change_no_result(*drawn), 0.1),
    "timers": (cases(timed_programs()), laws.a_run_is_what_its_history_says, 0.2),
    "changed code": (edits(), lambda drawn: laws.changed_code_goes_on_or_is_set_aside(*drawn), 0.1),
    "changed timers": (edits_of_timers(), lambda drawn: laws.changed_code_goes_on_or_is_set_aside(*drawn), 0.08),
}
"""What is drawn, the law, and its share of the examples. ``every single crash`` runs each program about 15 times."""


def hold(name: str, examples: int, number: int) -> int:
    """Raises for the first example, made as small as it gets, that breaks the law. Returns how many were tried."""
    drawn, law, _ = LAWS[name]
    tried = Counter[str]()

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        print_blob=True,
        verbosity=Verbosity.normal,
        suppress_health_check=list(HealthCheck),
    )
    @given(drawn)
    def keeps(example: Any) -> None:
        tried["programs"] += 1
        law(example)

    keeps()
    return tried["programs"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0, help="the same seed draws the same programs")
    parser.add_argument("--law", choices=tuple(LAWS), action="append", help="only these; by default all")
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    for name in chosen.law or LAWS:
        started = time.monotonic()
        tried = hold(name, max(1, round(chosen.examples * LAWS[name][2])), chosen.seed)
        print(f"{name}: {tried} programs in {time.monotonic() - started:.0f} s, nothing found", flush=True)


if __name__ == "__main__":
    main()
