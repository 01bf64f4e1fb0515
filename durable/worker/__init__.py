"""Executes. A process that claims runs, performs what they command, and writes down what came of it.

A worker is one event loop and one thread beside it, and more threads for sync steps. ``worker`` puts the parts
together, starts and stops them; each part is one duty:

- ``dispatcher`` claims the runs of one workflow, over all its shard values. It sleeps until there is a hint (a
  notification, a due wake, a free place, the poll) and then makes a ``visit``: route events, claim runs, load what they
  bring back, in two round trips.
- ``precedence`` decides, of all workers that hear of a run, which look at once and which later (``later_looks``);
  ``fleet`` knows which workers there are.
- ``executions`` are the runs that are held here: those being executed, and the parked ones whose machine is kept. What
  happens to a single one is ``run/``.
- ``journal`` writes what runs have recorded: everything that has gathered for a shard value since its last flush goes
  into one transaction. There is no timer; while one flush is under way, the next one gathers. What cannot be written
  because somebody's transaction has locked it goes to ``blocked`` and is written later, in parts.
- ``lease`` is the right to the runs: a session lock and a heartbeat, kept by the thread, so that a blocked event loop
  is reported (``blocked``) and not taken for death. ``takeover`` looks after the runs of workers that show no sign of
  life; ``isolation`` keeps those apart that may have been the cause.
- ``scheduler`` begins the runs of due schedules (``due_schedules``); ``listener`` receives hints.
- ``database`` holds the pools, ``clock`` is the time that runs go by, and ``callbacks`` steps machines a few at a time.
- ``outages`` is where every duty that fails waits for its next try, ``threads`` are those of sync steps, and
  ``signals`` are shared with the program around the worker.

Invariants
    At most one worker's writes are accepted for a run. A claim raises the run's epoch, and every write names it; a
    worker that lost its lease notices because its writes match nothing.

    An effect starts only once everything that the run recorded before it is durable. A step's result is handed to the
    workflow at once, but the next step waits for the flush.

    No error of the database ends a worker. An outage is waited out; a record that cannot be stored fails its own run
    and none of its neighbors.

    No duty ends in silence. What it raises is logged, and it is taken up again; without a lease the worker ends.
    No statement waits for a lock without a limit (``database``), because an application may keep a transaction open
    for any length of time. What it has locked is set apart by ``blocked_records``, ``detours`` and the scheduler, and
    everything else continues.

    A run is condemned only for deaths of workers that were executing nothing else that could be the cause. While a
    worker tries a suspect alone, it claims nothing, and it records in the run's row when the trial is over.

    A run that one worker does not claim is claimed by another: the worker that looks first has no exclusive right, and
    a worker without a free place passes on what it hears.

    A hint may be lost at any time. Everything that a notification brings is also found by polling.

Not to be changed lightly: the order in ``journal`` (a record is taken, then written, then answered) and the second in
which ``takeover`` waits for a reconnect. The fault campaign (``tests/faults``) has found most of what seems superfluous
in here.
"""

from durable.worker.status import WorkerStatus
from durable.worker.worker import Worker

__all__ = ["Worker", "WorkerStatus"]
"""The part of this package that applications use; ``durable`` exports it as well."""
