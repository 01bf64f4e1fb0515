"""The table of the failure modes says the truth."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.failure_modes.lines import FAMILIES, LINES, ROOT, Line, failure_modes_table

NUMBERS = [f"{letter}{number}" for letter, count in FAMILIES.items() for number in range(1, count + 1)]


def test_every_line_is_there_once_and_in_its_place() -> None:
    assert [line.number for line in LINES] == NUMBERS
    assert [row.split(" ")[1] for row in failure_modes_table().splitlines()[2:]] == NUMBERS


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.number)
def test_every_line_has_tests_that_exist_or_a_reason(line: Line) -> None:
    assert line.tests or line.note
    assert line.note or not line.is_open
    for test in line.tests:
        path, _, name = test.partition("::")
        assert re.search(rf"def {name}\b", (ROOT / path).read_text()), test


def test_every_test_of_this_room_is_named_after_a_line() -> None:
    for path in Path(__file__).parent.glob("test_*.py"):
        if path == Path(__file__):
            continue
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE):
            numbers = re.findall(r"(?:_|^)([a-h]\d+)(?=_)", name)
            assert numbers, name
            assert all(number.upper() in NUMBERS for number in numbers), name
