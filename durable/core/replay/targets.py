"""How a run is named by those who call it: by its run key, or by its workflow and the key it was begun with."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from durable.core.errors import InvalidArgument
from durable.core.keyed_ids import keyed_run_id
from durable.core.keys import check_key
from durable.core.replay.workflow import Workflow
from durable.core.run_arguments import check_run_key
from durable.core.runs import RunKey

RunTarget: TypeAlias = RunKey | str | tuple[Workflow[Any, Any] | str, str]
"""A run: its ``RunKey`` or the text of it, or the workflow (or its name) together with the key with which it was begun.
Of several runs with the same workflow and key, the newest one is meant."""


class Keyed(msgspec.Struct, frozen=True):
    """The newest run with that workflow and key."""

    workflow_name: str
    key: str

    def __str__(self) -> str:
        return f"of workflow {self.workflow_name!r} with key {self.key!r}"

    @property
    def first_id(self) -> str:
        """The id of the first run with that key, whose shard value all of them have."""
        return keyed_run_id(self.workflow_name, self.key)


def check_target(argument: str, run: RunTarget | Keyed) -> RunKey | Keyed:
    """Returns what names the run, checked. Raises ``InvalidArgument``."""
    if isinstance(run, Keyed):
        return run
    if not isinstance(run, tuple):
        return check_run_key(argument, run)
    if len(run) != 2:
        raise InvalidArgument(argument, run, "a run key, or a workflow and a key: (workflow, key)")
    workflow, key = run
    name = workflow.name if isinstance(workflow, Workflow) else workflow
    return Keyed(check_key(argument, name), check_key(argument, key))


def workflow_of(run: RunTarget | Keyed) -> Workflow[Any, Any] | None:
    """Returns the workflow by which the run is named, if it is."""
    return run[0] if isinstance(run, tuple) and isinstance(run[0], Workflow) else None
