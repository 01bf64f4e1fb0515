"""``python -m tests.faults.report``: generates docs/faults.md from docs/faults.json, which the campaign writes."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec

from tests.failure_modes.lines import failure_modes_table
from tests.faults.play import Result, quantile
from tests.faults.stage import Size, Violation, load_faults

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "docs" / "faults.json"
PAGE = ROOT / "docs" / "faults.md"
ROWS = 33
ABSENT = {
    24: ("Citus: coordinator crash", "needs a cluster of several Citus nodes, which is not supported yet"),
    25: ("Citus: data node crash, partition", "needs a cluster of several Citus nodes, which is not supported yet"),
    26: ("Citus: visibility", "needs a cluster of several Citus nodes, which is not supported yet"),
    27: ("Soak", "takes hours, run by hand: `python -m tests.faults --soak`; its figures are not part of this table"),
}
"""Rows of the matrix that no fault plays, and the reason."""

_INTRODUCTION = """\
# Faults: what was broken, and what was lost

Bank transfers in transaction steps, steps with outside effects, sleeps, events with and without timeouts, asyncio's
own timers, parents and children, parallel branches and races, failing and retried runs, cancels with clean-up, and
schedules run on a real Postgres with `fsync` on, in several real worker processes. Meanwhile, each line of the table
breaks something as many times as it says. Once everything is at rest, an oracle checks the tables, what triggers noted
of each write, and a journal that the steps keep on connections of their own. The oracle itself is tested: each kind of
violation is planted and must be found ([test_harness.py](../tests/faults/test_harness.py)).
"""

INVARIANTS = {
    "I1": "a step whose memo is committed never starts again",
    "I2": "every begin that was confirmed leads to an end, and no run executes whose begin was rolled back",
    "I3": "a run ends exactly once for each time that it was begun or retried",
    "I4": "an event is received once and in order, and no run sleeps while an event for it is there; no sleep and no"
    " timeout ends early; a parent is notified of each child's end",
    "I5": "the sum of all accounts is constant, and the ledger has one entry for each transaction step",
    "I6": "the ticks that fired are exactly those of the timetable",
    "I7": "only the worker that owns a run writes anything about it",
    "I8": "the owners of a run follow each other without a gap or an overlap",
    "I9": "every output follows from the input and the memos, and no answer that is recorded is changed",
    "I10": "recovery takes no longer than the target",
    "I11": "workers end when they are told to and only then; no run stays owned, and no connection is left behind",
    "I12": "no transaction of the engine lasts longer than two seconds",
    "I13": "the fault did happen, and this was observed: otherwise its line fails",
}


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one fault. Times are in seconds; ``recovery`` is the number of recoveries behind the quantiles;
    ``not_run`` is the reason, ``None`` if the fault was played."""

    fault: str
    row: int
    how: str
    target: str
    injected: int
    runs: int
    violations: list[Violation]
    recovery: int
    recovery_p50: float | None
    recovery_p99: float | None
    seconds: float
    seed: int
    at: datetime
    notes: list[str]
    not_run: str | None


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """The published results. ``size`` says which counts were played. All lines are of one durable, Postgres, Python and
    machine."""

    size: Size
    durable: str
    postgres: str
    python: str
    machine: str
    faults: list[Row]


def row_of(result: Result, at: datetime) -> Row:
    """Returns the result as it is published."""
    return Row(
        fault=result.name,
        row=result.row,
        how=result.how,
        target=result.target,
        injected=result.injected,
        runs=result.runs,
        violations=result.violations,
        recovery=len(result.recoveries),
        recovery_p50=quantile(result.recoveries, 0.5),
        recovery_p99=quantile(result.recoveries, 0.99),
        seconds=result.seconds,
        seed=result.seed,
        at=at,
        notes=result.notes,
        not_run=result.not_run,
    )


