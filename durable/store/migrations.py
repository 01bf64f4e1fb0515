"""The numbered migrations and the current schema, as files; in a wheel they are inside the package."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import msgspec

_FILE_NAME = re.compile(r"(\d{4})_\w+\.sql")


class Migration(msgspec.Struct, frozen=True):
    """One step of the schema; versions count from 1. ``sql`` names the schema ``durable``."""

    version: int
    name: str
    sql: str


@cache
def migrations() -> tuple[Migration, ...]:
    """Returns all migrations, in order."""
    found: list[Migration] = []
    for file in (_folder() / "migrations").iterdir():
        match = _FILE_NAME.fullmatch(file.name)
        if match:
            found.append(Migration(int(match[1]), file.name, file.read_text(encoding="utf-8")))
    return tuple(sorted(found, key=lambda migration: migration.version))


def latest_version() -> int:
    """Returns the schema version that this code needs."""
    return migrations()[-1].version


def current_schema() -> str:
    """Returns the SQL of what all migrations together result in, for the schema named ``durable``."""
    return (_folder() / "schema.sql").read_text(encoding="utf-8")


def citus_schema() -> str:
    """Returns the SQL that distributes the tables of the schema ``durable`` over a Citus cluster."""
    return (_folder() / "citus.sql").read_text(encoding="utf-8")


def roles_script() -> str:
    """Returns the SQL that creates the roles of the schema ``durable`` and grants them their privileges."""
    return (_folder() / "roles.sql").read_text(encoding="utf-8")


def _folder() -> Traversable:
    packaged = files("durable") / "_schema"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "schema"
