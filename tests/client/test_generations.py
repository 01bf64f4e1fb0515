"""Runs of one key, as clients begin them and name them."""

from __future__ import annotations

from typing import Any

import pytest

from durable import (
    AsyncClient,
    Begin,
    BeginOptions,
    Client,
    InvalidArgument,
    RunExists,
    RunNotCancellable,
    RunNotFound,
    RunNotRetryable,
    RunTerminal,
)
from durable.core.runs import RunKey
from tests.client.colours import Colour, open_client, open_transaction, rows
from tests.client.workflows import greet, nightly

END = {
    "completed": "status = 'completed', output = '\"done\"', completed_at = now()",
    "failed": """status = 'failed', output = NULL, error = '{"type": "E", "message": "m"}', completed_at = now()""",
    "cancelled": """status = 'cancelled', error = '{"type": "E", "message": "m"}', completed_at = now()""",
}


def end(database: str, run_key: RunKey, status: str) -> None:
    rows(database, f"UPDATE durable.runs SET {END[status]}, epoch = 1 WHERE run_id = %s", run_key.run_id)


def stored(database: str) -> list[Any]:
    """Status and generation of each run, and how many other runs it has to wait for."""
    query = "SELECT status, generation, (follows IS NOT NULL)::int FROM durable.runs ORDER BY coalesce(generation, 0)"
    return rows(database, query)


def inbox(database: str, run_key: RunKey) -> list[str]:
    query = "SELECT kind FROM durable.events WHERE run_id = %s ORDER BY event_id"
    return [kind for (kind,) in rows(database, query, run_key.run_id)]


async def test_without_policies_the_run_that_is_there_is_joined_whether_or_not_it_has_ended(
    database: str, colour: Colour
) -> None:
    async with open_client(colour, database) as client:
        first = await client.begin(greet, "Ada", key="k")
        assert (await client.begin(greet, "Bob", key="k")).run_key == first.run_key
        end(database, first.run_key, "completed")
        again = await client.begin(greet, "Cy", key="k")
        assert (again.run_key, again.is_new) == (first.run_key, False)
    assert inbox(database, first.run_key) == []


async def test_a_begin_is_refused_while_a_run_with_its_key_has_not_ended(database: str, colour: Colour) -> None:
    async with open_client(colour, database) as client:
        first = await client.begin(greet, "Ada", key="k", if_active="refuse")
        with pytest.raises(RunExists, match="has the same key and has not ended: its status is 'queued'") as refused:
            await client.begin(greet, "Bob", key="k", if_active="refuse")
        assert refused.value.run_key == first.run_key
        end(database, first.run_key, "completed")
        assert not (await client.begin(greet, "Bob", key="k", if_active="refuse")).is_new
        assert (await client.begin(greet, "Bob", key="k", if_active="refuse", if_ended="begin_anew")).is_new
    assert stored(database) == [("completed", None, 0), ("queued", 1, 0)]


@pytest.mark.parametrize("policy", ["cancel", "terminate"])
async def test_a_run_that_is_replaced_is_asked_to_end_and_followed(database: str, colour: Colour, policy: str) -> None:
    async with open_client(colour, database) as client:
        first = await client.begin(greet, "Ada", key="k")
        second = await client.begin(greet, "Bob", key="k", if_active=policy)
        third = await client.begin(greet, "Cy", key="k", if_active=policy)
        assert len({first.run_key, second.run_key, third.run_key}) == 3
        assert (await third.info()).status_reason == "following"
    assert stored(database) == [("queued", None, 0), ("sleeping", 1, 1), ("sleeping", 2, 1)]
    assert sorted(inbox(database, first.run_key)) == sorted(inbox(database, second.run_key)) == sorted([policy, "next"])


@pytest.mark.parametrize(
    ("status", "begun"), [("completed", "queued"), ("failed", "sleeping"), ("cancelled", "sleeping")]
)
async def test_a_run_is_begun_anew_and_follows_what_may_still_be_retried(
    database: str, colour: Colour, status: str, begun: str
) -> None:
    async with open_client(colour, database) as client:
        first = await client.begin(greet, "Ada", key="k")
        end(database, first.run_key, status)
        assert (await client.begin(greet, "Bob", key="k", if_ended="begin_anew")).is_new
    assert stored(database) == [(status, None, 0), (begun, 1, int(begun == "sleeping"))]


