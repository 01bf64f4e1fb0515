"""Makes the decisions. Everything in here is a pure function or a value: no I/O, no clock, no randomness, no database
driver.

What a run should do next, when a step is tried again, whether a schedule fires, which shard a run belongs to, and what
can be stored at all are decisions. They are made here, given everything they depend on, and returned as frozen Structs.
The other packages ask for a decision and carry it out; none of them decides for itself. That is why this package can be
tested with random programs and no database, and why a replay is a function of what was recorded.

- ``replay/`` is the idea of the library: memos in, commands out.
- ``codec/`` turns values into JSON text and back, and rejects what could not be read back unchanged.
- ``schedules/`` parses expressions, computes ticks, and decides what a due schedule does.
- ``runs`` holds the run key and the table of a run's states, ``errors`` holds the exception hierarchy, and ``failures``
  holds an exception as it is stored. ``suspicion`` decides which runs are tried apart because their workers die.
  ``retry``, ``shards``, ``arguments``, ``durations`` and ``keys`` are what their
  names say.

Invariants
    A function in here returns the same result for the same arguments, in any process and in any later version: memos,
    run ids and ticks that were computed once are compared with new ones for as long as the rows are kept.

    Nothing is imported from the packages above: not ``store``, not ``worker``, not a driver. The one exception is the
    *type* of the transaction that is passed to a step, which ``replay.context`` names for type checkers only.

Do not change lightly
    The hash in ``shards`` and the names from which ids are derived (``schedules.timetable.run_id_of``), because rows
    are found by them; the text that ``codec`` produces, because it is stored; and the order in which ``replay`` meets
    memos, because running programs depend on it. ``tests/golden`` replays histories of earlier versions and fails if
    any of these has changed.
"""
