"""What the database says about itself."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

import msgspec

from durable.core.errors import SchemaError
from durable.store.columns import column
from durable.store.migrations import latest_version
from durable.store.operation import operation
from durable.store.statement import Query, Requests, Statement, nothing, one


class Settings(msgspec.Struct, frozen=True):
    """What clients and workers must agree on."""

    schema_version: int
    shard_count: int


class Shards(msgspec.Struct, frozen=True):
    """The current shard count, every count that there ever was, and whether it is being raised right now. Meanwhile,
    runs whose ids follow from a name are begun one after the other for each name, because two transactions may go by
    different counts."""

    shard_count: int
    shard_counts: list[int]
    is_being_raised: bool

    @property
    def known(self) -> set[int]:
        """Under which counts runs may have been begun."""
        return {self.shard_count, *self.shard_counts}  # what raised it before version 10 has not added it


class _Locked(msgspec.Struct, frozen=True):
    locked: str  # a void, which arrives as empty text


class _Found(msgspec.Struct, frozen=True):
    is_there: bool
    settings_table: str

    @property
    def schema(self) -> str:
        return self.settings_table.rpartition(".")[0].strip('"')


_FIND_SETTINGS = Query("settings/find_settings", _Found)
_READ_SETTINGS = Query("settings/read_settings", Settings)
_READ_SHARDS = Query("settings/read_shards", Shards)
_LOCK_NAMES = Query("settings/lock_names", _Locked)


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


def read_shards() -> Statement[Shards]:
    """Reads which shard counts there are and were."""
    return _READ_SHARDS.statement({}, one)


def lock_names(names: Iterable[str]) -> Statement[None]:
    """Lets no other transaction begin runs for these names until this one ends. Needed while the shard count is being
    raised."""
    numbers = [int.from_bytes(sha256(name.encode()).digest()[:8], "big", signed=True) for name in names]
    return _LOCK_NAMES.statement({"numbers": column(numbers)}, nothing)
