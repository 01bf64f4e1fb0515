"""Writes docs/cli.md from the verbs of the command line.

python .ci/cli_page.py            rewrites the page
python .ci/cli_page.py --check    fails if it is not what the command line is
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from durable.cli.command import ROOT

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
HEAD = """# The command line

`pip install 'durable-flows[cli]'`. This page is written by `.ci/cli_page.py` from the verbs themselves.

The database is named by `--dsn`, or by `--profile NAME`, which is a table `[NAME]` with `dsn` and `schema` in
`~/.config/durable/profiles.toml` (`$DURABLE_PROFILES` names another file), or by `$DURABLE_DATABASE_URL`. If nothing
names it, a verb starts the embedded server and says so.

The exit status is 0 if a verb did what it was asked to, 1 if it was refused or failed, 2 for wrong usage, 3 if there is
no such run or schedule, 4 if what was asked about does not hold (a run that `tail` followed was cancelled, an event was
there already), and 130 after an interrupt. With `-o json` or `-o jsonl`, moments are in UTC and run keys are text. JSON
names its form, such as `durable/runs/1`, whose number changes when a field is renamed or removed.
"""


def sections(command: click.Command, path: tuple[str, ...]) -> Iterator[str]:
    context = click.Context(command, info_name=" ".join(path))
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            if (found := command.get_command(context, name)) is not None:
                yield from sections(found, (*path, name))
        return
    arguments = [
        parameter.metavar or str(parameter.name).upper()
        for parameter in command.params
        if isinstance(parameter, click.Argument)
    ]
    yield f"\n## {' '.join(path)}\n\n`{' '.join([*path, *arguments, '[OPTIONS]'])}`\n\n"
    yield " ".join((command.help or "").split()) + "\n\n"
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            remark = " Required." if parameter.required else default(parameter)
            yield f"- `{shape(parameter)}`: {parameter.help}{remark}\n"


def shape(option: click.Option) -> str:
    value = ""
    if isinstance(option.type, click.Choice):
        value = f" {'|'.join(map(str, option.type.choices))}"
    elif not option.is_flag:
        value = f" {option.metavar or option.type.name.removesuffix(' range').upper()}"
    return ", ".join(option.opts) + value


def default(option: click.Option) -> str:
    return f" Default: {option.default}." if option.show_default else ""


def main() -> int:
    page = HEAD + "".join(sections(ROOT, ("durable",)))
    if "--check" in sys.argv:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page:
            print("docs/cli.md is not what the command line is: run `python .ci/cli_page.py`", file=sys.stderr)
            return 1
        return 0
    PAGE.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
