"""The call that sends an event to another run."""

from __future__ import annotations

import msgspec

from durable.core.codec.json_codec import Codec
from durable.core.replay.commands.base import BaseCall
from durable.core.replay.history import Kind
from durable.core.replay.targets import Keyed
from durable.core.runs import RunKey


class Publish(BaseCall, frozen=True):
    """Put an event into the inbox of ``target``; ``payload`` is encoded. The answer is the id of the event, which the
    workflow does not see."""

    target: RunKey | Keyed
    event_name: str
    payload: str

    @property
    def kind(self) -> Kind:
        return "publish"

    @property
    def name(self) -> str:
        return self.event_name

    def decode(self, text: str, codec: Codec, run_id: str) -> None:
        """Returns nothing."""

    @staticmethod
    def answer(event_id: str) -> str:
        """Returns the answer, encoded as plain JSON so that the engine can read it too."""
        return msgspec.json.encode(event_id).decode()

    @staticmethod
    def published(text: str) -> str:
        """Returns the id of the event that such an answer names."""
        return msgspec.json.decode(text, type=str)
