"""Connection strings, read without repeating what may be a password."""

from __future__ import annotations

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from durable.core.errors import InvalidArgument

_RULE = "a connection string as libpq reads it, such as 'host=… dbname=…' or 'postgresql://…'"


def check_conninfo(argument: str, conninfo: object) -> str:
    """Returns the connection string. Raises ``InvalidArgument`` if libpq cannot read it."""
    try:
        if not isinstance(conninfo, str) or "\0" in conninfo:  # libpq would read up to the NUL
            raise psycopg.ProgrammingError("not text")
        for host in str(conninfo_to_dict(conninfo).get("host", "")).split(","):
            if not host.startswith("/"):
                host.encode("idna")  # as the resolver will
    except (psycopg.ProgrammingError, UnicodeError):
        # The error shows neither the value nor what libpq says about it. libpq repeats the part that it cannot read:
        # the password, if the colon of a postgresql:// is missing.
        raise InvalidArgument(argument, "(hidden)", _RULE) from None
    return conninfo


def without_password(conninfo: str) -> str:
    """Returns the connection string without its passwords, to be shown to people."""
    shown = {
        name: value for name, value in conninfo_to_dict(conninfo).items() if name not in ("password", "sslpassword")
    }
    return make_conninfo("", **shown)


def check_conninfo_or_pool(conninfo: object, rule: str) -> str:
    """Returns the connection string. Raises ``TypeError`` (quoting ``rule``) if it is not a string, and
    ``InvalidArgument`` if libpq cannot read it."""
    if not isinstance(conninfo, str):
        raise TypeError(f"{rule}, not a {type(conninfo).__module__}.{type(conninfo).__qualname__}")
    return check_conninfo("conninfo_or_pool", conninfo)
