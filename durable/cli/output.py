"""What verbs print: a table for people, JSON for programs.

JSON names the form of its items and the version of that form, ``durable/runs/1``, which changes when a field is renamed
or removed. JSON lines have one item on each line and no envelope.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

import click
import msgspec

from durable.cli.refusals import printable
from durable.core.runs import RunKey

Output: TypeAlias = Literal["table", "json", "jsonl"]
Column: TypeAlias = Callable[[Any], str]


def show(
    items: Iterable[Any], columns: Mapping[str, Column], output: Output, *, form: str, nothing: str = "nothing found"
) -> None:
    """Prints the items, which msgspec can encode; ``columns`` are those of the table, by their headings, and ``form``
    names the items in JSON. ``nothing`` is what a person is told if there are none."""
    match output:
        case "json":
            click.echo(_indented_json({"form": form, "items": [_plain(item) for item in items]}))
        case "jsonl":
            for item in items:
                click.echo(_json(_plain(item)))
        case "table":
            rows = [[column(item) for column in columns.values()] for item in items]
            if rows:
                _print_table(list(columns), rows)
            else:
                click.echo(nothing, err=True)


def show_one(item: Any, lines: Mapping[str, str | None], output: Output, *, form: str) -> None:
    """Prints one item; ``lines`` are what a person reads, without those that are ``None``."""
    match output:
        case "json":
            click.echo(_indented_json({"form": form, **_plain(item)}))
        case "jsonl":
            click.echo(_json(_plain(item)))
        case "table":
            width = max(map(len, lines)) + 2
            for name, text in lines.items():
                if text is not None:
                    click.echo(f"{name:<{width}}{_indented(printable(text), width)}")


def moment(value: datetime | None) -> str:
    """Returns the moment with its zone, to the second; empty if there is none."""
    return "" if value is None else value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def age(value: datetime | None, now: datetime) -> str:
    """Returns how long ago the moment was, in the largest unit that fits."""
    if value is None:
        return ""
    seconds = max((now - value).total_seconds(), 0.0)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _plain(item: Any) -> Any:
    """Returns what is written of an item: run keys as their text, and the rest as msgspec writes it."""
    if isinstance(item, RunKey):
        return str(item)
    if isinstance(item, msgspec.Struct):
        return {name: _plain(value) for name, value in msgspec.structs.asdict(item).items()}
    return item


def _json(value: Any) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()


def _indented_json(value: Any) -> str:
    return msgspec.json.format(_json(value))


def _print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # A pipe has no width, and what is piped is searched: nothing is cut there.
    console = Console() if sys.stdout.isatty() else Console(width=10_000)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table)


def _indented(text: str, width: int) -> str:
    return text.replace("\n", "\n" + " " * width)
