"""The operations fed rows by hand: which statements they ask for, and what they make of the answers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.client import begins
from durable.client.begins import BeginOperations as Operations
from durable.core.codec.json_codec import JsonCodec
from durable.core.errors import InvalidArgument, RunNotFound, RunTerminal
from durable.core.replay.context import Context
from durable.core.replay.decorator import workflow
from durable.core.run_arguments import check_run_key
from durable.core.runs import RunKey
from durable.core.shards import shard_value
from durable.store.channels import TICKETS, number_of
from durable.store.columns import column
from durable.store.operation import Operation, Running
from durable.store.statement import Batch, Row, T

RUN_KEY = RunKey("greet_0", "01920000-0000-7000-8000-000000000000")


@workflow
async def greet(ctx: Context, name: str) -> str:
    return name


def play(operation: Operation[T], answers: dict[str, list[Sequence[Row]]]) -> tuple[T, list[tuple[str, Any]]]:
    """Answers each statement by its name, in turn; returns the result and what was asked."""
    asked: list[tuple[str, Any]] = []
    running = Running(operation)
    while running.request is not None:
        assert isinstance(running.request, Batch)
        statements = running.request.asked
        asked += [(statement.query.name, statement.params) for statement in statements]
        running.answer([answers[statement.query.name].pop(0) for statement in statements])
    return running.result, asked


def settings(shard_count: int = 1) -> dict[str, list[Sequence[Row]]]:
    return {
        "settings/find_settings": [[(True, "durable.settings")]],
        "settings/read_settings": [[(1000, shard_count)]],
    }


def test_begin_inserts_and_announces_under_the_same_shard_value() -> None:
    subject = Operations(JsonCodec())
    new = subject.new_run(greet, "Ada")

    begun, asked = play(
        subject.begin(new, is_transaction=False),
        settings(8) | {"runs/begin_run": [[(new.run_id,)]], "channels/announce_runs": [[]]},
    )

    shard = shard_value("greet", new.run_id, 8)
    assert begun.is_new
    assert begun.run_key == RunKey(shard, new.run_id)
    assert [name for name, _ in asked] == [
        "settings/find_settings",
        "settings/read_settings",
        "runs/begin_run",
        "channels/announce_runs",
    ]
    assert asked[-1][1] == {"shard_value": shard, "number": number_of(shard), "tickets": TICKETS}


def test_the_settings_are_read_once() -> None:
    subject = Operations(JsonCodec())
    answers = settings() | {"runs/begin_run": [[("x",)], [("x",)]], "channels/announce_runs": [[], []]}
    play(subject.begin(subject.new_run(greet, "Ada"), is_transaction=False), answers)

    _, asked = play(subject.begin(subject.new_run(greet, "Bob"), is_transaction=False), answers)

    assert [name for name, _ in asked] == ["runs/begin_run", "channels/announce_runs"]


def test_a_second_try_after_a_lost_connection_counts_as_created() -> None:
    subject = Operations(JsonCodec())

    begun, _ = play(
        subject.begin(subject.new_run(greet, "Ada"), is_transaction=False),
        settings() | {"runs/begin_run": [[]], "channels/announce_runs": [[]]},
    )

    assert begun.is_new


def test_a_key_is_looked_for_again_where_the_shard_count_was_raised_meanwhile() -> None:
    subject = Operations(JsonCodec())
    new = subject.new_run(greet, "Ada", key="k")
    answers = settings(1) | {
        "generations/find_newest": [[(3, [1, 3], False, None)], [(3, [1, 3], False, None)]],
        "runs/begin_keyed_run": [[("x",)]],
        "channels/announce_runs": [[]],
    }

    begun, asked = play(subject.begin(new, is_transaction=False), answers)

    looked = [params["shard_values"] for name, params in asked if name == "generations/find_newest"]
    assert looked[0] == column(["greet_0"])
    assert shard_value("greet", new.run_id, 3) in looked[1]
    assert begun == begins.Begun(RunKey(shard_value("greet", new.run_id, 3), new.run_id), True)


def test_a_key_is_looked_for_again_where_it_was_not_inserted() -> None:
    """Another transaction has begun it, or the shard count is another now."""
    subject = Operations(JsonCodec())
    new = subject.new_run(greet, "Ada", key="k")
    answers = settings(1) | {
        "generations/find_newest": [
            [(1, [1], False, None)],
            [(1, [1], False, ["greet_0", new.run_id, "0", "queued", None])],
        ],
        "runs/begin_keyed_run": [[]],
        "channels/announce_runs": [[]],
    }

    begun, _ = play(subject.begin(new, is_transaction=False), answers)

    assert begun == begins.Begun(RunKey("greet_0", new.run_id), False)


def test_while_the_shard_count_is_raised_a_key_is_begun_in_a_transaction_that_takes_its_turn() -> None:
    subject = Operations(JsonCodec())
    new = subject.new_run(greet, "Ada", key="k")
    raised = [(1, [1], True, None)]
    with pytest.raises(begins.ShardsAreRaised):
        play(subject.begin(new, is_transaction=False), settings(1) | {"generations/find_newest": [raised]})

    answers = {
        "generations/find_newest": [raised, raised],
        "settings/lock_names": [[]],
        "runs/begin_run": [[("x",)]],
        "channels/announce_runs": [[]],
    }
    _, asked = play(subject.begin(new, is_transaction=True), answers)

    assert [name for name, _ in asked][:3] == [
        "generations/find_newest",
        "settings/lock_names",
        "generations/find_newest",
    ]


def test_a_published_event_is_announced() -> None:
    subject = Operations(JsonCodec())
    event = subject.new_event(RUN_KEY, "paid", 1, None)

    _, asked = play(
        subject.publish_event(event), settings() | {"events/publish_event": [[("x",)]], "channels/announce_work": [[]]}
    )

    assert asked[-1] == ("channels/announce_work", {"payload": "event:greet_0"})


@pytest.mark.parametrize("why", [[], [("completed", False, False, False)]])
def test_an_event_that_cannot_be_stored_says_why(why: list[Row]) -> None:
    subject = Operations(JsonCodec())
    event = subject.new_event(RUN_KEY, "paid", 1, None)

    with pytest.raises(RunTerminal if why else RunNotFound):
        play(
            subject.publish_event(event), settings() | {"events/publish_event": [[]], "events/why_not_published": [why]}
        )


def test_an_event_published_while_its_run_commits_is_tried_again() -> None:
    subject = Operations(JsonCodec())
    event = subject.new_event(RUN_KEY, "paid", 1, None)
    answers = {
        "events/publish_event": [[], [("x",)]],
        "events/why_not_published": [[("queued", False, False, False)]],
        "channels/announce_work": [[]],
    }
    play(subject.require_schema(), settings())

    _, asked = play(subject.publish_event(event), answers)

    assert [name for name, _ in asked] == [
        "events/publish_event",
        "events/why_not_published",
        "events/publish_event",
        "channels/announce_work",
    ]
    assert asked[0] == asked[2]


def test_many_runs_are_inserted_in_batches_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(begins, "_BATCH_ROWS", 4)
    monkeypatch.setattr(begins, "_BATCH_CHARACTERS", 100)
    subject = Operations(JsonCodec())
    new = subject.new_runs(greet, ["x" * size for size in (1, 1, 1, 1, 1, 90, 90, 200, 1)])

    run_keys, asked = play(
        subject.begin_many(new), settings() | {"runs/begin_runs": [[]] * 9, "channels/announce_runs": [[]]}
    )

    ids = iter([run.run_id for run in new])
    batches = [column([next(ids) for _ in range(size)]) for size in (4, 2, 1, 1, 1)]
    assert [params["run_ids"] for name, params in asked if name == "runs/begin_runs"] == batches
    assert [run_key.run_id for run_key in run_keys] == [run.run_id for run in new]


@given(st.text(max_size=300))
def test_any_text_is_a_run_key_or_an_invalid_argument(text: str) -> None:
    for candidate in (text, f"{text}_0:{RUN_KEY.run_id}"):
        with suppress(InvalidArgument):
            assert str(check_run_key("run_key", candidate)) == candidate