async def test_a_begin_in_a_transaction_that_is_rolled_back_asks_nothing_of_the_run_that_is_there(
    database: str, colour: Colour
) -> None:
    async with open_client(colour, database) as client, open_transaction(colour, database) as tx:
        first = await client.begin(greet, "Ada", key="k")
        second = await client.begin_tx(tx.inner, greet, "Bob", key="k", if_active="cancel")
        assert (await client.get_run_info_tx(tx.inner, (greet, "k"))).status_reason == "following"
        await tx.rollback()
        assert inbox(database, first.run_key) == []
        with pytest.raises(RunNotFound):
            await client.get_run_info(second)


async def test_a_begin_whose_answer_was_lost_is_neither_refused_nor_repeated(database: str) -> None:
    options: list[BeginOptions] = [
        {"if_active": "refuse"},
        {"if_active": "cancel"},
        {"if_ended": "begin_anew", "event": ("note", 1)},
    ]
    with Client(database) as client:
        for number, chosen in enumerate(options):
            key = str(number)
            if chosen.get("if_active") != "refuse":
                client.begin(greet, "Ada", key=key)
            begin = client._operations.begin(client._operations.new_run(greet, "Bob", key=key, **chosen))
            first = client._connections.transact(begin)
            assert client._connections.transact(begin) == first
    assert rows(database, "SELECT kind, count(*) FROM durable.events GROUP BY 1 ORDER BY 1") == [
        ("cancel", 1),
        ("event", 1),
        ("next", 2),
    ]
    assert rows(database, "SELECT count(*) FROM durable.runs") == [(4,)]


async def test_an_event_is_sent_with_the_begin_whether_the_run_is_new_or_not(database: str, colour: Colour) -> None:
    async with open_client(colour, database) as client:
        first = await client.begin(greet, "Ada", key="k", if_ended="begin_anew", event=("note", {"a": 1}))
        assert sorted(inbox(database, first.run_key)) == ["event", "next"]
        again = await client.begin(greet, "Bob", key="k", if_ended="begin_anew", event=("note", 2))
        assert (again.run_key, again.is_new) == (first.run_key, False)
        assert sorted(inbox(database, first.run_key)) == ["event", "event", "next", "next"]
        keyless = await client.begin(greet, "Cy", event=("note", 3))
        assert inbox(database, keyless.run_key) == ["event"]


async def test_every_call_takes_a_workflow_and_a_key_for_the_newest_run(database: str, colour: Colour) -> None:
    async with open_client(colour, database) as client, open_transaction(colour, database) as tx:
        first = await client.begin(greet, "Ada", key="k")
        end(database, first.run_key, "completed")
        assert await client.get_run_output((greet, "k")) == "done"
        assert await client.get_run_output_tx(tx.inner, ("greet", "k"), str) == "done"
        assert await (await client.handle(greet, key="k")).result() == "done"
        second = await client.begin(greet, "Bob", key="k", if_ended="begin_anew")
        assert (await client.get_run_info((greet, "k"))).status == "queued"
        assert (await client.get_run_info_tx(tx.inner, ("greet", "k"))).status == "queued"
        assert await client.publish_event((greet, "k"), "note", 1)
        assert await client.publish_event_tx(tx.inner, (greet, "k"), "note", 2)
        await client.cancel_run((greet, "k"))
        await client.cancel_run_tx(tx.inner, (greet, "k"))
        await client.terminate_run(("greet", "k"))
        await client.terminate_run_tx(tx.inner, (greet, "k"))
        await tx.commit()
        assert inbox(database, first.run_key) == []
        assert sorted(inbox(database, second.run_key)) == ["cancel"] * 2 + ["event"] * 2 + ["terminate"] * 2
        end(database, second.run_key, "failed")
        await client.retry_run((greet, "k"))
        await client.retry_run_tx(tx.inner, (greet, "k"))
        with pytest.raises(RunNotRetryable, match="only the newest can be retried"):
            end(database, first.run_key, "failed")
            await client.retry_run(first.run_key)
        before = await client.list_runs(before=(greet, "k"))
        assert [run.run_key for run in before] == [first.run_key]
        found = await client.list_runs(workflow=greet, key="k")
        assert [(run.run_key, run.key, run.generation) for run in found] == [
            (second.run_key, "k", 1),
            (first.run_key, "k", 0),
        ]
        assert await client.list_runs(key="other") == []


