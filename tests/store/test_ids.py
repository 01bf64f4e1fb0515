"""Ids."""

from __future__ import annotations

from datetime import UTC, datetime

from durable.store.ids import uuid7


def test_ids_are_version_7_ascend_and_keep_to_the_clock() -> None:
    before = datetime.now(UTC).timestamp()
    ids = [uuid7() for _ in range(10_000)]
    after = datetime.now(UTC).timestamp()

    assert ids == sorted(set(ids))
    assert {(made.version, made.variant) for made in ids} == {(7, "specified in RFC 4122")}
    times = [(made.int >> 80) / 1000 for made in (ids[0], ids[-1])]
    assert before - 0.002 <= times[0] <= times[1] <= after + 0.002
