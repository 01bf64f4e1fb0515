"""How workflow code calls a step: under a key, with options where they cannot collide with the function's arguments."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from typing import Any, TypeVar

import msgspec

from durable.core.errors import InvalidArgument
from durable.core.keys import check_key
from durable.core.replay.commands import Execute
from durable.core.replay.isolation import isolated, isolated_by_name
from durable.core.replay.signatures import Signature
from durable.core.retry import RetryPolicy

ExecuteT = TypeVar("ExecuteT", bound=Execute)

_RETRIED = RetryPolicy()
_NOT_RETRIED = RetryPolicy(max_retries=0)


class Call(msgspec.Struct, frozen=True):
    """The key of a step together with options of the call, passed in the place of a plain key:
    ``ctx.execute(Call("charge", retry=RetryPolicy(max_retries=5)), charge, order)``.

    ``retry`` is ``RetryPolicy()`` if it is ``None``. ``name`` is recorded in the place of the function's own name, so
    that a function that was given a name before a deploy can be renamed or moved without setting runs aside. With
    ``at_most_once``, it is recorded that the call begins before it does, and if no result is known then because the
    worker died, the call raises ``StepInterrupted`` and the function is not called again; nor is it after an error.

    Raises ``InvalidArgument`` for a key or a name that is not a non-empty str of at most 200 bytes, and for retries of
    what may happen at most once.
    """

    key: str
    retry: RetryPolicy | None = None
    name: str | None = None
    at_most_once: bool = False

    def __post_init__(self) -> None:
        check_key("key", self.key)
        if self.name is not None:
            check_key("name", self.name)
        if self.retry is not None and not isinstance(self.retry, RetryPolicy):
            raise InvalidArgument("retry", self.retry, "a RetryPolicy, or None for RetryPolicy()")
        if self.at_most_once and self.retry is not None and self.retry.max_retries > 0:
            raise InvalidArgument("retry", self.retry, "a policy with max_retries=0, because at_most_once is set")

    @property
    def policy(self) -> RetryPolicy:
        """The policy that applies."""
        return self.retry or (_NOT_RETRIED if self.at_most_once else _RETRIED)


def step_call(
    command: type[ExecuteT],
    key: str | Call,
    fn: Callable[..., object],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    signature: Signature,
) -> ExecuteT:
    """Returns the command to call ``fn(*args, **kwargs)``. Raises ``InvalidArgument`` for a key that is none and for
    an argument that the function does not take."""
    if kwargs:
        _check_names(signature, kwargs)
        kwargs = isolated_by_name(kwargs)
    if isinstance(key, Call):
        name = key.name or signature.name
        retry, is_at_most_once = key.policy, key.at_most_once
        key = key.key
    else:
        key, name, retry, is_at_most_once = check_key("key", key), signature.name, _RETRIED, False
    return command(key, fn, isolated(args), kwargs, retry, name, is_at_most_once, signature, copy_context())


def _check_names(signature: Signature, kwargs: dict[str, Any]) -> None:
    if signature.keywords is None:
        return
    for name, value in kwargs.items():
        if name not in signature.keywords:
            rule = f"a parameter of {signature.name} (an option of the call goes into its key: Call(key, {name}=…))"
            raise InvalidArgument(name, value, rule)
