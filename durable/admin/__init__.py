"""Owns the schema. What is done as the owner of the tables, and by nobody else.

``migrate`` brings a database to the schema that this version needs, one numbered migration per transaction, while
workers and clients go on: a table in use is waited for in turns of half a second, so nobody queues behind the
migration. ``prune`` deletes runs that ended long ago, families as a whole. ``owner`` takes the owner's part for a
transaction, where the connection may.

Invariants: each migration leaves the code of the version before it working. ``schema/schema.sql`` is what all
migrations together give; a test compares the two. The roles of workers and clients may delete no run.
"""

from durable.admin.migrate import migrate, roles_sql, schema_sql
from durable.admin.prune import prune

__all__ = ["migrate", "prune", "roles_sql", "schema_sql"]
"""The public names of this package, as in ``from durable.admin import migrate``."""
