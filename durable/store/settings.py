"""What the database says about itself."""

from __future__ import annotations

import msgspec

from durable.core.errors import SchemaError
from durable.store.migrations import latest_version
from durable.store.queries import query
from durable.store.statement import Op, Statement


class Settings(msgspec.Struct, frozen=True):
    """What clients and workers must agree on."""

    schema_version: int
    shard_count: int


def read_settings(schema: str) -> Op[Settings]:
    """Raises ``SchemaError`` where the schema is missing or older than this code. A newer one will do: migrations leave
    the code of the version before them at work."""
    if not (yield from Statement(query("settings/has_settings", schema), {}, lambda rows: bool(rows[0][0]))):
        raise SchemaError(
            f"this database has no schema {schema!r} of durable: run `durable migrate --schema {schema}`, "
            "or check the database and the schema that were named"
        )
    settings = yield from Statement(query("settings/read_settings", schema), {}, lambda rows: Settings(*rows[0]))
    if settings.schema_version < latest_version():
        raise SchemaError(
            f"the schema {schema!r} has version {settings.schema_version}, this code needs {latest_version()}: "
            f"run `durable migrate --schema {schema}`"
        )
    return settings
