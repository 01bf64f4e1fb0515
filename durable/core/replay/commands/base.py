"""What all calls have in common."""

from __future__ import annotations

from typing import Any

import msgspec

from durable.core.codec.json_codec import Codec
from durable.core.codec.places import decode_at
from durable.core.errors import EventTimeout, StepFailed
from durable.core.failures import ErrorInfo
from durable.core.replay.history import Kind, describe


class BaseCall(msgspec.Struct, frozen=True):
    key: str

    @property
    def kind(self) -> Kind:
        raise NotImplementedError  # a Struct cannot be abstract; each command has its own kind

    @property
    def name(self) -> str:
        return ""

    @property
    def type(self) -> Any:
        """The declared type of the answer."""
        return None

    def decode(self, text: str, codec: Codec, run_id: str) -> Any:
        """Returns the answer as the workflow sees it. Raises what the workflow sees instead."""
        return decode_at(codec, "step", run_id, self.key, text, self.type, self._answer)

    def failure(self, error: ErrorInfo) -> StepFailed:
        """Returns what the workflow sees if the call has failed for good."""
        return StepFailed(self.key, error)

    def timed_out(self) -> EventTimeout:
        """Returns what the workflow sees if the call has waited for too long."""
        return EventTimeout(self.key, self.name)

    def _answer(self) -> str:
        return f"the answer to {self}"

    def __str__(self) -> str:
        return describe(self.kind, self.key, self.name)
