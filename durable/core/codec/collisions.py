"""Finds numbers that were chosen so that their hashes are equal.

Python's hashes of numbers are not salted: a number is its remainder by 2**61 - 1. A megabyte of numbers with the same
remainder takes a set or the keys of a dict ten seconds and more, and nothing else happens in the process meanwhile, in
whatever thread that is, because all of it is a single call. Hashes of texts, bytes and datetimes are salted.
"""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from decimal import Decimal

import msgspec

MAX_UNSEEN = 64 * 1024
"""As many characters hold too few numbers to take long: some 50 ms."""
_MOST = 100
"""As many with the same hash are no accident, and still quick."""
CROWDED = f"it contains more than {_MOST} different numbers that were chosen to have the same hash"

# Two numbers with the same hash are 2**61 - 1 apart, so that one of them has 19 digits.
_NUMBERS = re.compile(r"[0-9][0-9.eE+]{17,}")
_UUIDS = re.compile(r"(?:[0-9a-fA-F]{4}-?){8}")


def is_crowded(text: str) -> bool:
    """Returns whether JSON text contains enough different numbers, or UUIDs, with the same hash to make a set of them
    slow. Raises what msgspec raises for text that is not JSON."""
    if "\\u" in text:
        text = msgspec.json.encode(msgspec.json.decode(text)).decode()  # digits may be written as escapes, too
    hashes: list[int] = []
    for number in set(_NUMBERS.findall(text)):
        with suppress(ArithmeticError, ValueError):  # ValueError: more digits than Python reads
            hashes.append(hash(Decimal(number)))
    hashes += [hash(int(number.replace("-", ""), 16)) for number in set(_UUIDS.findall(text))]
    return max(Counter(hashes).values(), default=0) > _MOST
