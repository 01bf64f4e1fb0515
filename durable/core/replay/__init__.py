"""Memos in, commands out: one run of a workflow as a machine that touches nothing.

A workflow is a coroutine. Its ``Machine`` runs it on a private event loop (``loop``) that consists of a queue of
callbacks and nothing else, until nothing is ready. At that moment, and only then, the run is blocked, and it is known
what blocks it: the calls that it has made on its ``Context`` and that have no answer. They leave the machine as
*commands* (``Execute``, ``Transact``, ``Sleep``, ``WaitEvent``, ``StartChild``, ``Draw`` …). The code that holds the
machine performs them and feeds each outcome back with ``resolve``, which runs the coroutine until it is blocked again
and returns the next commands. The last command is how the workflow ended; ``endings`` turns it into how the run leaves
its worker.

Replay is the same thing with the answers known in advance. A machine is given the run's *history*, and a call whose
memo is in it is answered from there and never performed again. Answers are fed in the order in which the run saw them
the first time (``seq``), and the code runs until it is blocked between any two of them, so a race in the code
(``asyncio.wait(FIRST_COMPLETED)``, a queue, a lock) has the same winner on every replay. A cancel and a timeout have
their places in that order too, and so does a timer of asyncio's that has fired.

What else the code can observe is the same as well: the order of sets of tasks (``numbered``, ``ordering``), the time,
which passes only with answers, and the callback after which code that turns in circles is left (``loop``).

If a call does not match what is recorded under its key, or if the code does not make every call in the history, the
code has changed. Then nothing is performed at all: the only command is ``SetAside``.

Invariants
    The coroutine never sees a value that a replay would not give it: the first call already returns
    ``decode(encode(value))``, and a failed step raises the same ``StepFailed``.

    A machine is stepped from callbacks of the real event loop and never from inside a task. Otherwise the worker's own
    tasks would be the parents of the workflow's tasks, and asyncio does not nest loops.

    Nothing that outlives the run refers to any object of its machine, so a run that ends is freed at once.

Known risk
    The modules of the loop use private parts of asyncio: ``_set_running_loop``, ``_get_running_loop``,
    ``_enter_task``, ``_leave_task``, a task's ``_log_destroy_pending``, ``_GatheringFuture``, the name of the callback
    that ends a sleep, and that its functions look up ``set`` and ``list`` in their module. Tests pin each of them for
    each supported Python version, and CPython's own tests run on the loop.

Order of imports, each module using only those before it: ``signatures``, ``determinism``, ``isolation``, ``handles``,
``numbered``, ``refusals``, ``collection`` and ``generators``; ``unwinding``; ``workflow``, ``history`` and ``loop``;
``ordering``, ``current`` and ``commands``; ``calls`` and ``outcomes``; ``machine`` and ``timeout``;
``messages``, ``saga``, ``mapping``, ``child`` and ``chapters``; ``context`` and ``endings``; ``decorator``.
"""
