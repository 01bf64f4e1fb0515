"""What is known of pydantic models. pydantic is never imported here, because its values and types can only come from
code that has already imported it."""

from __future__ import annotations

import functools
import sys
from typing import Any, TypeGuard, get_args


def is_model(type: Any) -> TypeGuard[Any]:
    """Returns whether the class is a pydantic model."""
    return hasattr(type, "__pydantic_validator__") and hasattr(type, "model_dump")


def mentions_model(type: Any) -> bool:
    """Returns whether a pydantic model occurs in the annotation."""
    return is_model(type) or any(mentions_model(argument) for argument in get_args(type))


@functools.cache
def reads_names() -> bool:
    """Returns whether pydantic can be told to read fields by name, as it can from 2.11 on. Then a model whose two
    aliases differ can be read back as well."""
    major, minor = sys.modules["pydantic"].VERSION.split(".")[:2]
    return (int(major), int(minor)) >= (2, 11)


def by_name() -> dict[str, bool]:
    """Returns the keywords that make pydantic read fields by name and by alias."""
    return {"by_alias": True, "by_name": True} if reads_names() else {}
