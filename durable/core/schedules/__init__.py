"""When a schedule fires, and what it then does. All of it is arithmetic on the moments that are passed in.

``expressions`` parses ``Cron`` and ``Every``; ``timetable`` computes ticks in a time zone, through daylight saving
time, from an anchor that intervals never drift from; ``turns`` decides what a due schedule does: which ticks begin a
run, what becomes of those that were missed (``catch_up``), and what happens while the last run is still going
(``overlap``).

Invariant: the id of a tick's run follows from the schedule and the tick (``run_id_of``), so however many workers look
at a due schedule, and however often the answer to a commit is lost, each tick begins exactly one run.
"""
