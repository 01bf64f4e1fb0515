"""Databases by name: ``--profile production`` instead of a conninfo."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from durable.core.errors import InvalidArgument


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A database and the schema of the tables in it."""

    dsn: str | None = None
    schema: str = "durable"


def read_profile(name: str) -> Profile:
    """Returns the profile with that name. Raises ``InvalidArgument`` if there is none, or if the file cannot be
    read."""
    path = _path()
    try:
        profiles = msgspec.toml.decode(path.read_bytes(), type=dict[str, Profile])
    except OSError as error:
        rule = f"a profile in {path}, which cannot be read ({error.strerror})"
        raise InvalidArgument("--profile", name, rule) from None
    except (msgspec.MsgspecError, ValueError) as error:  # what the parser of TOML raises is a ValueError
        raise InvalidArgument("--profile", name, f"a profile in {path}, which is not valid ({error})") from None
    if name not in profiles:
        known = ", ".join(sorted(profiles)) or "none"
        raise InvalidArgument("--profile", name, f"a profile in {path}, which has: {known}")
    return profiles[name]


def _path() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(os.environ.get("DURABLE_PROFILES") or Path(home) / "durable" / "profiles.toml")