def publish(results: Iterable[Result], path: Path = FIGURES) -> None:
    """Replaces the figures of the faults that were just played. Figures of another durable, Postgres, Python or machine
    are not kept."""
    now = datetime.now(UTC).replace(microsecond=0)
    played = list(results)
    before = read(path) if path.exists() else None
    postgres = next((result.postgres for result in played if result.postgres), before.postgres if before else "")
    fresh = Figures(
        size=played[0].size,
        durable=version("durable-flows"),
        postgres=postgres,
        python=platform.python_version(),
        machine=_machine(),
        faults=[row_of(result, now) for result in played],
    )
    names = {row.fault for row in fresh.faults}
    kept: list[Row] = []
    if before is not None and msgspec.structs.replace(before, faults=fresh.faults) == fresh:
        kept = [row for row in before.faults if row.fault not in names and row.fault in load_faults()]
    rows = sorted([*kept, *fresh.faults], key=lambda row: (row.row, row.fault))
    encoded = msgspec.json.encode(msgspec.structs.replace(fresh, faults=rows))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(msgspec.json.format(encoded, indent=1) + b"\n")


def read(path: Path = FIGURES) -> Figures:
    """Reads the figures that were published."""
    return msgspec.json.decode(path.read_bytes(), type=Figures)


def page(figures: Figures) -> str:
    """Returns the text of docs/faults.md."""
    injected = sum(row.injected for row in figures.faults)
    violations = sum(len(row.violations) for row in figures.faults)
    days = sorted({row.at.date().isoformat() for row in figures.faults})
    summary = (
        f"**{injected:,} faults, {sum(row.runs for row in figures.faults):,} runs, {violations:,} violations.** "
        f"durable {figures.durable}, Postgres {figures.postgres}, Python {figures.python}, {figures.machine}; "
        f"{' to '.join(dict.fromkeys((days[0], days[-1])))}, "
        f"{sum(row.seconds for row in figures.faults) / 60:.0f} minutes of play."
    )
    by_day = "\n".join(
        f"- {day}: {', '.join(row.fault for row in figures.faults if row.at.date().isoformat() == day)}" for day in days
    )
    played = f"Each line tells of its own campaign, and of the code of that day:\n\n{by_day}\n" if len(days) > 1 else ""
    invariants = "\n".join(f"- **{name}** {what}." for name, what in INVARIANTS.items())
    seed = min(row.seed for row in figures.faults)
    again = (
        "## Run it again\n\n```console\n"
        f"$ python -m tests.faults --campaign --seed {seed} --only killed  # one line; --list shows all\n"
        f"$ python -m tests.faults --campaign --seed {seed}                # an hour; writes docs/faults.json\n"
        "$ python -m tests.faults --smoke                            # three minutes; in CI\n"
        "$ python -m tests.faults.report                             # generates this page from docs/faults.json\n```\n"
    )
    return "\n".join(
        [
            _INTRODUCTION,
            summary + "\n",
            *([played] if played else []),
            invariants + "\n",
            again,
            "## The table\n",
            "Recovery is in seconds: the median and the 99th percentile. The numbers are rows of the fault matrix.\n",
            _table(figures),
            "## Failure modes\n",
            "What can go wrong in systems like this one, and which tests show that it does not here.\n",
            failure_modes_table(),
        ]
    )


def _table(figures: Figures) -> str:
    lines = [(row.row, row.fault, _line(row)) for row in figures.faults]
    lines += [(row, "", f"| {row} | {what} | – | – | – | not run: {why} | |") for row, (what, why) in ABSENT.items()]
    head = "| | fault | times | runs | violations | recovery | target |\n|---|---|---:|---:|---:|---:|---|\n"
    return head + "".join(f"{line}\n" for _, _, line in sorted(lines))


def _line(row: Row) -> str:
    what = f"| {row.row} | **{row.fault}** {row.how}"
    if row.not_run is not None:
        return f"{what} | – | – | – | not run: {row.not_run} | {row.target} |"
    broken = sorted({violation.invariant for violation in row.violations}, key=lambda name: int(name[1:]))
    violations = f"**{len(row.violations)}** ({', '.join(broken)})" if broken else "0"
    recovery = "" if row.recovery_p50 is None else f"{row.recovery_p50:.2f} / {row.recovery_p99:.2f}"
    return f"{what} | {row.injected:,} | {row.runs:,} | {violations} | {recovery} | {row.target} |"


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GiB, {platform.system()}"


if __name__ == "__main__":
    PAGE.write_text(page(read()))
