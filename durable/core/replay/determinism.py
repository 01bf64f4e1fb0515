"""Finds calls in workflow code whose result would be different in a replay, as far as its source shows them."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

_CLOCK = "use ctx.now"
_CHANCE = "use ctx.random_uuid7, ctx.random_uint64 or ctx.random"
_ADVICE = {
    "time.sleep": "it blocks every run of this worker; use ctx.sleep",
    **dict.fromkeys(
        (
            "time.time",
            "time.time_ns",
            "time.monotonic",
            "time.monotonic_ns",
            "time.perf_counter",
            "time.perf_counter_ns",
            "datetime.datetime.now",
            "datetime.datetime.utcnow",
            "datetime.datetime.today",
            "datetime.date.today",
        ),
        _CLOCK,
    ),
    **dict.fromkeys(("uuid.uuid1", "uuid.uuid4", "uuid.uuid6", "uuid.uuid7", "posix.urandom", "nt.urandom"), _CHANCE),
}
_MODULES_OF_CHANCE = ("random", "secrets")

_Nested = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


def undetermined_calls(function: Callable[..., object]) -> list[tuple[str, str]]:
    """Returns the calls in the function itself whose result is different each time, as (call, advice), in the order of
    the source. Functions defined in it are left out because they may well be steps, and so is anything whose source
    cannot be read."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError, RecursionError, SystemError):
        return []  # SystemError: CPython 3.11 may lose count of its recursion while it parses
    body = next((node.body for node in tree.body if isinstance(node, ast.AsyncFunctionDef)), list[ast.stmt]())
    known = _names(function)
    found: list[tuple[str, str]] = []
    for call in _calls(body):
        name = _full_name(_resolve(call.func, known))
        advice = _ADVICE.get(name, _CHANCE if name.partition(".")[0] in _MODULES_OF_CHANCE else "")
        if advice:
            found.append((ast.unparse(call.func), advice))
    return found


def _names(function: Callable[..., object]) -> Mapping[str, object]:
    try:
        variables = inspect.getclosurevars(function)
    except (TypeError, ValueError):
        return {}
    return {**variables.builtins, **variables.globals, **variables.nonlocals}


def _calls(body: list[ast.stmt]) -> Iterator[ast.Call]:
    waiting: list[ast.AST] = list(reversed(body))
    while waiting:
        node = waiting.pop()
        if isinstance(node, _Nested):
            continue
        if isinstance(node, ast.Call):
            yield node
        waiting.extend(reversed(list(ast.iter_child_nodes(node))))


def _resolve(node: ast.expr, known: Mapping[str, object]) -> object:
    """Returns the object that a dotted name stands for, if that can be determined without running anything."""
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = _resolve(node.value, known)
        if isinstance(owner, ModuleType | type):
            return getattr(owner, node.attr, None)
    return None


def _full_name(found: Any) -> str:
    name = getattr(found, "__name__", "")
    owner = getattr(found, "__self__", None)
    if isinstance(owner, type):
        return f"{owner.__module__}.{owner.__qualname__}.{name}"
    if owner is not None and not isinstance(owner, ModuleType):
        return f"{type(owner).__module__}.{name}"  # the functions of `random` are methods of a hidden object
    return f"{getattr(found, '__module__', '')}.{name}"
