"""The options that many verbs share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import click
import msgspec

from durable.cli.profiles import Profile, read_profile
from durable.client.client import Client
from durable.embedded import database

P = ParamSpec("P")
T = TypeVar("T")


class Target(msgspec.Struct, frozen=True):
    """The database that a verb works on; ``dsn`` is ``None`` if none was named on the command line or by a profile."""

    dsn: str | None
    schema: str

    @contextmanager
    def client(self) -> Generator[Client]:
        """Yields a client of the database, which it closes."""
        with database(self.dsn) as dsn, Client(dsn, schema=self.schema) as client:
            yield client


def on_database(function: Callable[Concatenate[Target, P], T]) -> Callable[P, T]:
    """Gives a verb the options that name a database, and passes them as its first parameter."""

    @click.option("--dsn", help="The database: $DURABLE_DATABASE_URL if not given, or else the embedded server.")
    @click.option("--schema", help="The schema of durable's tables: durable if not given.")
    @click.option("--profile", envvar="DURABLE_PROFILE", help="A name in ~/.config/durable/profiles.toml.")
    @functools.wraps(function)
    def with_target(*arguments: Any, dsn: str | None, schema: str | None, profile: str | None, **options: Any) -> T:
        known = Profile() if profile is None else read_profile(profile)
        target = Target(dsn or known.dsn, known.schema if schema is None else schema)
        return function(target, *arguments, **options)

    return cast(Callable[P, T], with_target)  # click reads its options from it, and passes them by name


def with_output(function: Callable[P, T]) -> Callable[P, T]:
    """Gives a verb the option that says in what form it prints, which is passed as ``output``."""
    forms = click.Choice(["table", "json", "jsonl"])
    return click.option("-o", "--output", type=forms, default="table", show_default=True, help="The form.")(function)
