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

_MAX_TYPES = 4096  # classes may be made at run time, without end


class Codec(Protocol):
    """How payloads are stored. ``what`` names the value in error messages. The text must be JSON."""

    def encode(self, value: object, what: str) -> str:
        """Raises ``SerializationError``, with the path to the culprit, for what cannot be stored."""
        ...

    def decode(self, text: str, type: Any, what: str) -> Any:
        """Raises ``DeserializationError`` for text that does not fit the type."""
        ...

    def check_type(self, type: Any, what: str) -> None:
        """Raises ``SerializationError`` for a declared type of which no value can ever be read back."""
        ...


class _Decoder(Protocol):
    def decode(self, text: str, /) -> Any: ...


class JsonCodec:
    """JSON by msgspec; at most ``max_bytes`` of UTF-8 a value, 200 levels deep.

    By its declared type a value comes back equal, type included. Under ``Any`` it comes back as plain JSON: a tuple or
    set as a list, a datetime as its text, a dict's keys as ``str``. Strings, ints and floats of a subclass come back as
    the builtin, unknown time zones as their offset in whole minutes.
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
                f"takes {size} bytes, the limit is {self._max_bytes}; store it elsewhere and pass a reference",
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
            except (KeyError, TypeError):  # TypeError: an annotation without a hash
                decoder = self._decoder(type)
            value = decoder.decode(text)
        except Exception as error:  # __post_init__ and validators are the user's
            raise DeserializationError(what, _described(error)) from None
        if len(text) > 2 * MAX_DEPTH and _is_too_deep(text.encode()):
            raise DeserializationError(what, _TOO_DEEP)
        return value

    def check_type(self, type: Any, what: str) -> None:
        try:
            if type in self._checked:
                return
        except TypeError:  # an annotation without a hash
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
        # msgspec writes NaN and Infinity as null into JSON, but as they are into MessagePack: twenty times as fast as
        # a walk in Python, for every value with a None in it.
        try:
            return _NOT_FINITE(self._to_msgpack(value)) is not None
        except Exception:  # it has no ints beyond 64 bits
            return True


_TOO_DEEP = f"it is nested more than {MAX_DEPTH} levels deep"
_NOT_FINITE = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]").search
_STRINGS = re.compile(rb'"[^"]*"')
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))
_LEVELS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def _is_too_deep(data: bytes) -> bool:
    """For valid JSON. In C from end to end: a large flat value must not pay for the check."""
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return False
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = _STRINGS.sub(b"", data.translate(None, _NOT_STRUCTURE).replace(b'""', b""))
    return max(accumulate(map(_LEVELS.__getitem__, brackets)), default=0) > MAX_DEPTH


def _described(error: Exception) -> str:
    text = shorten(complaints(error) or str(error), 1000)
    return text if isinstance(error, (TypeError, ValueError)) else f"{type(error).__name__}: {text}"
