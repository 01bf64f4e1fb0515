"""Draws the states of a run from ``durable.core.runs.TRANSITIONS`` into ARCHITECTURE.md.

python .ci/states.py            rewrites the diagram
python .ci/states.py --check    fails if it is not the one of the table
"""

from __future__ import annotations

import sys
from pathlib import Path

from durable.core.runs import BEGINNINGS, TERMINAL, TRANSITIONS

PAGE = Path(__file__).parents[1] / "ARCHITECTURE.md"
BEGIN, END = "<!-- states: drawn by .ci/states.py -->\n", "<!-- states -->\n"


def diagram() -> str:
    """Mermaid, an arrow for each pair of states, labeled with the acts that lead along it."""
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f"    [*] --> {status}: {acts(names)}" for status, names in BEGINNINGS.items()]
    lines += [f"    {before} --> {after}: {acts(names)}" for (before, after), names in TRANSITIONS.items()]
    lines += [f"    {status} --> [*]" for status in sorted(TERMINAL)]
    return "\n".join([*lines, "```", ""])


def acts(statements: frozenset[str]) -> str:
    return ", ".join(sorted(name.rpartition("/")[2] for name in statements))


def main() -> int:
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    drawn = f"{before}{BEGIN}{diagram()}{END}{after}"
    if "--check" in sys.argv:
        if drawn != page:
            print("ARCHITECTURE.md does not show the states of the table: run `python .ci/states.py`", file=sys.stderr)
        return int(drawn != page)
    PAGE.write_text(drawn, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
