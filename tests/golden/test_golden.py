"""Every history that a version has recorded replays with today's code, and does what it did then."""

from __future__ import annotations

import msgspec
import psycopg
import pytest

from tests.golden.features import FEATURES
from tests.golden.history import HISTORIES, load, read, replay, write_rows

RECORDED = sorted(path.stem for path in HISTORIES.glob("*.json"))


def test_every_feature_has_its_history() -> None:
    assert sorted(FEATURES) == RECORDED


@pytest.mark.parametrize("feature", RECORDED)
def test_a_recorded_history_does_what_it_did(feature: str, database: str) -> None:
    golden = read(feature)
    assert FEATURES[feature].workflow.name == golden.workflow
    with psycopg.connect(database) as connection:
        write_rows(connection, golden.tables)
        history = load(connection, golden.run_key)
    assert replay(feature, golden.run, golden.run_key, history) == golden.does


@pytest.mark.parametrize("feature", RECORDED)
def test_a_run_that_had_ended_ends_as_it_did(feature: str) -> None:
    golden = read(feature)
    ending = golden.does[-1]
    match golden.run["status"]:
        case "completed":
            assert ending == f"complete with {golden.run['output']}"
        case "failed" | "cancelled":
            error = msgspec.json.decode(golden.run["error"] or "")
            assert ending.startswith(("fail with ", "end cancelled by "))
            if ending.startswith("fail with "):
                assert ending == f"fail with {error['type']}: {error['message']}"
        case "running":
            pass  # it was read while a flush was under way
        case _:
            assert not ending.startswith(("complete", "fail", "end"))


def test_no_recorded_history_is_set_aside() -> None:
    assert not [feature for feature in RECORDED if any("SetAside" in done for done in read(feature).does)]
