"""Values to JSON text and back, by declared type."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from durable.core.culprit import find_culprit
from durable.core.errors import DeserializationError, SerializationError

MAX_DEPTH = 200


class Codec(Protocol):
    """How payloads are stored. ``what`` names the value in error messages. The text must be JSON."""

    def encode(self, value: object, what: str) -> str:
        """Raises ``SerializationError``, with the path to the culprit, for what cannot be read back unchanged."""
        ...

    def decode(self, text: str, type: Any, what: str) -> Any:
        """Raises ``DeserializationError`` for text that does not fit the type."""
        ...

    def check_type(self, type: Any, what: str) -> None:
        """Raises ``SerializationError`` for a declared type of which no value can ever be stored."""
        ...


class JsonCodec:
    """JSON by msgspec; at most ``max_bytes`` a value."""

    def __init__(self, *, max_bytes: int = 1024 * 1024) -> None:
        self._max_bytes = max_bytes
        self._encoder = msgspec.json.Encoder(enc_hook=_to_builtin)
        self._decoders: dict[Any, msgspec.json.Decoder[Any]] = {}
        self._checked: set[Any] = set()

    def encode(self, value: object, what: str) -> str:
        try:
            data = self._encoder.encode(value)
        except (TypeError, ValueError, OverflowError, RecursionError, NotImplementedError) as error:
            raise find_culprit(value, what, str(error)) from None
        if len(data) > self._max_bytes:
            raise SerializationError(
                what,
                "$",
                f"takes {len(data)} bytes, the limit is {self._max_bytes}; store it elsewhere, pass a reference",
            )
        if b"null" in data or b"\\u0000" in data or data.count(b"[") + data.count(b"{") > MAX_DEPTH:
            culprit = find_culprit(value, what, None)
            if culprit is not None:
                raise culprit
        return data.decode()

    def decode(self, text: str, type: Any, what: str) -> Any:
        try:
            decoder = self._decoders.get(type)
            if decoder is None:
                decoder = self._decoders[type] = msgspec.json.Decoder(type, dec_hook=_from_builtin)
        except TypeError:
            decoder = msgspec.json.Decoder(type, dec_hook=_from_builtin)
        try:
            return decoder.decode(text)
        except (msgspec.MsgspecError, ValueError, TypeError, RecursionError, NotImplementedError) as error:
            raise DeserializationError(what, str(error)) from None

    def check_type(self, type: Any, what: str) -> None:
        return None


def _to_builtin(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json")
    raise NotImplementedError(f"{type(value).__qualname__} is not supported")


def _from_builtin(type: Any, value: Any) -> Any:
    validate = getattr(type, "model_validate", None)
    if validate is not None:
        return validate(value)
    raise NotImplementedError(f"{type!r} cannot be read from JSON")
