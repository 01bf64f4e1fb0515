"""Checks of what clients and workflow code send to runs."""

from __future__ import annotations

from durable.core.arguments import instance
from durable.core.errors import InvalidArgument, SerializationError
from durable.core.keys import check_key
from durable.core.runs import RunKey

_MAX_STORED = 16 * 1024 * 1024
"""Bytes of a payload from an application; a check in the schema."""


def check_run_key(argument: str, run_key: RunKey | str) -> RunKey:
    """Returns the key, parsed if it is text. Raises ``InvalidArgument`` if it cannot identify a run."""
    rule = 'a RunKey or its text, which looks like "<workflow>_<shard>:<uuid>"'
    parts = (run_key.workflow_name_shard, run_key.run_id) if isinstance(run_key, RunKey) else (run_key,)
    try:
        parsed = RunKey.parse(":".join(instance(argument, part, str, rule) for part in parts))
        # A shard value is a workflow's name, itself a valid key, followed by at most five more characters.
        check_key(argument, parsed.workflow_name_shard.rpartition("_")[0])
    except ValueError:
        raise InvalidArgument(argument, run_key, rule) from None
    return parsed


def storable_payload(text: str, what: str) -> str:
    """Returns the payload. Raises ``SerializationError`` if the database would refuse it, however much the codec
    allows."""
    if len(text) > _MAX_STORED or (len(text) > _MAX_STORED // 4 and len(text.encode(errors="replace")) > _MAX_STORED):
        raise SerializationError(
            what, "$", f"takes more than {_MAX_STORED} bytes encoded; store it elsewhere and pass a reference"
        )
    return text
