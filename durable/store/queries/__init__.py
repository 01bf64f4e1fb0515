"""The SQL files. Each is valid SQL for the schema named ``durable``; the name of another schema is put in its place
here."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import LiteralString

from durable.core.errors import InvalidArgument

_VALID_SCHEMA = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_QUALIFIER = re.compile(r"\bdurable\.(?=[a-z])")


def check_schema_name(schema: str, argument: str = "schema") -> str:
    """Returns the name itself, as a plain ``str``. Raises ``InvalidArgument`` unless it is a plain identifier of at
    most 63 characters."""
    name = str.__str__(schema) if isinstance(schema, str) else ""  # an enum member may be formatted by its name
    if not _VALID_SCHEMA.fullmatch(name) or name.startswith("pg_"):
        raise InvalidArgument(
            argument, schema, "at most 63 letters, digits and underscores, not starting with a digit or pg_"
        )
    return name


def in_schema(sql: str, schema: str) -> LiteralString:
    """Returns the same SQL for another schema. This is the only place where a ``str`` becomes a statement, and only our
    own files get here."""
    schema = check_schema_name(schema)
    if schema == "durable":
        return sql  # pyright: ignore[reportReturnType]  # see the docstring; likewise below
    return _QUALIFIER.sub(lambda _: f'"{schema}".', sql)  # pyright: ignore[reportReturnType]


def query_text(name: str, schema: str) -> LiteralString:
    """Returns the text of ``queries/<name>.sql`` for that schema."""
    return in_schema(files(__name__).joinpath(f"{name}.sql").read_text(encoding="utf-8"), schema)
