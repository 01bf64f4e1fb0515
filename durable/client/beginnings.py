"""What applications begin, checked before any statement is run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, Unpack, cast, get_args

from durable.client.new_begins import NewBegin, is_plain
from durable.client.requests import Ask, check_ask
from durable.client.targets import KeyedEvent, keyed_event
from durable.core.arguments import one_of
from durable.core.codec.json_codec import Codec
from durable.core.codec.places import Place
from durable.core.errors import InvalidArgument
from durable.core.events import Event
from durable.core.generations import IfActive, IfEnded
from durable.core.keyed_ids import keyed_run_id
from durable.core.keys import check_key
from durable.core.replay.targets import Keyed
from durable.core.replay.workflow import InputT, Workflow, check_workflow
from durable.core.run_arguments import storable_payload
from durable.core.run_options import CheckedOptions, RunOptions, checked_options
from durable.core.runs import RunKey
from durable.store.ids import uuid7

_IF_ACTIVE, _IF_ENDED = get_args(IfActive), get_args(IfEnded)


class BeginOptions(RunOptions, total=False):
    """The keywords of ``begin``, ``begin_tx`` and ``Begin``."""

    key: str | None
    """Names the runs that are begun with the same workflow and key, of which at most one executes at a time. What a
    call does if there is one already is said by ``if_active`` and ``if_ended``. Unless these are given, the call is
    idempotent for as long as the first run is kept: it always gives that run, whatever the other arguments are.
    ``None``, or not given: each call begins a run."""
    if_active: IfActive
    """What the call does if the newest run with the key has not ended. ``"join"``, or not given: it gives that run.
    ``"refuse"``: it raises ``RunExists``. ``"cancel"`` and ``"terminate"``: it requests that of the run and begins
    another one, which starts when that one has ended, clean-up included."""
    if_ended: IfEnded
    """What the call does if the newest run with the key has ended. ``"join"``, or not given: it gives that run, and
    with it the result. ``"begin_anew"``: it begins another one."""
    event: tuple[str | Event[Any], object] | None
    """The name and payload of an event that is published to the run, whether the call begins it or joins it. In the
    place of the name may be an ``Event``. With a key, ``if_ended`` must be ``"begin_anew"``: the event is then never
    lost. If a run that was joined ends without reading it, another run begins with this call's input and timeout, that
    run's tags, headers and priority, and the unread events."""
    request: Ask | None
    """A request that is made of the run, ``Ask(name, payload)``, in the same way and with the same promise;
    ``handle.reply`` waits for the answer. There can be an event or a request, not both. If its ``key`` is given and the
    newest run has been asked with it before, the call gives that run and the same reply."""


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
    if_active: IfActive = "join",
    if_ended: IfEnded = "join",
    event: tuple[str | Event[Any], object] | None = None,
    request: Ask | None = None,
    **options: Unpack[RunOptions],
) -> NewBegin:
    """Checks all arguments; ``codec`` is used if the workflow has none. Raises ``InvalidArgument`` or
    ``SerializationError``, naming ``argument`` for the input."""
    check_workflow(wf)
    checked = checked_options(wf.timeout, **options)
    return _new_run(codec, wf, input, argument, checked, key, if_active, if_ended, event, request)


def _new_run(
    codec: Codec,
    wf: Workflow[Any, Any],
    input: object,
    argument: str,
    checked: CheckedOptions,
    key: str | None = None,
    if_active: IfActive = "join",
    if_ended: IfEnded = "join",
    event: tuple[str | Event[Any], object] | None = None,
    request: Ask | None = None,
) -> NewBegin:
    one_of("if_active", if_active, _IF_ACTIVE)
    one_of("if_ended", if_ended, _IF_ENDED)
    is_simple = is_plain(if_active, if_ended, event if request is None else request)
    if not is_simple:
        _check_policies(key, if_active, if_ended, event, request)
    run_id = str(uuid7()) if key is None else keyed_run_id(wf.name, check_key("key", key))

    def input_for(owner: str) -> str:
        return storable_payload(wf.encoded_input(input, codec, Place("input", owner), argument), argument)

    new = NewBegin(
        run_id=run_id,
        workflow_name=wf.name,
        version=wf.version,
        input=input_for(run_id),
        key=key,
        if_active=if_active,
        if_ended=if_ended,
        message=_new_message(wf.codec or codec, wf, run_id, event, request),
        input_for=input_for,
        call_id="" if is_simple else str(uuid7()),
        delay=checked.delay,
        at=checked.at,
        priority=checked.priority,
        tags=checked.tags,
        timeout=checked.timeout,
        headers=checked.headers,
    )
    if new.message is not None and new.key is not None:
        storable_payload(new.bequest(RunKey("", run_id), is_own=True), argument)
    return new


def _check_policies(
    key: str | None,
    if_active: IfActive,
    if_ended: IfEnded,
    event: tuple[str | Event[Any], object] | None,
    request: Ask | None,
) -> None:
    for name, policy in (("if_active", if_active), ("if_ended", if_ended)):
        if key is None and policy != "join":
            raise InvalidArgument(name, policy, '"join" if no key is given')
    if event is not None and request is not None:
        raise InvalidArgument("request", request, "None if an event is given")
    if (event is not None or request is not None) and key is not None and if_ended == "join":
        what = ("an event", "reads no event") if request is None else ("a request", "answers no request")
        rule = f'"begin_anew" if a key and {what[0]} are given, because a run that has ended {what[1]}'
        raise InvalidArgument("if_ended", if_ended, rule)


def _new_message(
    codec: Codec,
    wf: Workflow[Any, Any],
    run_id: str,
    event: tuple[str | Event[Any], object] | None,
    request: Ask | None,
) -> KeyedEvent | None:
    target = Keyed(wf.name, run_id)
    if request is not None:
        ask = check_ask("request", request)
        return keyed_event(codec, target, run_id, ask.name, ask.payload, ask.key, "request")
    if event is None:
        return None
    if not isinstance(event, tuple) or len(event) != 2:
        raise InvalidArgument("event", event, "the name of an event and its payload: (name, payload)")
    name, payload = event
    return keyed_event(codec, target, run_id, name, payload, None)


def new_runs(
    codec: Codec, wf: Workflow[Any, Any], inputs: Iterable[object], **options: Unpack[RunOptions]
) -> list[NewBegin]:
    """Makes one run per input, in the same order, with the same options, but for those of each ``Begin``. Raises
    ``InvalidArgument`` or ``SerializationError``."""
    check_workflow(wf)
    checked = checked_options(wf.timeout, **options)
    try:
        named = [(f"inputs[{number}]", input) for number, input in enumerate(inputs)]
    except TypeError:
        raise InvalidArgument("inputs", inputs, "an iterable with one input per run") from None
    shared = cast("BeginOptions", options)  # every RunOptions is one, without a key
    made: list[NewBegin] = []
    for name, input in named:
        if isinstance(input, Begin):
            one = cast("Begin[object]", input)
            own: BeginOptions = {**shared, **one.options}
            made.append(new_run(codec, wf, one.input, argument=name, **own))
        else:
            made.append(_new_run(codec, wf, input, name, checked))
    return made
