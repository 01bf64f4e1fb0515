"""A private Postgres server for demos, development and tests: started on first use, stopped with its last user.

No production process runs this. ``choice`` decides which database is meant (``--dsn``, the environment, or this
server), ``binaries`` finds an installation, ``directory`` keeps the data, ``server`` starts and stops the server,
``supervisor`` ends a server whose user has died, and ``privileges`` runs it as an ordinary user if the caller is root,
because Postgres refuses to run as root.
"""

from durable.embedded.choice import database, named
from durable.embedded.directory import default_directory
from durable.embedded.errors import EmbeddedPostgresError
from durable.embedded.server import EmbeddedPostgres

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError", "database", "default_directory", "named"]
"""What may be imported from here: ``from durable.embedded import database``."""
