"""What a run can be given besides its input, wherever it is begun: the options, and how they are checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TypedDict

import msgspec

from durable.core.arguments import whole_number
from durable.core.codec.complaints import described
from durable.core.durations import aware, positive, seconds
from durable.core.errors import DeserializationError, InvalidArgument
from durable.core.keys import check_key

_MAX_TAGS = 64
_MAX_TAG_BYTES = 1000
_MAX_HEADER_BYTES = 8192
"""A check in the schema."""


class GivenOptions(TypedDict, total=False):
    """What each run is given, also those that a schedule begins."""

    priority: int
    """Runs with a higher priority start first; from -32768 to 32767, 0 if not given."""
    tags: Mapping[str, str] | None
    """At most 64 names and values by which people can find the run."""
    timeout: timedelta | float | None
    """How long the run may take, as for ``@workflow``. ``None``, or not given: as long as its workflow says."""
    headers: Mapping[str, str] | None
    """Names and values, together at most 8 KiB as JSON, that are kept with the run, shown as ``ctx.headers`` and inside
    its steps, and inherited by its children: a request id, the tenant, the context of a trace."""


class RunOptions(GivenOptions, total=False):
    """What each run is given that begins once."""

    delay: timedelta | float | None
    """The run starts this many seconds from now at the earliest, by the database's clock. Cannot be combined with
    ``at``."""
    at: datetime | None
    """The earliest time at which the run starts; an aware datetime. Cannot be combined with ``delay``. If neither is
    given, the run may start at once."""


class CheckedOptions(msgspec.Struct, frozen=True, gc=False):
    """Options that can be stored: ``delay`` and ``timeout`` are in seconds, ``tags`` and ``headers`` are encoded."""

    delay: float | None = None
    at: datetime | None = None
    priority: int = 0
    tags: str | None = None
    timeout: float | None = None
    headers: str | None = None


def checked_options(
    default_timeout: float | None,
    *,
    inherited: Given | None = None,
    delay: timedelta | float | None = None,
    at: datetime | None = None,
    priority: int = 0,
    tags: Mapping[str, str] | None = None,
    timeout: timedelta | float | None = None,
    headers: Mapping[str, str] | None = None,
) -> CheckedOptions:
    """Checks options. ``default_timeout`` is that of the workflow, in seconds; of ``inherited``, the headers are added
    to those that are given. Raises ``InvalidArgument``."""
    if delay is not None and at is not None:
        raise InvalidArgument("at", at, "None if delay is given")
    encoded_headers: str | None
    if headers is not None:
        encoded_headers = _encoded_headers(headers, {} if inherited is None else inherited.headers)
    else:
        encoded_headers = None if inherited is None else inherited.headers_text
    return CheckedOptions(
        delay=None if delay is None else seconds("delay", delay),
        at=None if at is None else aware("at", at).astimezone(UTC),
        priority=whole_number("priority", priority, -32768, 32767),
        tags=None if tags is None else _encoded_tags(tags),
        timeout=default_timeout if timeout is None else positive("timeout", timeout),
        headers=encoded_headers,
    )


class Given(msgspec.Struct, frozen=True, gc=False):
    """What a run was given besides its input, as it is stored. It is decoded only when it is asked for, so that a row
    that was written by hand fails the code that reads it, and nothing else."""

    tags_text: str | None = None
    headers_text: str | None = None

    @property
    def tags(self) -> dict[str, str]:
        """The tags. Raises ``DeserializationError``."""
        return _texts("tags", self.tags_text)

    @property
    def headers(self) -> dict[str, str]:
        """The headers. Raises ``DeserializationError``."""
        return _texts("headers", self.headers_text)


NOTHING_GIVEN = Given()


def _texts(name: str, text: str | None) -> dict[str, str]:
    if text is None:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise DeserializationError(f"the {name} of the run", described(error)) from None


def _encoded_tags(tags: Mapping[str, str]) -> str:
    def is_value(tag: object) -> bool:
        return isinstance(tag, str) and "\0" not in tag and len(tag.encode(errors="replace")) <= _MAX_TAG_BYTES

    rule = f"a mapping of at most {_MAX_TAGS} names to str values of at most {_MAX_TAG_BYTES} bytes without NUL"
    if not isinstance(tags, Mapping) or len(tags) > _MAX_TAGS:
        raise InvalidArgument("tags", tags, rule)
    return _encoded("tags", tags, is_value, rule)


def _encoded_headers(headers: Mapping[str, str], inherited: Mapping[str, str]) -> str:
    def is_value(header: object) -> bool:
        return isinstance(header, str) and "\0" not in header and len(header) <= _MAX_HEADER_BYTES

    # The values are payload: they appear in no message.
    rule = f"a mapping of names to str values without NUL, together at most {_MAX_HEADER_BYTES} bytes as JSON"
    if not isinstance(headers, Mapping):
        raise InvalidArgument("headers", headers, rule, got=f"a {type(headers).__name__}")
    if len(headers) > _MAX_HEADER_BYTES:
        raise InvalidArgument("headers", headers, rule, got=f"{len(headers)} names")
    text = _encoded("headers", {**inherited, **headers}, is_value, rule, got="a mapping with another value")
    size = len(text.encode())
    if size > _MAX_HEADER_BYTES:
        got = f"{size} bytes with those that are inherited" if inherited else f"{size} bytes"
        raise InvalidArgument("headers", headers, rule, got=got)
    return text


def _encoded(
    argument: str, texts: Mapping[str, str], is_value: Callable[[object], bool], rule: str, got: str | None = None
) -> str:
    plain: dict[str, str] = {}
    for name, text in texts.items():
        if not is_value(text):
            raise InvalidArgument(argument, texts, rule, got=got)
        plain[check_key(argument, name)] = str.__str__(text)
    try:
        return msgspec.json.encode(plain).decode()
    except UnicodeEncodeError:
        raise InvalidArgument(argument, texts, rule, got=got) from None
