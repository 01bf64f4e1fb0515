"""`durable completion`: what a shell needs to complete the commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from durable.cli.command import ROOT


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that completes commands and options. To install it: `eval "$(durable completion bash)"` in
    ~/.bashrc, the same with zsh in ~/.zshrc, or `durable completion fish > ~/.config/fish/completions/durable.fish`."""
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(found(ROOT, {}, "durable", "_DURABLE_COMPLETE").source())
