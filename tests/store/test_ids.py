"""Ids."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from durable.core.keyed_ids import keyed_run_id
from durable.store.ids import cancel_id, child_run_id, uuid7


def test_ids_are_version_7_ascend_and_keep_to_the_clock() -> None:
    before = datetime.now(UTC).timestamp()
    ids = [uuid7() for _ in range(10_000)]
    after = datetime.now(UTC).timestamp()

    assert ids == sorted(set(ids))
    assert {(made.version, made.variant) for made in ids} == {(7, "specified in RFC 4122")}
    times = [(made.int >> 80) / 1000 for made in (ids[0], ids[-1])]
    assert before - 0.002 <= times[0] <= times[1] <= after + 0.002


@given(st.text(), st.text(), st.text(), st.text())
def test_different_names_and_keys_give_different_runs(a: str, b: str, c: str, d: str) -> None:
    assert (keyed_run_id(a, b) == keyed_run_id(c, d)) == ((a, b) == (c, d))


def test_the_id_of_a_key_is_for_ever() -> None:
    assert keyed_run_id("greet", "order-1") == "cc000240-7525-501b-80e7-b77e680c595e"


def test_children_have_different_ids_of_version_8() -> None:
    parent = str(uuid7())
    children = [child_run_id(parent) for _ in range(10_000)]
    assert len(set(children)) == len(children)
    assert {(UUID(child).version, UUID(child).variant) for child in children} == {(8, "specified in RFC 4122")}
    assert len({cancel_id(parent, child) for child in children} | {cancel_id(children[0], parent)}) == 2
