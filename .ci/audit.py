"""Asks whether what is installed here has known vulnerabilities, and fails if it has.

Where no advisory service can be asked, it says so loudly and does not fail: a build without a network is no finding.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

SERVICES = ("pypi", "osv")


def main() -> int:
    for service in SERVICES:
        command = [
            sys.executable,
            "-m",
            "pip_audit",
            "--skip-editable",
            "--format",
            "json",
            "--progress-spinner",
            "off",
        ]
        asked = subprocess.run([*command, "-s", service], capture_output=True, text=True, check=False)
        report = read(asked.stdout)
        if report is None:
            print(f"NOT AUDITED by {service}: {asked.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
            continue
        status, said = judge(report)
        print(f"{service}: {said}", file=sys.stderr if status is None else sys.stdout)
        if status is not None:
            return status
    print("NOT AUDITED: no advisory service answered; run this again where one does, before a release", file=sys.stderr)
    return 0


def read(text: str) -> dict[str, Any] | None:
    """The report, ``None`` if that is none."""
    try:
        report = json.loads(text)
    except ValueError:
        return None
    return report if isinstance(report, dict) and isinstance(report.get("dependencies"), list) else None


def judge(report: dict[str, Any]) -> tuple[int | None, str]:
    """The exit status, ``None`` if nothing was audited, and what is to be said."""
    audited = [one for one in report["dependencies"] if "vulns" in one]
    skipped = len(report["dependencies"]) - len(audited)
    found = [f"{one['name']} {one['version']}: {bug['id']}" for one in audited for bug in one["vulns"]]
    if found:
        return 1, "vulnerable: " + "; ".join(found)
    if not audited:
        return None, f"NOT AUDITED: it knows none of the {skipped} packages"
    return 0, f"{len(audited)} packages without known vulnerabilities, {skipped} that it does not know"


if __name__ == "__main__":
    sys.exit(main())
