"""What a machine asks its surroundings to do: frozen values, matched with ``match``.

A *call* is a command that will be answered and whose answer is memoized under its key. Its ``kind`` and ``name`` are
what a memo is compared with on replay.
"""

from __future__ import annotations

from typing import TypeAlias

from durable.core.replay.commands.base import BaseCall
from durable.core.replay.commands.children import StartChild, WaitChild
from durable.core.replay.commands.decisions import (
    Complete,
    ContinueAsNew,
    Decision,
    EndCancelled,
    Fail,
    SetAside,
    failure_of,
)
from durable.core.replay.commands.effects import Abandon, Call, CancelChild, Drawn, Effect, Patch, SetStatus, Wait
from durable.core.replay.commands.publishing import Publish
from durable.core.replay.commands.steps import Draw, Execute, ReadChild, Reply, Source, Transact, Undo
from durable.core.replay.commands.waits import ArmTimer, Sleep, WaitEvent, WaitEvents, WaitRequest

Command: TypeAlias = Call | Effect | Decision

__all__ = [
    "Abandon",
    "ArmTimer",
    "BaseCall",
    "Call",
    "CancelChild",
    "Command",
    "Complete",
    "ContinueAsNew",
    "Decision",
    "Draw",
    "Drawn",
    "Effect",
    "EndCancelled",
    "Execute",
    "Fail",
    "Patch",
    "Publish",
    "ReadChild",
    "Reply",
    "SetAside",
    "SetStatus",
    "Sleep",
    "Source",
    "StartChild",
    "Transact",
    "Undo",
    "Wait",
    "WaitChild",
    "WaitEvent",
    "WaitEvents",
    "WaitRequest",
    "failure_of",
]
