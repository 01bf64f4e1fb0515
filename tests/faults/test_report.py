"""The page of faults says what the campaign has found, and nothing else."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.faults.play import Result
from tests.faults.report import ABSENT, FIGURES, INVARIANTS, PAGE, ROWS, page, publish, read
from tests.faults.stage import Violation, load_faults

_PLAYED = Result(
    name="killed",
    row=1,
    how="SIGKILL",
    target="0 lost",
    size="campaign",
    seed=7,
    injected=1200,
    runs=34_000,
    seconds=90.0,
    violations=[],
    recoveries=[0.5, 1.0, 1.5],
    oldest_transaction=0.1,
    errors=[],
    postgres="18.0",
)


def test_a_line_tells_what_was_found(tmp_path: Path) -> None:
    figures = tmp_path / "faults.json"
    publish([_PLAYED], figures)
    assert "| 1 | **killed** SIGKILL | 1,200 | 34,000 | 0 | 1.00 / 1.50 | 0 lost |" in page(read(figures))


def test_a_violation_and_a_fault_that_was_not_run_are_told(tmp_path: Path) -> None:
    figures = tmp_path / "faults.json"
    wrong = [Violation("I9", "one"), Violation("I13", "two"), Violation("I9", "three")]
    publish([msgspec.structs.replace(_PLAYED, violations=wrong)], figures)
    publish([msgspec.structs.replace(_PLAYED, name="pooled", row=15, postgres="", not_run="no pgbouncer")], figures)
    text = page(read(figures))
    assert "| **3** (I9, I13) |" in text
    assert "3 violations.**" in text
    assert "not run: no pgbouncer" in text


def test_what_is_played_again_takes_the_place_of_what_was_before(tmp_path: Path) -> None:
    figures = tmp_path / "faults.json"
    other = msgspec.structs.replace(_PLAYED, name="zombie", row=2)
    publish([other, _PLAYED], figures)
    publish([msgspec.structs.replace(_PLAYED, injected=5)], figures)
    assert [(row.fault, row.injected) for row in read(figures).faults] == [("killed", 5), ("zombie", 1200)]


def test_figures_of_another_postgres_are_not_mixed_with_these(tmp_path: Path) -> None:
    figures = tmp_path / "faults.json"
    publish([msgspec.structs.replace(_PLAYED, name="zombie", row=2)], figures)
    publish([msgspec.structs.replace(_PLAYED, postgres="15.1")], figures)
    assert [row.fault for row in read(figures).faults] == ["killed"]


def test_every_row_of_the_matrix_is_played_or_has_a_reason_not_to_be() -> None:
    played = {fault.row for fault in load_faults().values()}
    assert played | set(ABSENT) == set(range(1, ROWS + 1))
    assert not played & set(ABSENT)


def test_every_invariant_is_explained() -> None:
    assert list(INVARIANTS) == [f"I{number}" for number in range(1, 14)]


@pytest.mark.skipif(not FIGURES.exists(), reason="no campaign has been published")
def test_the_page_is_that_of_the_figures() -> None:
    assert PAGE.read_text() == page(read())


@pytest.mark.skipif(not FIGURES.exists(), reason="no campaign has been published")
def test_the_figures_are_of_all_faults() -> None:
    assert [row.fault for row in read().faults] == list(load_faults())
