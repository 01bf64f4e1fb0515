"""What is in the tree, and what is installed with it."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "durable").rglob("*.py"))
FORBIDDEN_MODULES = {
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "marshal",
    "shelve",
    "yaml",
    "jsonpickle",
    "code",
    "codeop",
}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
# They look a module up by its name: the command line's workflows, and constants.
IMPORTERS = {
    "durable/cli/command.py",
    "durable/cli/worker.py",
    "durable/core/replay/ordering.py",
    "durable/core/schedules/fields.py",
    "durable/contrib/asyncpg.py",
    "durable/postgres/transactions.py",
}
SECRETS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}\b|\bsk-[A-Za-z0-9]{20,}\b"
    r"|\bxox[abps]-[A-Za-z0-9-]{10,}|\bpypi-AgEIcHlwaS5vcmc|postgres(?:ql)?://[^\s:@/\"']+:(?!geheim|…|\{|%zz)[^\s@\"']+@"
)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_can_execute_what_is_stored(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not {alias.name.partition(".")[0] for alias in node.names} & FORBIDDEN_MODULES
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").partition(".")[0] not in FORBIDDEN_MODULES
        elif isinstance(node, ast.Call):
            called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            assert not (isinstance(node.func, ast.Name) and called in FORBIDDEN_CALLS), ast.unparse(node)
            assert called not in ("system", "popen", "execv", "spawnv"), ast.unparse(node)
            assert called != "import_module" or str(path.relative_to(ROOT)) in IMPORTERS, ast.unparse(node)
            assert not any(word.arg == "shell" for word in node.keywords), ast.unparse(node)


def test_no_secret_is_in_the_tree() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, cwd=ROOT, check=False)
    if listed.returncode != 0:
        pytest.skip("not a checkout")
    names = [name for name in listed.stdout.decode().split("\0") if name]
    assert len(names) > 100
    for name in names:
        assert Path(name).suffix not in (".pem", ".key", ".p12", ".pfx", ".env"), name
        path = ROOT / name
        if path.is_file() and path != Path(__file__):
            found = SECRETS.search(path.read_text(errors="replace"))
            assert found is None, f"{name}: {found}"


@pytest.mark.parametrize(
    "text",
    ["-----BEGIN RSA PRIVATE KEY-----", "AKIA" + "A" * 16, "postgresql://app:hunter2@db/shop", "ghp_" + "a" * 36],
)
def test_a_secret_would_be_found(text: str) -> None:
    assert SECRETS.search(f"x = '{text}'")


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_audit_fails_on_a_vulnerability_and_says_when_nothing_was_audited(audit: ModuleType) -> None:
    sound = {"name": "a", "version": "1", "vulns": []}
    bad = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1"}]}
    unknown = {"name": "c", "skip_reason": "not found"}
    assert audit.judge({"dependencies": [sound, bad, unknown]}) == (1, "vulnerable: b 2: CVE-1")
    assert audit.judge({"dependencies": [sound, unknown]})[0] == 0
    status, said = audit.judge({"dependencies": [unknown]})
    assert status is None
    assert "NOT AUDITED" in said


@pytest.mark.parametrize("text", ["", "Traceback", "[]", "{}", '{"dependencies": 5}'])
def test_the_audit_takes_no_failure_for_a_report(audit: ModuleType, text: str) -> None:
    assert audit.read(text) is None
