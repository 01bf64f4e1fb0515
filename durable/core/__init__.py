"""Decides. Everything in here is a pure function or a value: no I/O, no clock, no randomness, no database driver.

What a run should do next, when a step is tried again, whether a schedule fires, which shard a run belongs to, and what
can be stored at all are decisions. They are made here, given everything they depend on, and returned as frozen Structs.
The other packages ask for a decision and carry it out; none of them decides for itself. That is why this package can be
tested with random programs and no database, and why a replay is a function of what was recorded.

- ``replay/`` is the idea of the library: memos in, commands out.
- ``codec/`` turns values into JSON text and back, and refuses what could not be read back unchanged.
- ``schedules/`` parses expressions, computes ticks, and decides what a due schedule does.
- ``runs`` holds the run key and the table of a run's states; ``errors`` the tree of errors, ``failures`` an exception
as
  it is stored; ``retry``, ``shards``, ``arguments``, ``durations`` and ``keys`` are what their names say.

Invariants
    A function in here returns the same result for the same arguments, in any process and in any later version: memos,
    run ids and ticks that were computed once are compared with new ones for as long as the rows are kept.

    Nothing is imported from above: not ``store``, not ``worker``, not a driver. The one exception is the *type* of the
    transaction that a step is given, which ``replay.context`` names for type checkers only.

Not to be changed lightly
    The hash in ``shards`` and the names under which ids are derived (``schedules.timetable.run_id_of``): rows are found
    by them. The text that ``codec`` produces: it is stored. The order in which ``replay`` meets memos: running programs
    depend on it. ``tests/golden`` replays histories of earlier versions and fails when one of these has changed.
"""
