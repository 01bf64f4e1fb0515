"""What applications begin, checked before any statement is run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, Unpack, cast

import msgspec

from durable.client.arguments import storable_payload
from durable.core.codec.json_codec import Codec
from durable.core.codec.places import Place
from durable.core.errors import InvalidArgument
from durable.core.keys import check_key
from durable.core.replay.workflow import InputT, Workflow, check_workflow
from durable.core.run_options import RunOptions, checked_options
from durable.store.ids import keyed_run_id, uuid7
from durable.store.runs import NewRun


class BeginOptions(RunOptions, total=False):
    """The keywords of ``begin``, ``begin_tx`` and ``Begin``."""

    key: str | None
    """Makes the call idempotent for as long as the first run is kept: the same workflow and key always give the same
    run, whatever the other arguments are. ``None``, or not given: each call begins a run."""


class Begin(Generic[InputT]):
    """One of the inputs of ``begin_many`` together with options of its run, which come before those that all share:
    ``client.begin_many(ship, [Begin(order, key=order.id) for order in orders], priority=1)``."""

    __slots__ = ("input", "options")

    def __init__(self, input: InputT, **options: Unpack[BeginOptions]) -> None:
        self.input = input
        self.options = options


def new_run(
    codec: Codec,
    wf: Workflow[Any, Any],
    input: object,
    *,
    argument: str = "input",
    key: str | None = None,
    **options: Unpack[RunOptions],
) -> NewRun:
    """Checks all arguments; ``codec`` is used if the workflow has none. Raises ``InvalidArgument`` or
    ``SerializationError``, naming ``argument`` for the input."""
    check_workflow(wf)
    run_id = str(uuid7()) if key is None else keyed_run_id(wf.name, check_key("key", key))
    return NewRun(
        run_id=run_id,
        workflow_name=wf.name,
        version=wf.version,
        input=storable_payload(wf.encoded_input(input, codec, Place("input", run_id), argument), argument),
        key=key,
        **msgspec.structs.asdict(checked_options(wf.timeout, **options)),
    )


def new_runs(
    codec: Codec, wf: Workflow[Any, Any], inputs: Iterable[object], **options: Unpack[RunOptions]
) -> list[NewRun]:
    """Makes one run per input, in the same order, with the same options, but for those of each ``Begin``. Raises
    ``InvalidArgument`` or ``SerializationError``."""
    check_workflow(wf)
    checked_options(wf.timeout, **options)  # even if there are no inputs
    try:
        named = [(f"inputs[{number}]", input) for number, input in enumerate(inputs)]
    except TypeError:
        raise InvalidArgument("inputs", inputs, "an iterable with one input per run") from None
    shared = cast("BeginOptions", options)  # every RunOptions is one, without a key
    made: list[NewRun] = []
    for name, input in named:
        own: BeginOptions = shared
        if isinstance(input, Begin):
            one = cast("Begin[object]", input)
            input = one.input
            own = {**shared, **one.options}
        made.append(new_run(codec, wf, input, argument=name, **own))
    return made
