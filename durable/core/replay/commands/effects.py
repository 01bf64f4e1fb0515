"""Commands that have no answer: what the run says, and what it no longer wants."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from durable.core.replay.commands.children import StartChild, WaitChild
from durable.core.replay.commands.publishing import Publish
from durable.core.replay.commands.steps import Draw, Execute, Reply, Transact
from durable.core.replay.commands.waits import Sleep, WaitEvent
from durable.core.runs import RunKey

Wait: TypeAlias = Sleep | WaitEvent | WaitChild
Drawn: TypeAlias = Draw | StartChild | Publish | Reply
"""Calls that are answered at once, without anything being executed."""
Call: TypeAlias = Execute | Transact | Drawn | Wait


class Abandon(msgspec.Struct, frozen=True):
    """The workflow's own code cancelled this call; its answer is no longer wanted."""

    call: Call


class SetStatus(msgspec.Struct, frozen=True):
    """The run shows this from now on; ``text`` is encoded."""

    text: str


class CancelChild(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """The workflow's own code wants this child cancelled, and no longer waits for it, or may still (``is_awaited``)."""

    run_key: RunKey
    is_awaited: bool = False


class Patch(msgspec.Struct, frozen=True):
    """The code has asked ``ctx.patched`` under this key for the first time, and was told ``is_patched``."""

    key: str
    is_patched: bool


Effect: TypeAlias = Abandon | CancelChild | SetStatus | Patch
