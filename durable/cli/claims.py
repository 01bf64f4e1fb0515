"""The demo's workflow and its records, which live among the examples."""

from __future__ import annotations

import csv
import importlib.util
import sys
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any


@cache
def load_claims() -> Any:
    """The module ``examples/claims.py``."""
    spec = importlib.util.spec_from_file_location("claims", _examples() / "claims.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["claims"] = module
    spec.loader.exec_module(module)
    return module


def read_claims(count: int) -> list[Any]:
    """The first records of ``birdstrikes.csv`` as claims; their line in the file is their number."""
    claim = load_claims().Claim
    with (_examples() / "birdstrikes.csv").open(encoding="utf-8", newline="") as lines:
        return [
            claim(
                report=number,
                airport=row["Airport Name"],
                aircraft=row["Aircraft Make Model"],
                cost=int(row["Cost Total $"]),
            )
            for number, row in enumerate(csv.DictReader(lines), start=2)
            if number < count + 2
        ]


def _examples() -> Path:
    """Packaged in a wheel; beside the package in an editable install."""
    packaged = Path(str(files("durable"))) / "_examples"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "examples"
