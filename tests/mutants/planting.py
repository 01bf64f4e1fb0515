"""How a bug is planted: one function is compiled anew from its own source with one change."""

from __future__ import annotations
import __future__

import inspect
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, LiteralString
from unittest.mock import patch

import msgspec

from durable.store.queries import query_text
from durable.store.statement import QUERIES


class QueryMutant(msgspec.Struct, frozen=True):
    """The same for a statement, which is known by its name."""

    name: str
    law: str
    query: str
    old: str
    new: str

    @contextmanager
    def planted(self) -> Iterator[None]:
        with patch.dict(QUERIES[self.query]._texts, {"durable": self._changed()}):
            yield

    def _changed(self) -> LiteralString:
        text = query_text(self.query, "durable")
        assert text.count(self.old) == 1, f"{self.name}: {self.old!r} occurs {text.count(self.old)} times"
        return text.replace(self.old, self.new)  # type: ignore[arg-type]


class Mutant(msgspec.Struct, frozen=True):
    """``law`` is the one that must find it. ``old`` must occur in the source: a mutant that rots is noticed."""

    name: str
    law: str
    owner: Any
    function: str
    old: str
    new: str

    @contextmanager
    def planted(self) -> Iterator[None]:
        """While the bug is in."""
        with patch.object(self.owner, self.function, self._changed()):
            yield

    def _changed(self) -> Any:
        original = inspect.getattr_static(self.owner, self.function)
        plain = original.__func__ if isinstance(original, staticmethod | classmethod) else original
        plain = plain.fget if isinstance(plain, property) else plain
        source = textwrap.dedent(inspect.getsource(plain))
        assert source.count(self.old) == 1, f"{self.name}: {self.old!r} occurs {source.count(self.old)} times"
        code = compile(
            source.replace(self.old, self.new), f"<{self.name}>", "exec", flags=__future__.annotations.compiler_flag
        )
        scope = dict(vars(sys.modules[plain.__module__]))
        exec(code, scope)
        return scope[self.function]