async def test_a_key_that_was_never_used_is_said_to_name_no_run(database: str, colour: Colour) -> None:
    async with open_client(colour, database) as client:
        await client.begin(nightly, key="k")
        handle = await client.handle(greet, key="k")
        run = (greet, "k")
        for call in (
            lambda: client.get_run_info(run),
            lambda: client.get_run_output(run),
            lambda: client.publish_event(run, "note"),
            lambda: client.cancel_run(run),
            lambda: client.retry_run(run),
            handle.info,
            handle.run_key,
            lambda: handle.result(timeout=0),
            handle.cancel,
        ):
            with pytest.raises(RunNotFound, match="no run of workflow 'greet' with key 'k'"):
                await call()


async def test_a_handle_of_a_key_asks_nothing_until_it_is_used() -> None:
    with Client("host=/nowhere") as client:
        assert repr(client.handle(greet, key="k")) == "<KeyHandle of the newest run of workflow 'greet' with key 'k'>"
    async with AsyncClient("host=/nowhere") as other:
        assert other.handle((greet, "k")).key == "k"


async def test_the_result_is_that_of_the_run_which_the_handle_has_found_first(database: str) -> None:
    with Client(database) as client:
        first = client.begin(greet, "Ada", key="k")
        handle = client.handle(greet, key="k")
        end(database, first.run_key, "completed")
        assert handle.result() == "done"
        second = client.begin(greet, "Bob", key="k", if_ended="begin_anew")
        assert handle.run_key() == second.run_key
        assert handle.result(timeout=0) == "done"
        handle.cancel()
        assert inbox(database, second.run_key) == ["cancel"]


async def test_many_runs_are_begun_each_with_options_of_its_own(database: str, colour: Colour) -> None:
    inputs: list[Any] = [
        Begin("1", key="b"),
        Begin("2", priority=7),
        "3",
        Begin("4", key="a", if_active="cancel"),
        Begin("5", delay=60),
        Begin("6", event=("note", 1)),
    ]
    async with open_client(colour, database) as client:
        first = await client.begin(greet, "Ada", key="a")
        begun = await client.begin_many(greet, inputs, priority=3, tags={"x": "y"}, headers={"h": "i"})
        found = {run.run_key: run for run in await client.list_runs()}
    assert len(begun) == 6
    assert [(found[key].key, found[key].priority, found[key].status) for key in begun] == [
        ("b", 3, "queued"),
        (None, 7, "queued"),
        (None, 3, "queued"),
        ("a", 3, "sleeping"),
        (None, 3, "sleeping"),
        (None, 3, "queued"),
    ]
    assert all(found[key].tags == {"x": "y"} for key in begun)
    assert rows(database, "SELECT input #>> '{}' FROM durable.runs WHERE headers ->> 'h' = 'i' ORDER BY 1") == [
        (name,) for name in "123456"
    ]
    assert sorted(inbox(database, first.run_key)) == ["cancel", "next"]
    assert inbox(database, begun[5]) == ["event"]


async def test_begin_many_joins_the_newest_run_of_each_key_even_if_the_first_is_gone(
    database: str, colour: Colour
) -> None:
    async with open_client(colour, database) as client:
        end(database, (first := await client.begin(greet, "Ada", key="a")).run_key, "completed")
        second = await client.begin(greet, "Bob", key="a", if_ended="begin_anew")
        rows(database, "DELETE FROM durable.runs WHERE run_id = %s", first.run_key.run_id)
        joined, new = await client.begin_many(greet, [Begin("Cy", key="a"), Begin("Di", key="b")])
    assert joined == second.run_key
    assert rows(database, "SELECT run_id::text FROM durable.runs WHERE key = 'b'") == [(new.run_id,)]
    assert stored(database) == [("queued", None, 0), ("queued", 1, 0)]


