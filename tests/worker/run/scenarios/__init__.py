"""Concurrent programs of workflow code, played by real workers on a real database.

``stage`` is what a program is given, ``concurrency`` and ``timing`` hold the programs, and ``playing`` plays them,
reads what they have recorded, and replays it. Run as a module, this package is a worker that can be killed. Chance may
decide who wins; but then the record says it, and no replay says anything else.
"""
