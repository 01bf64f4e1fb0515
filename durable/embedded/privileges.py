"""The user as which the server runs. Postgres refuses to run as root, so root has to step down, without creating
accounts and without opening anyone's directories."""

from __future__ import annotations

import contextlib
import hashlib
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
_ACCOUNTS = ("postgres", "nobody")
"""Who runs root's server, the first that exists."""


class Privileges(msgspec.Struct, frozen=True):
    """How to start a program of the server. ``owner`` is the user id that its files belong to."""

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
        """Returns the command as it must be started."""
        return [*self.prefix, *command]

    def give(self, path: Path) -> None:
        """Hands one of our files or directories over to the server's user."""
        if self.steps_down:
            os.chown(path, self.owner, self.group, follow_symlinks=False)

    def reaches(self, directory: Path) -> bool:
        """Returns whether the server's user can work in that directory."""
        return _succeeds(self, ["ls", f"{directory}/."])

    def starts(self) -> bool:
        """Returns whether both programs, and the libraries that they need, can be used in this way."""
        return all(
            _succeeds(self, [str(program), "--version"]) for program in (self.binaries.initdb, self.binaries.postgres)
        )


def choose_privileges(directory: Path, binaries: Binaries) -> Privileges:
    """Chooses how the server runs: as the current user, unless that is root. For root, it runs as an unprivileged
    account that can reach the files, else in a user namespace in which root is nobody, else with a copy of the programs
    in a reachable place. Existing data is served by the account that wrote it."""
    data = directory / "data"
    written_by = data.stat().st_uid if data.exists() else None
    if os.geteuid() != 0:
        return _unprivileged(directory, binaries, written_by)
    account = _account(written_by) if written_by != 0 else None
    reached = account is not None and _takes(_stepping_down(binaries, account), directory)
    if account is not None and reached and _stepping_down(binaries, account).starts():
        return _stepping_down(binaries, account)
    if written_by in (None, 0):
        namespace = _namespace(binaries)
        if namespace is not None and namespace.starts():
            if written_by is None:
                os.chown(directory, 0, 0)
            return namespace
    if account is not None and reached:
        for place in dict.fromkeys((tempfile.gettempdir(), "/var/tmp")):  # noqa: S108  # in a directory owned by root
            copied = _stepping_down(_copy(binaries, Path(place)), account)
            if copied.starts():
                return copied
    who = f"the account {account.pw_name!r}" if account is not None else "another account"
    raise EmbeddedPostgresError(
        f"Postgres does not run as root, and neither {who} nor a user namespace can use {directory} with the programs "
        f"in {binaries.directory}; choose a directory that other accounts can reach "
        "(DURABLE_EMBEDDED_DIR=/var/lib/durable/postgres), or run as a user other than root"
    )


def serves_root(home: Path) -> bool:
    """Returns whether a server that root starts could work below that directory."""
    account = _account(None)
    nowhere = Binaries(home, "")
    if account is not None and _stepping_down(nowhere, account).reaches(home):
        return True
    namespace = _namespace(nowhere)
    return namespace is not None and namespace.reaches(home)


def is_trusted(owner: int) -> bool:
    """Returns whether the owner of a directory, given by user id, is this user or, for root, an account as which root
    runs the server."""
    user = os.geteuid()
    return owner == user or (user == 0 and owner in _service_accounts())


def _service_accounts() -> set[int]:
    found = {_NOBODY}  # every user without a name in this user namespace is shown as this one
    for name in _ACCOUNTS:
        with contextlib.suppress(KeyError):
            found.add(pwd.getpwnam(name).pw_uid)
    return found


def _unprivileged(directory: Path, binaries: Binaries, written_by: int | None) -> Privileges:
    user = os.geteuid()
    if written_by not in (None, user):
        raise EmbeddedPostgresError(
            f"the data in {directory} belongs to user id {written_by}, but this process runs as {user}; run as that "
            "user, or choose another directory (DURABLE_EMBEDDED_DIR)"
        )
    try:
        pwd.getpwuid(user)
    except KeyError:
        # initdb refuses a user without a name, as in `docker run --user 12345`; as nobody, the user has one.
        namespace = _namespace(binaries)
        if namespace is not None and namespace.starts():
            return namespace
    return Privileges(binaries, user, os.getegid())


def _account(written_by: int | None) -> pwd.struct_passwd | None:
    if written_by:
        with contextlib.suppress(KeyError):
            return pwd.getpwuid(written_by)
    for name in _ACCOUNTS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    return None


def _stepping_down(binaries: Binaries, account: pwd.struct_passwd) -> Privileges:
    return Privileges(binaries, account.pw_uid, account.pw_gid, steps_down=True)


def _namespace(binaries: Binaries) -> Privileges | None:
    unshare = shutil.which("unshare")
    if unshare is None:
        return None
    prefix = (unshare, "--user", f"--map-user={_NOBODY}", f"--map-group={_NOBODY}")
    return Privileges(binaries, os.geteuid(), os.getegid(), prefix=prefix)


def _takes(privileges: Privileges, directory: Path) -> bool:
    """Hands over the directory, and takes it back if the server could not work there."""
    before = directory.stat()
    privileges.give(directory)
    if privileges.reaches(directory):
        return True
    os.chown(directory, before.st_uid, before.st_gid)
    return False


def _succeeds(privileges: Privileges, command: list[str]) -> bool:
    options: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **privileges.popen_options}
    try:
        return subprocess.call(privileges.wrap(command), timeout=30, **options) == 0
    except (OSError, subprocess.SubprocessError):
        return False


def _copy(binaries: Binaries, place: Path) -> Binaries:
    """Copies the whole installation, with the libraries that a wheel keeps next to it, readable by everyone."""
    root = binaries.directory.parent
    digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:12]
    target = place / f"durable-postgres-{binaries.version}-{digest}"
    copy = target / root.parent.name / root.name
    if not target.exists():
        unfinished = Path(tempfile.mkdtemp(prefix="durable-postgres-", dir=place))
        try:
            shutil.copytree(root, unfinished / root.parent.name / root.name, symlinks=True)
            libraries = root.parent.with_name(root.parent.name + ".libs")
            if libraries.is_dir():
                shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
            for folder, _, _ in os.walk(unfinished):
                os.chmod(folder, 0o755)  # noqa: S103  # programs, no data
            with contextlib.suppress(OSError):  # another process was first
                unfinished.rename(target)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    if target.is_symlink() or target.stat().st_uid != 0:
        raise EmbeddedPostgresError(f"{target} does not belong to root; remove it")
    return Binaries(copy / binaries.directory.name, binaries.version)
