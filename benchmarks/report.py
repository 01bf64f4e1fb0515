"""The figures for people to read: one line each, `docs/benchmarks.json`, and the page and plots generated from it."""

from __future__ import annotations

import importlib
import os
import platform
from pathlib import Path

import msgspec
import psycopg

from benchmarks.plots import draw
from benchmarks.setting import Figure

_DOCS = Path(__file__).parent.parent / "docs"
_SETTINGS = (
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "max_wal_size",
)


class Measured(msgspec.Struct):
    """What one benchmark measured, and on which machine."""

    figures: list[Figure]
    machine: dict[str, str]


class Page(msgspec.Struct):
    """All measurements, by the name of the benchmark."""

    benchmarks: dict[str, Measured] = {}


def describe_machine(dsn: str) -> dict[str, str]:
    """Returns the facts on which the figures depend."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT name, current_setting(name) FROM unnest(%s::text[]) AS name", [list(_SETTINGS)]
        ).fetchall()
    return {"cores": str(os.cpu_count()), "python": platform.python_version(), **dict(rows)}


def line(figure: Figure) -> str:
    """Formats one figure for a terminal."""
    low, high = figure.spread
    spread = f"({shown(low)} to {shown(high)})" if len(figure.values) > 1 else ""
    verdict = {None: "", True: f"target {shown(figure.target)} reached", False: f"TARGET {shown(figure.target)} MISSED"}
    return f"{figure.name:<64} {shown(figure.median):>10} {figure.unit:<8} {spread:<24} {verdict[figure.is_reached]}"


def shown(value: float | None) -> str:
    """Formats a number with three significant digits, or with all its digits if it has more before the point."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def publish(name: str, figures: list[Figure], machine: dict[str, str]) -> None:
    """Replaces the earlier figures of that benchmark and regenerates the page and the plots."""
    path = _DOCS / "benchmarks.json"
    page = msgspec.json.decode(path.read_bytes(), type=Page) if path.exists() else Page()
    page.benchmarks[name] = Measured(figures, machine)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(page), indent=2) + b"\n")
    write_page(page, _DOCS)


def write_page(page: Page, directory: Path) -> None:
    """Writes ``benchmarks.md`` and ``benchmarks/*.svg``."""
    (directory / "benchmarks").mkdir(exist_ok=True)
    sections = [_section(name, measured, directory) for name, measured in page.benchmarks.items()]
    head = (
        "# Benchmarks\n\nGenerated from [benchmarks.json](benchmarks.json) by `python -m benchmarks`, which anyone can"
        " run: it starts a server of its own, with fsync on. Workers, clients and the server share the machine's cores."
        " Each figure is the median of its rounds, with the range from the lowest to the highest.\n\n"
    )
    (directory / "benchmarks.md").write_text(head + "\n".join(sections))


def _section(name: str, measured: Measured, directory: Path) -> str:
    doc = importlib.import_module(f"benchmarks.{name}").__doc__ or ""
    plot = draw(name, measured.figures, directory / "benchmarks")
    rows = "\n".join(_row(figure) for figure in measured.figures)
    machine = ", ".join(f"{what} {value}" for what, value in measured.machine.items())
    picture = f"![{name}](benchmarks/{plot.name})\n\n" if plot else ""
    return (
        f"## {name.capitalize()}\n\n{doc.strip()}\n\n{picture}"
        f"| | median | | range | target |\n|---|--:|---|---|---|\n{rows}\n\n{machine}\n"
    )


def _row(figure: Figure) -> str:
    low, high = figure.spread
    spread = f"{shown(low)} to {shown(high)}" if len(figure.values) > 1 else ""
    sign = "≤" if figure.is_cost else "≥"
    verdict = {None: "", True: f"{sign} {shown(figure.target)}", False: f"{sign} {shown(figure.target)}, **missed**"}
    return f"| {figure.name} | {shown(figure.median)} | {figure.unit} | {spread} | {verdict[figure.is_reached]} |"