async def test_what_begin_many_does_with_one_key_it_does_in_the_order_of_the_inputs(
    database: str, colour: Colour
) -> None:
    async with open_client(colour, database) as client:
        first, replacing, joining = await client.begin_many(
            greet, [Begin("1", key="k"), Begin("2", key="k", if_active="cancel"), Begin("3", key="k")]
        )
        assert first != replacing == joining
        with pytest.raises(RunExists):
            await client.begin_many(greet, ["4", Begin("5", key="k", if_active="refuse")])
    assert stored(database) == [("queued", None, 0), ("sleeping", 1, 1)]


async def test_begin_many_whose_answer_was_lost_does_not_replace_its_own_runs(database: str) -> None:
    with Client(database) as client:
        inputs = [Begin("1", key="a", if_active="cancel"), Begin("2", key="b", if_active="refuse"), Begin("3", key="c")]
        begin = client._operations.begin_many(client._operations.new_runs(greet, inputs))
        first = client._connections.transact(begin)
        assert client._connections.transact(begin) == first
    assert stored(database) == [("queued", None, 0)] * 3


@pytest.mark.parametrize("status", ["queued", "completed"])
async def test_every_generation_has_the_options_of_its_begin(database: str, colour: Colour, status: str) -> None:
    async with open_client(colour, database) as client:
        first = await client.begin(greet, "Ada", key="k", headers={"trace": "1"})
        if status == "completed":
            end(database, first.run_key, status)
        options: dict[str, Any] = {"headers": {"trace": "2"}, "tags": {"a": "b"}, "priority": 3, "timeout": 60}
        await client.begin(greet, "Bob", key="k", if_active="cancel", if_ended="begin_anew", **options)
    given = "SELECT headers, tags, priority FROM durable.runs WHERE generation = 1"
    assert rows(database, given) == [({"trace": "2"}, {"a": "b"}, 3)]
    limits = "SELECT extract(epoch FROM deadline_at - created_at)::int FROM durable.runs WHERE generation = 1"
    assert rows(database, limits) == [(60 if status == "completed" else None,)]  # it counts from the start


BAD: list[tuple[dict[str, Any], str]] = [
    ({"key": "k", "if_active": "kill"}, "if_active must be one of join, refuse, cancel, terminate"),
    ({"key": "k", "if_ended": "cancel"}, "if_ended must be one of join, begin_anew"),
    ({"if_active": "cancel"}, 'if_active must be "join" if no key is given'),
    ({"if_ended": "begin_anew"}, 'if_ended must be "join" if no key is given'),
    ({"key": "k", "event": ("note", 1)}, 'if_ended must be "begin_anew" if a key and an event are given'),
    ({"key": "k", "if_ended": "begin_anew", "event": "note"}, "event must be the name of an event and its payload"),
    ({"event": ("", 1)}, "name must be a non-empty str"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
async def test_what_cannot_be_meant_is_refused(database: str, options: dict[str, Any], message: str) -> None:
    with Client(database) as client, pytest.raises(InvalidArgument, match=message):
        client.begin(greet, "Ada", **options)
    assert stored(database) == []


@pytest.mark.parametrize("run", [(), ("greet",), (1, "k"), ("greet", 2), ("greet", ""), ("greet", "k", "k")])
async def test_a_pair_that_names_no_run_is_refused(database: str, run: Any) -> None:
    with Client(database) as client, pytest.raises(InvalidArgument, match="run_key must be "):
        client.get_run_info(run)


async def test_an_ended_run_of_a_key_takes_neither_event_nor_cancel(database: str) -> None:
    with Client(database) as client:
        end(database, client.begin(greet, "Ada", key="k").run_key, "completed")
        with pytest.raises(RunTerminal):
            client.publish_event((greet, "k"), "note")
        with pytest.raises(RunNotCancellable):
            client.cancel_run((greet, "k"))
