"""What the database says about itself."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from durable.core.errors import SchemaError
from durable.store.queries import query
from durable.store.statement import Row, Statement

SCHEMA_VERSION = 1
"""The version that this code reads and writes: the number of the newest migration."""


class Settings(msgspec.Struct, frozen=True):
    """What clients and workers must agree on."""

    schema_version: int
    shard_count: int


def read_settings(schema: str) -> Statement[Settings]:
    """The settings. Reading raises ``SchemaError`` if they are of another version."""

    def read(rows: Sequence[Row]) -> Settings:
        if not rows:
            raise missing_schema(schema)
        settings = Settings(*rows[0])
        if settings.schema_version != SCHEMA_VERSION:
            raise SchemaError(
                f"schema {schema!r} has version {settings.schema_version}, this code needs {SCHEMA_VERSION}; "
                f"run `durable migrate --schema {schema}` with the newer of the two"
            )
        return settings

    return Statement(query("read_settings", schema), {}, read)


def missing_schema(schema: str) -> SchemaError:
    """The error for a database without our tables."""
    return SchemaError(
        f"this database has no schema {schema!r} of durable: run `durable migrate --schema {schema}`, "
        "or check the schema's name and the database's"
    )
