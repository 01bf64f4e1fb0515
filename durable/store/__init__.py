"""Says it in SQL. The only package that knows tables and columns; it knows no driver and does no I/O.

A ``Query`` is one file below ``queries/``, in a folder named like the module that asks it, together with the Struct
that its rows are. A ``Statement`` is a query with parameters and the way to read the answer. An *operation* is a
generator of them: each ``yield from`` of a statement or a ``Batch`` is one round trip, and what it returns is the
answer. Operations are values that can be run any number of times, because after a lost connection nobody knows whether
the commit went through.

Who runs them is no concern of this package. A client runs an operation on a connection of the application's, sync or
async, in the application's own transaction or in one of its own (``postgres.drive``); a worker runs it pipelined
(``postgres.pipeline``). The name of the schema is put in there as well.

Invariants of the SQL
    Every statement about a run names ``workflow_name_shard = …`` on every table reference, so it can be routed to one
    node. No statement spans two shard values; parent and child may live on two.

    Whoever writes for a run joins its row by its epoch. A stale epoch matches nothing, and the write is silently
    ignored.

    Locks are taken in one order: schedule, event, wait, run, step; several rows of a table in the order of their keys.

    ``now()`` is written without a schema, so that a test kit can put a clock of its own in its place. Liveness alone
    (``workers/beat``) goes by ``pg_catalog.now()``.

    Columns of a batch travel as array literals (``columns``), because the driver would look at every element.

Not to be changed lightly: the forms of the statements. ``tests/store/test_plans.py`` holds that each is planned once,
over an index and with hash joins, whatever the statistics say; an innocent change of a join can cost a scan of all
runs.
"""
