"""A Postgres of one's own, for demos, development and tests."""

from durable.embedded.choice import database
from durable.embedded.errors import EmbeddedPostgresError
from durable.embedded.server import EmbeddedPostgres, default_directory

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError", "database", "default_directory"]
