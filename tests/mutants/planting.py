"""How a bug is planted: one function is compiled anew from its own source with one change."""

from __future__ import annotations
import __future__

import inspect
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import msgspec


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
