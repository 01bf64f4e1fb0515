"""Carries statements to the server: connections, round trips, and what is done when the network falls silent.

``drive`` runs an operation in a transaction that belongs to the application, whatever library it comes from
(``transactions``) and whatever its session is set to (``encoding``), and never ends that transaction. ``pipeline`` runs
one on a worker's connection, each batch in a single round trip. These two are the only places where an operation
becomes sync or async; nothing is written twice. ``connection`` is a worker's connection with the schema that its
operations are about.

``outages`` tells a database that is down or overloaded from a statement that is wrong. ``silence`` finds half-open
connections: such a connection gives no error for hours, and cancelling a statement does not help, because the cancel
travels through the same network. So the server is asked over a second connection, and a line that the server does not
recognize is shut down. ``pooling`` recognizes poolers that allow no transactions. ``listening`` receives notifications,
which are only ever a hint.

Invariant: this package moves rows without knowing what is in them. It imports no column, no table, and no decision.
"""
