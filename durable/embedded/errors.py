"""The error of the embedded server."""

from __future__ import annotations

from durable.core.errors import DurableError


class EmbeddedPostgresError(DurableError):
    """The embedded Postgres could not be found or started; the message says where it was looked for and what the log
    says."""
