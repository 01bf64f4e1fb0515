"""What the database says about itself."""

from __future__ import annotations

import msgspec

from durable.core.errors import SchemaError
from durable.store.migrations import latest_version
from durable.store.operation import operation
from durable.store.statement import Query, Requests, one


class Settings(msgspec.Struct, frozen=True):
    """What clients and workers must agree on."""

    schema_version: int
    shard_count: int


class _Found(msgspec.Struct, frozen=True):
    is_there: bool
    settings_table: str

    @property
    def schema(self) -> str:
        return self.settings_table.rpartition(".")[0].strip('"')


_FIND_SETTINGS = Query("settings/find_settings", _Found)
_READ_SETTINGS = Query("settings/read_settings", Settings)


@operation
def read_settings() -> Requests[Settings]:
    """Reads the settings. Raises ``SchemaError`` if the schema is missing or older than this code. A newer schema is
    accepted, because each migration keeps the code of the version before it working."""
    found = yield from _FIND_SETTINGS.statement({}, one)
    if not found.is_there:
        raise SchemaError(
            f"this database has no durable schema named {found.schema!r}; "
            f"run `durable migrate --schema {found.schema}`, or check the names of the database and the schema"
        )
    settings = yield from _READ_SETTINGS.statement({}, one)
    if settings.schema_version < latest_version():
        raise SchemaError(
            f"the schema {found.schema!r} has version {settings.schema_version}, but this code needs version "
            f"{latest_version()}; run `durable migrate --schema {found.schema}`"
        )
    return settings
