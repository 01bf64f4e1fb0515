"""The table of the ancestor's scenarios says the truth."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
TABLE = (HERE / "README.md").read_text()


def test_every_scenario_has_one_row_and_the_rows_are_counted() -> None:
    verdicts = re.findall(r"^\| (\d+) \|.*\| (held in part|held|superseded)[^|]*\|$", TABLE, re.MULTILINE)
    assert [int(number) for number, _ in verdicts] == list(range(1, 84))

    kinds = [verdict for _, verdict in verdicts]
    held, in_part, superseded = (kinds.count(kind) for kind in ("held", "held in part", "superseded"))
    assert f"**{held} held, {in_part} held in part, {superseded} superseded by a stronger rule, 0 missing.**" in TABLE


def test_every_test_of_the_table_exists() -> None:
    links = re.findall(r"\[(\w+\.py)::(\w+)(?:\[[^]]*\])?\]\(([\w./]+)\)", TABLE)
    assert len(links) >= 83
    for name, test, path in links:
        file = HERE / path
        assert file.name == name
        assert re.search(rf"def {test}\b", file.read_text()), f"{path}::{test}"
