"""The tables of the ancestor's scenarios and behaviours say the truth."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TEXT = (HERE / "heritage.md").read_text()
SCENARIOS, _, BEHAVIOURS = TEXT.partition("\n## Behaviours\n")

FAMILIES = {"C": 12, "S": 6, "R": 12, "E": 10, "L": 7, "N": 2, "A": 7, "K": 16, "W": 15, "F": 4, "D": 4}
"""How many behaviours there are under each letter."""

LINK = r"\[(\w+\.py)::(\w+)(?:\[[^]]*\])?\]\(([\w./]+)\)"


def verdicts_of(table: str, identifier: str) -> list[tuple[str, str]]:
    """The first and the last column of each row; rows without a linked test or a verdict are none."""
    row = rf"^\| ({identifier}) \|.*\]\([\w./]+\) \| (held in part: |held\b|superseded: )[^|]*\|$"
    return [(name, verdict.rstrip(": ")) for name, verdict in re.findall(row, table, re.MULTILINE)]


def counts(verdicts: list[tuple[str, str]]) -> list[int]:
    kinds = [verdict for _, verdict in verdicts]
    return [kinds.count(kind) for kind in ("held", "held in part", "superseded")]


def test_every_scenario_has_one_row_and_the_rows_are_counted() -> None:
    verdicts = verdicts_of(SCENARIOS, r"\d+")
    assert [int(number) for number, _ in verdicts] == list(range(1, 84))

    held, in_part, superseded = counts(verdicts)
    stated = f"**{held} held, {in_part} held in part, {superseded} superseded by a stronger rule, 0 missing.**"
    assert stated in SCENARIOS


def test_every_behaviour_has_one_row_and_the_rows_are_counted() -> None:
    verdicts = verdicts_of(BEHAVIOURS, r"[A-Z]\d+")
    expected = [f"{letter}{number}" for letter, count in FAMILIES.items() for number in range(1, count + 1)]
    assert [name for name, _ in verdicts] == expected

    held, in_part, superseded = counts(verdicts)
    stated = (
        f"**{held} of {len(expected)} behaviours held, {in_part} held in part,"
        f" {superseded} superseded by a stronger rule, 0 missing.**"
    )
    assert stated in BEHAVIOURS


@pytest.mark.parametrize(("table", "least"), [(SCENARIOS, 83), (BEHAVIOURS, 95)], ids=["scenarios", "behaviours"])
def test_every_test_of_the_tables_exists(table: str, least: int) -> None:
    links = re.findall(LINK, table)
    assert len(links) >= least
    assert len(links) == table.count(".py::")
    for name, test, path in links:
        file = HERE / path
        assert file.name == name
        assert re.search(rf"def {test}\b", file.read_text()), f"{path}::{test}"


def test_every_test_with_the_number_of_a_scenario_is_linked() -> None:
    written = {
        (file.name, test)
        for file in HERE.rglob("test_*.py")
        for test in re.findall(r"^(?:async )?def (test_\d\d_\w+)", file.read_text(), re.MULTILINE)
    }
    assert written == {(name, test) for name, test, _ in re.findall(LINK, SCENARIOS) if re.match(r"test_\d\d_", test)}
