"""Asks. What applications use to begin runs, send them events, inspect them, and wait for their results.

A client inserts and reads; it never updates a row that the engine updates, so however long the application keeps its
transaction open, it can neither stall a worker nor deadlock with one. Workers turn what was committed into action.

``operations``, ``requests``, ``begins`` and ``schedules`` hold every method once, as operations without I/O: arguments
are checked first, ids are chosen before the first statement, and then the operation can be repeated after a lost
connection without doing anything twice. ``client`` and ``async_client`` give them their two colors, each method as
``x(…)``, which commits on its own, and as ``x_tx(tx, …)``, which takes part in the caller's transaction.
``connections`` holds the pool, ``handles`` represent single runs, and ``results`` waits for the answers to
``questions``: for runs to end, and for requests to be answered.

Invariants: bad input is refused before anything is stored. The two colors have the same methods with the same
signatures, which a test compares. A client and a worker never import each other; what both need is below them.
"""

from durable.client.async_client import AsyncClient
from durable.client.client import Client
from durable.client.handles import AsyncHandle, AsyncKeyHandle, Handle, KeyHandle
from durable.client.request_handles import AsyncRequestHandle, RequestHandle

__all__ = [
    "AsyncClient",
    "AsyncHandle",
    "AsyncKeyHandle",
    "AsyncRequestHandle",
    "Client",
    "Handle",
    "KeyHandle",
    "RequestHandle",
]
"""The part of this package that applications use; ``durable`` exports it as well."""
