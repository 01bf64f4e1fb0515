"""The walls of the house."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

import durable
from durable import AsyncClient, AsyncHandle, Client, Handle
from durable.store.queries import query

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "durable" / "store" / "queries"
QUERIES = sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.sql"))
MOST_LINES = 400


def signatures(of: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(member) for name, member in inspect.getmembers(of, callable) if not name.startswith("_")
    }


def without_colour(found: dict[str, inspect.Signature]) -> dict[str, inspect.Signature]:
    """The transaction, too, has the client's colour."""
    return {
        name: signature.replace(
            parameters=[
                parameter.replace(annotation=None) if parameter.name == "tx" else parameter
                for parameter in signature.parameters.values()
            ],
            return_annotation=None,
        )
        for name, signature in found.items()
    }


@pytest.mark.parametrize(("sync", "other"), [(Client, AsyncClient), (Handle, AsyncHandle)])
def test_both_colours_have_the_same_methods_with_the_same_signatures(sync: type, other: type) -> None:
    assert without_colour(signatures(sync)) == without_colour(signatures(other))


@pytest.mark.parametrize("name", QUERIES)
def test_every_query_prepares_on_a_fresh_schema(name: str, database: str) -> None:
    with psycopg.connect(database) as connection:
        text = query(name, "durable")
        parts = text.split("%(")
        names = list(dict.fromkeys(part.split(")s", 1)[0] for part in parts[1:]))
        for index, parameter in enumerate(names, 1):
            text = text.replace(f"%({parameter})s", f"${index}")  # type: ignore[assignment]
        connection.execute(f"PREPARE checked AS {text}".encode())


def test_every_query_has_one_home() -> None:
    modules = [path.read_text() for path in (ROOT / "durable").rglob("*.py")]
    for name in QUERIES:
        assert sum(text.count(f'"{name}"') for text in modules) >= 1, f"{name}.sql is asked by nobody"


def test_everything_public_is_explained() -> None:
    for name in durable.__all__:
        assert inspect.getdoc(getattr(durable, name)), f"durable.{name} has no docstring"
    assert sorted(durable.__all__) == sorted(set(durable.__all__))


def test_no_room_is_too_large() -> None:
    for path in (ROOT / "durable").rglob("*.py"):
        assert len(path.read_text().splitlines()) <= MOST_LINES, path


def test_importing_the_library_imports_no_extra() -> None:
    code = "import durable, sys; print(sorted({'rich', 'pydantic', 'croniter', 'argparse'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert shown.stdout == "[]\n"


def test_no_module_fails_to_import() -> None:
    for path in (ROOT / "durable").rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if name != "durable.embedded.supervisor":
            importlib.import_module(name)
