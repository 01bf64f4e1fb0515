"""Calls that begin a child and wait for its end."""

from __future__ import annotations

from typing import Any

import msgspec

from durable.core.codec.json_codec import Codec
from durable.core.codec.places import decode_at
from durable.core.errors import RunCancelled, RunFailed
from durable.core.replay.commands.base import BaseCall
from durable.core.replay.history import ChildEnd, Kind
from durable.core.replay.workflow import Workflow
from durable.core.run_options import CheckedOptions
from durable.core.runs import RunKey


class StartChild(BaseCall, frozen=True):
    """Begin a run of ``workflow`` as a child of this one; ``input`` is encoded. The answer is the child's run key."""

    workflow: Workflow[Any, Any]
    input: str
    options: CheckedOptions

    @property
    def kind(self) -> Kind:
        return "child"

    @property
    def name(self) -> str:
        return self.workflow.name

    def decode(self, text: str, codec: Codec, run_id: str) -> Any:
        return self.begun(text)

    @staticmethod
    def answer(run_key: RunKey) -> str:
        """Returns the answer, encoded as plain JSON so that the engine can read it too."""
        return msgspec.json.encode(str(run_key)).decode()

    @staticmethod
    def begun(text: str) -> RunKey:
        """Returns the child that such an answer names."""
        return RunKey.parse(msgspec.json.decode(text, type=str))


class WaitChild(BaseCall, frozen=True):
    """Wait for the end of a child. ``codec`` is the one that encoded its output. ``is_held``: a cancel of the run is
    held until the child, which is cancelled first, has ended."""

    run_key: RunKey
    output_type: Any
    codec: Codec
    is_held: bool = False

    @property
    def kind(self) -> Kind:
        return "child_result"

    @property
    def name(self) -> str:
        return self.run_key.run_id

    @property
    def type(self) -> Any:
        return self.output_type

    def decode(self, text: str, codec: Codec, run_id: str) -> Any:
        end = ChildEnd.parse(text, f"the answer to {self}")
        if end.status == "cancelled":
            raise RunCancelled(self.run_key, end.error.message if end.error else "no reason was given")
        if end.error is not None:
            raise RunFailed(self.run_key, end.error)
        return decode_at(self.codec, "output", self.run_key.run_id, "", end.output_text, self.type, self._output)

    def _output(self) -> str:
        return f"the output of child {self.run_key}"
