"""A run that continues as new: what its next chapter begins with."""

from __future__ import annotations

from typing import Any

from durable.core.codec.json_codec import Codec
from durable.core.codec.places import Place
from durable.core.errors import WorkflowCodeError
from durable.core.replay.commands import ContinueAsNew
from durable.core.replay.workflow import Workflow


def next_chapter(workflow: Workflow[Any, Any] | None, input: object, codec: Codec, run_id: str) -> ContinueAsNew:
    """Returns the decision to go on with that input. ``codec`` is for workflows without a codec of their own. Raises
    the same errors as ``Context.continue_as_new``."""
    if workflow is None:
        raise WorkflowCodeError("continue_as_new was called on a Context that was made without its workflow")
    encoded = workflow.encoded_input(input, codec, Place("input", run_id))
    return ContinueAsNew(encoded, workflow.version, workflow.timeout)
