"""`durable why`: the reasons why runs are not moving."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import click

from durable.cli.options import Target, on_database, with_output
from durable.cli.output import Output, moment, show
from durable.cli.refusals import printable
from durable.core.diagnosis.cause import Cause

_WRONG = 4
_LOOK_SECONDS = 2.0
_MARKS = {"wrong": ("✗", "red"), "waiting": ("…", "yellow"), "ended": ("■", "green")}


@click.command()
@click.argument("run_keys", nargs=-1, required=True, metavar="RUN_KEY...")
@click.option("--watch", is_flag=True, help="Look again every two seconds until nothing is wrong.")
@with_output
@on_database
def why(target: Target, run_keys: tuple[str, ...], watch: bool, output: Output) -> int:  # noqa: FBT001 - by name
    """Say why runs are not moving, worst first, and what to do about it. The exit status is 4 if something is wrong
    rather than merely waited for."""
    with target.client() as client:
        while True:
            found = {run_key: client.explain_run(run_key) for run_key in run_keys}
            if output == "table":
                for run_key, causes in found.items():
                    _print(run_key, causes)
            else:
                items = [{"run_key": run_key, "causes": causes} for run_key, causes in found.items()]
                show(items, {}, output, form="durable/why/1")
            is_wrong = any(cause.severity == "wrong" for causes in found.values() for cause in causes)
            if not (watch and is_wrong):
                return _WRONG if is_wrong else 0
            time.sleep(_LOOK_SECONDS)


def _print(run_key: str, causes: Iterable[Cause]) -> None:
    click.secho(run_key, bold=True)
    for line in _lines(causes, "  "):
        click.echo(line)


def _lines(causes: Iterable[Cause], margin: str) -> Iterator[str]:
    for cause in causes:
        mark, color = _MARKS[cause.severity]
        since = "" if cause.since is None else click.style(f"  since {moment(cause.since)}", dim=True)
        yield f"{margin}{click.style(mark, fg=color)} {printable(cause.sentence)}{since}"
        if cause.remedy is not None:
            yield f"{margin}  {click.style('→', dim=True)} {printable(cause.remedy)}"
        yield from _lines(cause.causes, margin + "    ")
