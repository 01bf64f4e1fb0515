"""The annotations say what is accepted, to both type checkers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHECKED = ROOT / "tests" / "contrib" / "annotations.py"
REFUSED = "  # type: ignore[arg-type]"


def check(*checker: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *checker], capture_output=True, text=True, check=False, cwd=ROOT)


def test_mypy_knows_transactions_from_other_objects() -> None:
    shown = check("mypy", "--strict", "--ignore-missing-imports", "--disable-error-code=type-arg", str(CHECKED))
    assert shown.returncode == 0, shown.stdout + shown.stderr


def test_pyright_knows_transactions_from_other_objects(tmp_path: Path) -> None:
    # It would heed the comments for mypy, without a word where one is not needed.
    lines = CHECKED.read_text().splitlines()
    (tmp_path / "annotations.py").write_text("\n".join(line.removesuffix(REFUSED) for line in lines))
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(ROOT)], "typeCheckingMode": "basic"}))
    shown = json.loads(check("pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(tmp_path)).stdout)

    found = [(error["range"]["start"]["line"], error["rule"]) for error in shown["generalDiagnostics"]]
    expected = [(n, "reportArgumentType") for n, line in enumerate(lines) if line.endswith(REFUSED)]
    assert found == expected, shown["generalDiagnostics"]
