"""What follows the end of a run, statement by statement."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from durable import Client, Context, RunKey, workflow
from durable.core.generations import read_next
from durable.postgres.drive import run
from durable.store.claims import claim_runs
from durable.store.routing import lock_retries, retry_runs, route_events
from durable.store.successors import lock_ended, succeed
from durable.store.takeovers import take_over
from tests.laws.generations import Actor

SHARD = "job_0"


@workflow
async def job(ctx: Context, name: str) -> str:
    return name


@pytest.fixture
def client(database: str) -> Iterator[Client]:
    with Client(database, notify=False) as client:
        yield client


def change(database: str, statement: str, *params: Any) -> list[Any]:
    with psycopg.connect(database, autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), params)
        return cursor.fetchall() if cursor.description else []


def fail(database: str, run_key: RunKey) -> None:
    change(
        database,
        "UPDATE durable.runs SET status = 'failed', epoch = 1, completed_at = now(), error = '{}' WHERE run_id = %s",
        run_key.run_id,
    )


def statuses(database: str) -> list[str]:
    query = "SELECT status FROM durable.runs ORDER BY coalesce(generation, 0)"
    return [status for (status,) in change(database, query)]


def let_follow(database: str) -> None:
    actor = Actor(database)
    actor.start(succeed(SHARD, 100, lock_seconds=1.0))
    actor.finish()
    actor.connection.close()


def test_a_retry_that_was_asked_for_before_another_run_started_is_dropped(database: str, client: Client) -> None:
    first = client.begin(job, "first", key="k")
    fail(database, first.run_key)
    first.retry()
    client.begin(job, "second", key="k", if_active="cancel")
    let_follow(database)
    with psycopg.connect(database) as connection:
        locked = run(connection, "durable", lock_retries(SHARD, 100))
        assert run(connection, "durable", retry_runs(SHARD, locked)) == []
        connection.commit()
    assert statuses(database) == ["failed", "queued"]
    unrouted = "SELECT kind FROM durable.events WHERE kind = 'retry' AND routed_at IS NULL"
    assert change(database, unrouted) == []


def test_a_retry_and_the_start_of_another_run_wait_for_each_other(database: str, client: Client) -> None:
    """Neither order leaves both to execute: what comes second sees what came first."""
    first = client.begin(job, "first", key="k")
    fail(database, first.run_key)
    first.retry()
    client.begin(job, "second", key="k", if_active="cancel")
    with psycopg.connect(database) as retrying, psycopg.connect(database) as starting:
        assert run(retrying, "durable", lock_retries(SHARD, 100)) == [first.run_key.run_id]
        assert run(starting, "durable", lock_ended(SHARD, 100)) == []
        retrying.rollback()
        assert len(run(starting, "durable", lock_ended(SHARD, 100))) == 1
        assert run(retrying, "durable", lock_retries(SHARD, 100)) == []


def test_a_retried_run_that_still_waits_for_another_goes_on_waiting(database: str, client: Client) -> None:
    client.begin(job, "first", key="k")
    second = client.begin(job, "second", key="k", if_active="cancel")
    change(
        database,
        "UPDATE durable.runs SET status = 'cancelled', completed_at = now() WHERE run_id = %s",
        second.run_key.run_id,
    )
    second.retry()
    with psycopg.connect(database) as connection:
        locked = run(connection, "durable", lock_retries(SHARD, 100))
        assert len(run(connection, "durable", retry_runs(SHARD, locked))) == 1
        connection.commit()
    assert second.info().status_reason == "following"


@pytest.mark.parametrize(
    "payload",
    ["null", "1", '{"do":"start","delay":-1}', '{"do":"start","at":"9999-12-31T00:00:00Z"}', '{"do":"begin"}']
    + ['{"do":"begin","version":1e30,"input":1}', '{"do":"start","timeout":1e999}', '"\\u0000"'],
)
@pytest.mark.parametrize("name", ["x", "0f3f6f0e-8f2c-4c6e-9a54-6a5d1f6f7c11", "follower", "message"])
def test_what_somebody_else_writes_is_closed_and_hinders_nothing(
    database: str, client: Client, payload: str, name: str
) -> None:
    first = client.begin(job, "first", key="k")
    client.publish_event(first.run_key, "note", 1)
    follower = client.begin(job, "second", key="k", if_active="cancel")
    names = {"follower": follower.run_key.run_id}
    ((names["message"],),) = change(database, "SELECT event_id::text FROM durable.events WHERE kind = 'event'")
    change(
        database,
        "INSERT INTO durable.events (workflow_name_shard, run_id, event_id, kind, name, payload, created_at)"
        " VALUES ('job_0', %s, gen_random_uuid(), 'next', %s, %s, now() - interval '1 hour')",
        first.run_key.run_id,
        names.get(name, name),
        payload,
    )
    fail(database, first.run_key)
    let_follow(database)
    let_follow(database)
    assert statuses(database)[0] == "failed"
    assert statuses(database)[1] in ("queued", "sleeping")
    assert change(database, "SELECT 1 FROM durable.runs WHERE follows IS NOT NULL") == []
    assert change(database, "SELECT 1 FROM durable.events WHERE kind = 'next' AND consumed_by IS NULL") == []


@pytest.mark.parametrize("text", ["", "[]", "{", '{"do":"other"}', "[" * 10_000])
def test_text_that_no_client_writes_says_nothing(text: str) -> None:
    assert read_next(text) is None


def test_a_run_follows_one_that_ended_in_a_crash_loop(database: str, client: Client) -> None:
    """What is to follow was routed while the run executed, and is looked at again in the transaction that ends it."""
    dead = str(uuid.uuid4())
    first = client.begin(job, "first", key="k")
    actor = Actor(database)
    run(actor.connection, "durable", claim_runs(SHARD, dead, 1))
    client.begin(job, "second", key="k", if_active="cancel")
    run(actor.connection, "durable", route_events(SHARD, dead, 100))
    assert change(database, "SELECT 1 FROM durable.events WHERE routed_at IS NULL") == []
    actor.start(take_over(SHARD, dead, 100, max_strikes=1, culprits=[first.run_key.run_id]))
    actor.finish()
    actor.connection.close()
    assert statuses(database) == ["failed", "sleeping"]
    let_follow(database)
    assert statuses(database) == ["failed", "queued"]


def test_what_a_rival_has_begun_and_not_committed_is_waited_for_and_then_begun(database: str, client: Client) -> None:
    for key in ("a", "b"):
        first = client.begin(job, "first", key=key)
        client.begin(job, "second", key=key, if_ended="begin_anew", event=("note", key))
        change(
            database,
            "UPDATE durable.runs SET status = 'completed', output = '1', epoch = 1, completed_at = now()"
            " WHERE run_id = %s",
            first.run_key.run_id,
        )
    with psycopg.connect(database) as rival:
        client.begin_tx(rival, job, "rival", key="a", if_ended="begin_anew")
        actor = Actor(database)
        actor.start(succeed(SHARD, 100, lock_seconds=0.01))
        actor.finish()
        assert statuses(database) == ["completed", "completed"]
        rival.rollback()
    let_follow(database)
    assert statuses(database) == ["completed", "completed", "queued", "queued"]
    actor.connection.close()


def test_what_is_committed_while_events_are_moved_is_left_for_the_next_time(database: str, client: Client) -> None:
    first = client.begin(job, "first", key="k")
    client.begin(job, "joined", key="k", if_ended="begin_anew", event=("note", 1))
    with psycopg.connect(database) as slow:
        client.begin_tx(slow, job, "second", key="k", if_active="cancel", if_ended="begin_anew", event=("note", 2))
        change(
            database,
            "UPDATE durable.runs SET status = 'completed', output = '1', epoch = 1, completed_at = now()"
            " WHERE run_id = %s",
            first.run_key.run_id,
        )
        actor = Actor(database)
        actor.start(succeed(SHARD, 100, lock_seconds=1.0))
        for _ in range(3):
            actor.step()
        slow.commit()
    actor.finish()
    actor.connection.close()
    let_follow(database)
    assert statuses(database) == ["completed", "queued"]
    second = client.handle(job, key="k").run_key()
    inbox = "SELECT payload::text FROM durable.events WHERE kind = 'event' AND run_id = %s ORDER BY 1"
    assert change(database, inbox, second.run_id) == [("1",), ("2",)]
