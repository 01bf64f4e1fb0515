"""What workflow code may not ask of its event loop, and what to do instead."""

from __future__ import annotations

from durable.core.errors import WorkflowCodeError

_ADVICE = {
    "run_in_executor": "pass the function to ctx.execute, which runs sync functions in a thread",
    "call_soon_threadsafe": "threads cannot reach into a workflow; publish an event to it instead",
    "run_until_complete": "await the coroutine instead",
    "run_forever": "await what must be waited for instead",
    "stop": "return from the workflow instead",
    "close": "return from the workflow instead",
    "shutdown_asyncgens": "leave async generators through contextlib.aclosing instead",
    "set_debug": "set it for the worker's own event loop instead",
}


def refusal(name: str) -> WorkflowCodeError:
    """Returns the error for a call of that method of the loop."""
    return WorkflowCodeError(
        f"workflow code called the event loop's {name}(): I/O and threads are not replayed; "
        + _ADVICE.get(name, "move this into a step with ctx.execute")
    )


HAND_MADE_TASK = (
    "asyncio.Task(...) was made directly: it has no place in the order that a replay must meet; "
    "use asyncio.create_task or a TaskGroup"
)
HAND_MADE_FUTURE = (
    "a future made by asyncio.Future() has no place in the order that a replay must meet; "
    "use asyncio.get_running_loop().create_future()"
)
FOREIGN_TASK_FACTORY = (
    "workflow code can set no task factory but asyncio.eager_task_factory: tasks of another class have no place in the "
    "order that a replay must meet"
)
