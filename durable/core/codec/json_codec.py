"""Values to JSON text and back, by declared type."""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import accumulate
from typing import Any, Never, NoReturn, Protocol

import msgspec

from durable.core.codec.culprit import MAX_DEPTH, find_culprit
from durable.core.codec.declared_types import find_unstorable
from durable.core.codec.models import AdapterDecoder, complaints, from_builtin, mentions_model, to_builtin
from durable.core.errors import DeserializationError, InvalidArgument, SerializationError, shorten

_MAX_TYPES = 4096  # classes may be created at run time, without limit


class Codec(Protocol):
    """How payloads are encoded for storage. ``what`` names the value in error messages. The text must be JSON."""

    def encode(self, value: object, what: str) -> str:
        """Raises ``SerializationError``, with the path to the culprit, if the value cannot be stored."""
        ...

    def decode(self, text: str, type: Any, what: str) -> Any:
        """Raises ``DeserializationError`` if the text does not fit the type."""
        ...

    def check_type(self, type: Any, what: str) -> None:
        """Raises ``SerializationError`` for a declared type whose values can never be read back."""
        ...


class _Decoder(Protocol):
    def decode(self, text: str, /) -> Any: ...


class JsonCodec:
    """JSON by msgspec, with at most ``max_bytes`` bytes of UTF-8 per value and at most 200 levels of nesting.

    Read with its declared type, a value comes back equal and of the same type. Read as ``Any``, it comes back as plain
    JSON: a tuple or set as a list, a datetime as its text, a dict's keys as ``str``. Values of a subclass of ``str``,
    ``int`` or ``float`` come back as the builtin, and unknown time zones as their offset in whole minutes.
    """

    def __init__(self, *, max_bytes: int = 1024 * 1024) -> None:
        if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 1:
            raise InvalidArgument("max_bytes", max_bytes, "a whole number of bytes, at least 1")
        self._max_bytes = max_bytes
        self._to_json = msgspec.json.Encoder(enc_hook=to_builtin).encode
        self._to_msgpack = msgspec.msgpack.Encoder(enc_hook=to_builtin).encode
        self._decoders: dict[Any, _Decoder] = {}
        self._checked: set[Any] = set()

    def encode(self, value: object, what: str) -> str:
        if value is None:
            return "null"
        try:
            data = self._to_json(value)
            text = data.decode()
        except Exception as error:
            raise find_culprit(value, what, str(error)) from None
        size = len(data)
        if size > self._max_bytes:
            raise SerializationError(
                what,
                "$",
                f"takes {size} bytes, but the limit is {self._max_bytes}; store it elsewhere and pass a reference",
            )
        if (b"null" in data and self._may_hide_nan(value)) or b"\\u0000" in data:
            culprit = find_culprit(value, what, None)
            if culprit is not None:
                raise culprit
        if size > 2 * MAX_DEPTH and _is_too_deep(data):
            raise find_culprit(value, what, _TOO_DEEP)
        return text

    def decode(self, text: str, type: Any, what: str) -> Any:
        try:
            try:
                decoder = self._decoders[type]
            except (KeyError, TypeError):  # TypeError: an unhashable annotation
                decoder = self._decoder(type)
            value = decoder.decode(text)
        except Exception as error:  # __post_init__ and validators are user code
            raise DeserializationError(what, _described(error)) from None
        if len(text) > 2 * MAX_DEPTH and _is_too_deep(text.encode()):
            raise DeserializationError(what, _TOO_DEEP)
        return value

    def check_type(self, type: Any, what: str) -> None:
        try:
            if type in self._checked:
                return
        except TypeError:  # an unhashable annotation
            pass
        if type is not Never and type is not NoReturn:
            try:
                decoder = self._decoder(type)
                complaint = None if isinstance(decoder, AdapterDecoder) else find_unstorable(type)
            except Exception as error:
                complaint = "$", f"is declared as {shorten(repr(type))}, which cannot be read back: {_described(error)}"
            if complaint is not None:
                raise SerializationError(what, *complaint)
        if len(self._checked) >= _MAX_TYPES:
            self._checked.clear()
        with suppress(TypeError):
            self._checked.add(type)

    def _decoder(self, type: Any) -> _Decoder:
        try:
            decoder: _Decoder = msgspec.json.Decoder(type, dec_hook=from_builtin)
        except TypeError:
            if not mentions_model(type):
                raise
            decoder = AdapterDecoder(type)
        if len(self._decoders) >= _MAX_TYPES:
            self._decoders.clear()
        with suppress(TypeError):
            self._decoders[type] = decoder
        return decoder

    def _may_hide_nan(self, value: object) -> bool:
        # msgspec writes NaN and Infinity to JSON as null, but to MessagePack as they are. Looking there is twenty times
        # as fast as a walk in Python, and it is done for every value with a None in it.
        try:
            return _NOT_FINITE(self._to_msgpack(value)) is not None
        except Exception:  # MessagePack has no ints beyond 64 bits
            return True


_TOO_DEEP = f"it is nested more than {MAX_DEPTH} levels deep"
_NOT_FINITE = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]").search
_STRINGS = re.compile(rb'"[^"]*"')
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))
_LEVELS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def _is_too_deep(data: bytes) -> bool:
    """Expects valid JSON. All of the work is done in C, because a large flat value must not pay for the check."""
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return False
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = _STRINGS.sub(b"", data.translate(None, _NOT_STRUCTURE).replace(b'""', b""))
    return max(accumulate(map(_LEVELS.__getitem__, brackets)), default=0) > MAX_DEPTH


def _described(error: Exception) -> str:
    text = shorten(complaints(error) or str(error), 1000)
    return text if isinstance(error, (TypeError, ValueError)) else f"{type(error).__name__}: {text}"
