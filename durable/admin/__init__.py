"""Owns the schema. Everything that is done as the owner of the tables, and only as the owner.

``migrate`` brings a database to the schema that this version needs, one numbered migration per transaction, while
workers and clients keep running: a table in use is waited for in turns of half a second, so that nothing queues behind
the migration. ``prune`` deletes runs that ended long ago, families as a whole. ``owner`` acts as the owner for a
transaction, if the connection may.

Invariants: each migration leaves the code of the version before it working. ``schema/schema.sql`` is what all
migrations together give; a test compares the two. The roles of workers and clients may delete no run.
"""

from durable.admin.migrate import migrate, roles_sql, schema_sql
from durable.admin.prune import prune

__all__ = ["migrate", "prune", "roles_sql", "schema_sql"]
"""The public names of this package, as in ``from durable.admin import migrate``."""
