"""When a schedule fires, and what it does then. All of it is arithmetic on the moments that are passed in.

``expressions`` parses ``Cron``, whose five fields ``fields`` reads, and ``Every``. ``timetable`` bounds the ticks that
``ticks`` computes in a time zone, across changes to and from daylight saving time, or from an anchor from which
intervals never drift. ``turns`` decides what a due schedule does:
which ticks begin a run, what happens to ticks that were missed (``catch_up``), and what happens while the last run is
still going (``overlap``).

Invariant: the id of a tick's run follows from the schedule and the tick (``run_id_of``). So each tick begins exactly
one run, however many workers look at a due schedule and however often the answer to a commit is lost.
"""
