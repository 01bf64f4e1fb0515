"""`durable events`: sending events to runs."""

from __future__ import annotations

import click
import msgspec

from durable.cli.options import Target, on_database
from durable.core.errors import InvalidArgument


@click.command()
@click.argument("run_key")
@click.argument("name")
@click.argument("payload", default="null")
@click.option("--key", help="Store it only once for this run, name and key.")
@on_database
def publish(target: Target, run_key: str, name: str, payload: str, key: str | None) -> int:
    """Put an event into the inbox of a run. PAYLOAD is JSON. The exit status is 4 if an event with that key was there
    already."""
    try:
        value = msgspec.json.decode(payload)
    except msgspec.DecodeError as error:
        raise InvalidArgument("PAYLOAD", payload, f"JSON ({error})") from None
    with target.client() as client:
        is_new = client.publish_event(run_key, name, value, key=key)
    done = f"published {name!r} to {run_key}" if is_new else f"an event {name!r} with key {key!r} was there already"
    click.echo(done)
    return 0 if is_new else 4
