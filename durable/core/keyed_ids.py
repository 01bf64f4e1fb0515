"""The ids of runs that are begun with a key: they follow from the key, so that whoever knows it finds the runs."""

from __future__ import annotations

from uuid import UUID, uuid5

import msgspec

_KEYED_RUNS = UUID("5a3f6f4e-6c0b-4b8e-9d55-3d0f1a2b7c11")


def keyed_run_id(workflow_name: str, key: str, generation: int = 0) -> str:
    """Returns the id of the run of that workflow and key, and of that generation: the same for every client that begins
    it."""
    name = (workflow_name, key, generation) if generation else (workflow_name, key)
    return str(uuid5(_KEYED_RUNS, msgspec.json.encode(name).decode()))
