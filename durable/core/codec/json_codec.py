"""Values to JSON text and back, by declared type."""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import accumulate
from typing import Any, Never, NoReturn, Protocol

import msgspec

from durable.core.codec.collisions import CROWDED, MAX_UNSEEN, is_crowded
from durable.core.codec.complaints import described
from durable.core.codec.culprit import MAX_DEPTH, find_culprit
from durable.core.codec.declared_types import Judgment, judge
from durable.core.codec.differences import find_difference
from durable.core.codec.hooks import AdapterDecoder, from_builtin, to_builtin
from durable.core.codec.models import mentions_model
from durable.core.errors import DeserializationError, InvalidArgument, LossyType, SerializationError, shorten

_MAX_TYPES = 4096  # classes may be created at run time, without limit


class Codec(Protocol):
    """How payloads are encoded for storage. ``what`` names the value in error messages. The text must be JSON.

    A codec may also have a method ``bound_to(place: Place) -> Codec``. Then each value is encoded and decoded by what
    that returns for the place at which the value is stored.
    """

    def encode(self, value: object, what: str) -> str:
        """Raises ``SerializationError``, with the path to the culprit, if the value cannot be stored."""
        ...

    def decode(self, text: str, type: Any, what: str) -> Any:
        """Raises ``DeserializationError`` if the text does not fit the type."""
        ...

    def check_type(self, type: Any, what: str) -> None:
        """Raises ``SerializationError`` for a declared type whose values can never be read back, and ``LossyType`` for
        one whose values never come back whole."""
        ...


def encode_as(codec: Codec, value: object, type: Any, what: str) -> str:
    """Encodes a value that will be read with that declared type. Raises ``SerializationError`` also if it would come
    back different. Whether it fits the type at all is found out by those who read it."""
    text = codec.encode(value, what)
    if isinstance(codec, JsonCodec) and codec.may_change(type):
        try:
            back = codec.decode(text, type, what)
        except DeserializationError:
            return text
        codec.check_unchanged(value, back, type, what)
    return text


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
        self._judgments: dict[Any, Judgment] = {}

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
        if (
            (b"null" in data and self._may_hide_nan(value))
            or b"\\u0000" in data
            or (_NUMBER_AS_KEY(data) is not None and self._may_repeat_key(data))
        ):
            culprit = find_culprit(value, what, None)
            if culprit is not None:
                raise culprit
        if size > 2 * MAX_DEPTH and _is_too_deep(data):
            raise find_culprit(value, what, _TOO_DEEP)
        return text

    def check_unchanged(self, value: object, back: object, type: Any, what: str) -> None:
        """Raises ``SerializationError`` if ``back``, which is what was read of the value with that declared type, is
        different. Most types rule that out, and nothing is compared."""
        if self.may_change(type):
            difference = find_difference(value, back)
            if difference is not None:
                raise SerializationError(what, *difference)

    def may_change(self, type: Any) -> bool:
        """Returns whether a value may come back different if it is read with that declared type."""
        try:
            return self._judgment(type).needs_comparison
        except Exception:  # a type that cannot be read: check_type says so
            return False

    def decode(self, text: str, type: Any, what: str) -> Any:
        try:
            decoder = self._decoders[type]
        except Exception:  # not only KeyError: an annotation may be unhashable, or its hash be the caller's own code
            try:
                decoder = self._decoder(type)
            except Exception as error:
                raise DeserializationError(what, _said_of_type(error)) from None
        try:
            if len(text) > MAX_UNSEEN and self._judgment(type).hashes_numbers and is_crowded(text):
                raise DeserializationError(what, CROWDED)
            value = decoder.decode(text)
        except DeserializationError:
            raise
        except Exception as error:  # __post_init__ and validators are user code
            raise DeserializationError(what, described(error, self._names(type))) from None
        if len(text) > 2 * MAX_DEPTH and _is_too_deep(text.encode()):
            raise DeserializationError(what, _TOO_DEEP)
        return value

    def check_type(self, type: Any, what: str) -> None:
        if type is Never or type is NoReturn:
            return
        try:
            judgment = self._judgment(type)
        except Exception as error:
            reason = f"is declared as {shorten(repr(type))}, which cannot be read back: {_said_of_type(error)}"
            raise SerializationError(what, "$", reason) from (error if isinstance(error, NameError) else None)
        if judgment.complaint is not None:
            raise SerializationError(what, *judgment.complaint)
        if judgment.loss is not None:
            raise LossyType(what, *judgment.loss)

    def _judgment(self, type: Any) -> Judgment:
        """Judges each type once. Raises what msgspec or pydantic raises for a type that it rejects."""
        try:
            return self._judgments[type]
        except Exception:  # not only KeyError: an annotation may be unhashable, or its hash be the caller's own code
            judgment = judge(type, by_pydantic=isinstance(self._decoder(type), AdapterDecoder))
        if len(self._judgments) >= _MAX_TYPES:
            self._judgments.clear()
        with suppress(TypeError):
            self._judgments[type] = judgment
        return judgment

    def _names(self, type: Any) -> frozenset[str]:
        try:
            return self._judgment(type).names
        except Exception:
            return frozenset()

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

    def _may_repeat_key(self, data: bytes) -> bool:
        # 1 and "1" are two keys in Python and one in JSON. What was read has each key once, so that it is shorter.
        try:
            return len(self._to_json(msgspec.json.decode(data))) != len(data)
        except Exception:  # an int that msgspec writes but does not read
            return True


_TOO_DEEP = f"it is nested more than {MAX_DEPTH} levels deep"
_NOT_FINITE = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]").search
_NUMBER_AS_KEY = re.compile(rb'"-?[0-9][^"\\]*":').search
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


def _said_of_type(error: Exception) -> str:
    text = shorten(str(error), 1000)  # nothing of a value is in there
    return text if isinstance(error, (TypeError, ValueError)) else f"{type(error).__name__}: {text}"
