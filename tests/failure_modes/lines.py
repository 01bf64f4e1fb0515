"""What can go wrong in systems like this one, and which tests show that it does not here."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
FAMILIES = {"A": 10, "B": 22, "C": 37, "D": 23, "E": 14, "F": 12, "G": 3, "H": 7, "P": 10, "R": 3, "S": 12}
"""How many lines there are under each letter."""

_TEST = re.compile(r"^(?:async )?def (test_([a-h])(\d+)(?:_to_[a-h](\d+))?_\w+)", re.MULTILINE)


class Line(NamedTuple):
    """One of ``lines.toml``, where the fields are explained."""

    number: str
    wrong: str
    elsewhere: tuple[str, ...] = ()
    note: str = ""
    is_open: bool = False

    @property
    def tests(self) -> tuple[str, ...]:
        """All that hold it."""
        return (*_tests_by_number().get(self.number, ()), *(f"tests/{test}" for test in self.elsewhere))


def _tests_by_number() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for name, letter, first, last in _TEST.findall(path.read_text()):
            for number in range(int(first), int(last or first) + 1):
                found.setdefault(f"{letter.upper()}{number}", []).append(f"{path.relative_to(ROOT)}::{name}")
    return found


def failure_modes_table() -> str:
    """The table in Markdown, with links as seen from ``docs/``."""
    rows = ["| | what can go wrong | what shows that it does not here |", "|---|---|---|"]
    for line in LINES:
        links = [f"[{test.partition('::')[2]}](../{test.partition('::')[0]})" for test in line.tests]
        note = f"**not yet:** {line.note}" if line.is_open else line.note
        rows.append(f"| {line.number} | {line.wrong} | {'<br>'.join([*links, *([note] if note else [])])} |")
    return "\n".join(rows) + "\n"


def _read() -> Iterator[Line]:
    table = tomllib.loads((Path(__file__).parent / "lines.toml").read_text())
    for number, line in table.items():
        yield Line(
            number,
            line.pop("wrong"),
            tuple(line.pop("elsewhere", ())),
            line.pop("note", ""),
            line.pop("open", False),
        )
        assert not line, (number, line)


LINES = tuple(_read())
