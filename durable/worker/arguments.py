"""Checks what a worker is given."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from durable.core.errors import InvalidArgument
from durable.core.keys import check_key
from durable.core.replay.workflow import Workflow

_MAX_CHANNEL_BYTES = 63


# mypy takes a list or set of workflows whose types differ for one of objects.
def distinct_workflows(
    workflows: Iterable[Workflow[Any, Any]] | list[object] | set[object],
) -> list[Workflow[Any, Any]]:
    """Returns the workflows as a list. Raises ``InvalidArgument`` unless there are some, with different names."""
    rule = "an iterable of at least one workflow, which is an `async def` decorated with @workflow"
    try:
        members: list[Any] = list(workflows)
    except TypeError:
        members = []
    if not members or not all(isinstance(member, Workflow) for member in members):
        raise InvalidArgument("workflows", workflows, rule)
    given: list[Workflow[Any, Any]] = members
    if len({workflow.name for workflow in given}) < len(given):
        raise InvalidArgument("workflows", [workflow.name for workflow in given], "workflows with distinct names")
    return given


def channel_name(name: str) -> str:
    """Returns the name itself. Raises ``InvalidArgument`` if no channel of Postgres can have it."""
    check_key("notify_channel", name)
    if len(name.encode()) > _MAX_CHANNEL_BYTES:
        raise InvalidArgument("notify_channel", name, f"at most {_MAX_CHANNEL_BYTES} bytes long, Postgres's own limit")
    return name
