"""One claimed run on this worker, from its claim until it parks, ends, or is lost.

``execution`` is the loop of it: something comes in (the claim, an event, the answer of a step, a flush that is durable,
a timer), the machine is fed, the commands that follow are performed, and the run *settles*: steps may start if
everything before them is durable, what was recorded is marked for the journal, and the run leaves if there is nothing
else to do here.

The other modules are what an execution keeps: the ``attempt`` (the claim, its clock, its machine), what it has recorded
since the last flush (``recording``), its steps under way (``step_tasks``, each called by ``step_calls`` with its
retries, and ``fresh_context`` for the later ones), its open ``waits``, the ``inbox``, and the ``hold``, while a cancel
waits for the children of the run to clean up. ``performing`` does what the machine commands, so much in one turn of the
event loop that other runs have theirs. ``draws`` makes the values that a run draws from the world. ``host`` is the
worker as an execution sees it: the execution touches nothing else, which is why ``tests/laws`` can run thousands of
real executions in a simulated world. ``entry`` marks what is called from the event loop.

Invariants
    Everything here runs in callbacks of the event loop, one at a time, and never inside a task.

    Nothing that belongs to a run refers back to it. A run that ends is freed at once, and the garbage collector has
    nothing to find.

    Events are handed to waits only while the inbox is known to be complete, so that a later event never overtakes an
    earlier one.
"""
