"""Owns the schema. Everything that is done as the owner of the tables, and only as the owner.

``migration`` brings a database to the schema that this version needs, one numbered migration per transaction, while
workers and clients keep running: a table in use is waited for in turns of half a second, so that nothing queues behind
the migration. ``pruning`` deletes runs that ended long ago, families as a whole. ``owner`` acts as the owner for a
transaction, if the connection may.

Invariants: each migration leaves the code of the version before it working. ``schema/schema.sql`` is what all
migrations together give; a test compares the two. The roles of workers and clients may delete no run.
"""

from durable.admin.migration import migrate, roles_sql, schema_sql
from durable.admin.pruning import prune

__all__ = ["migrate", "prune", "roles_sql", "schema_sql"]
"""The public names of this package, as in ``from durable.admin import migrate``."""
