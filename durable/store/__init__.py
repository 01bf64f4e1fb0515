"""Expresses everything in SQL. This is the only package that names tables and columns; it uses no driver and does no
I/O.

A ``Query`` is one file below ``queries/``, in a folder with the name of the module that uses it, together with the
Struct of its rows. A ``Statement`` is a query with parameters and the way to read the answer. An *operation* is a
generator of them: each ``yield from`` of a statement or a ``Batch`` is one round trip, and what it returns is the
answer. Operations are values that can be run any number of times, because after a lost connection it is not known
whether the commit went through.

This package does not depend on what runs them. A client runs an operation on a connection of the application, sync or
async, in the application's own transaction or in a separate one (``postgres.drive``); a worker runs it pipelined
(``postgres.pipeline``). The name of the schema is put in there as well.

Invariants of the SQL
    Every statement about a run names ``workflow_name_shard = …`` on every table reference, so it can be routed to one
    node. No statement spans two shard values; parent and child may live on two.

    A statement that writes for a run joins the run's row by its epoch. A stale epoch matches nothing, and the write is
    silently ignored.

    Locks are taken in one order: schedule, event, wait, run, step; several rows of a table in the order of their keys.

    ``now()`` is written without a schema, so that a test kit can substitute its own clock. Only liveness
    (``workers/beat``) goes by ``pg_catalog.now()``.

    Columns of a batch are sent as array literals (``columns``), because the driver would look at every element.

Do not change the form of the statements lightly. ``tests/store/test_plans.py`` checks that each is planned once, with
an index and with hash joins, whatever the statistics say; an innocent change of a join can cost a scan of all runs.
"""
