"""A Postgres of one's own, for demos, development and tests."""

from durable.embedded.choice import database, named
from durable.embedded.directory import default_directory
from durable.embedded.errors import EmbeddedPostgresError
from durable.embedded.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError", "database", "default_directory", "named"]
