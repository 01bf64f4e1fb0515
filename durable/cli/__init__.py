"""The `durable` command, on top of everything else.

``main`` calls ``command``, where the verbs are listed; what a verb needs is imported only when it is called, so that
``durable --help`` is there at once. Each verb is a function of one of the modules beside it: ``admin`` for what is done
as the owner of the schema, ``runs``, ``events``, ``schedules`` and ``workers`` for looking and steering, ``worker``
(with ``processes``, which keeps several of them running), and ``demo``. They share ``options`` and ``output``, and call
the same client as applications do. Errors that a user can act on are printed by ``refusals``, without a traceback.
Which database is meant is decided in one place, ``durable.embedded.database``: ``--dsn``, a profile, the environment,
or a server of one's own, which is then said aloud.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status: 0 if it did what it was asked to, 1 if it was refused or failed, 2
    for wrong usage, 3 if there is no such run or schedule, 4 if a condition that was asked about does not hold, 130 if
    it was interrupted."""
    try:
        from durable.cli.command import run

        return run(sys.argv[1:] if arguments is None else list(arguments))
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("click", "rich"):
            raise
        print(f"durable: the command line needs {missing}: run `pip install 'durable-flows[cli]'`", file=sys.stderr)
        return 1
