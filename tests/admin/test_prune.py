"""Retention: what ended long ago goes, with all that is its own, and nothing else does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from durable import Client, InvalidArgument, RunKey, RunNotFound, SchemaError
from durable.admin.migration import migrate, roles_sql
from durable.admin.pruning import prune
from durable.core.shards import shard_value
from tests.client.workflows import greet
from tests.roles import as_role, make_roles

HOUR = 3600.0
SHARDS = 4


class Planted(msgspec.Struct):
    """A run of a forest. ``age`` in hours since it ended, ``None``: it has not; ``parent`` by its place in the list."""

    workflow: str
    age: int | None
    parent: int | None
    retried: bool = False
    run_id: str = msgspec.field(default_factory=lambda: str(uuid4()))

    @property
    def shard_value(self) -> str:
        return shard_value(self.workflow, self.run_id, SHARDS)


def plant(connection: psycopg.Connection[Any], forest: list[Planted]) -> None:
    """Each with a memo, a wait, an event, and memos of its children."""
    for run in forest:
        parent = None if run.parent is None else forest[run.parent]
        connection.execute(
            "INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, status, epoch, input, error,"
            " completed_at, parent_shard, parent_run_id)"
            " VALUES (%s, %s, %s, %s, 1, '1', %s, now() - make_interval(hours => %s), %s, %s)",
            (
                run.shard_value,
                run.run_id,
                run.workflow,
                "queued" if run.age is None else "failed",
                None if run.age is None else "{}",
                run.age,
                parent and parent.shard_value,
                parent and parent.run_id,
            ),
        )
        own = (run.shard_value, run.run_id)
        connection.execute(
            "INSERT INTO durable.steps (workflow_name_shard, run_id, step_key, kind, status, seq, fn, started_at,"
            " output) VALUES (%s, %s, 'step', 'execute', 'completed', 1, 'f', now(), '1')",
            own,
        )
        connection.execute(
            "INSERT INTO durable.waits (workflow_name_shard, run_id, wait_key, wait_type, wake_at)"
            " VALUES (%s, %s, 'nap', 'sleep', now())",
            own,
        )
        connection.execute(
            "INSERT INTO durable.events (workflow_name_shard, run_id, event_id, name, payload, kind, routed_at)"
            " VALUES (%s, %s, gen_random_uuid(), 'news', '1', %s, CASE WHEN %s THEN NULL ELSE now() END)",
            (*own, "retry" if run.retried else "event", run.retried),
        )
        connection.execute(
            "INSERT INTO durable.chapters VALUES (%s, %s, 1, 1, 0, now(), now(), 'null')",
            own,
        )
        if parent is not None:
            connection.execute(
                "INSERT INTO durable.steps (workflow_name_shard, run_id, step_key, kind, status, seq, fn, started_at,"
                " output, child_shard, child_run_id)"
                " VALUES (%s, %s, %s, 'child', 'completed', 2, 'f', now(), %s, %s, %s)",
                (
                    parent.shard_value,
                    parent.run_id,
                    run.run_id,
                    msgspec.json.encode(f"{run.shard_value}:{run.run_id}").decode(),
                    run.shard_value,
                    run.run_id,
                ),
            )


def left(connection: psycopg.Connection[Any]) -> dict[str, set[str]]:
    """The ids of the runs of which each table has something."""
    return {
        table: {str(row[0]) for row in connection.execute(f"SELECT run_id FROM durable.{table}".encode())}
        for table in ("runs", "steps", "waits", "events", "chapters")
    }


def expected(forest: list[Planted], hours: int, workflow: str | None) -> set[str]:
    """Which runs stay, by the words of the promise, one after the other until nothing changes."""
    kept = {index for index, run in enumerate(forest)}
    while True:
        gone = {
            index
            for index in kept
            if (run := forest[index]).age is not None
            and run.age > hours
            and not run.retried
            and workflow in (None, run.workflow)
            and run.parent not in kept
            and not any(
                child.parent == index and (child.age is None or child.age <= hours)
                for number, child in enumerate(forest)
                if number in kept
            )
        }
        if not gone:
            return {forest[index].run_id for index in kept}
        kept -= gone


@st.composite
def forests(draw: st.DrawFn) -> list[Planted]:
    forest: list[Planted] = []
    for index in range(draw(st.integers(0, 12))):
        forest.append(
            Planted(
                draw(st.sampled_from(["greet", "greet_0", "checkout ✓"])),
                draw(st.sampled_from([None, 1, 5, 5, 5])),
                draw(st.none() | st.integers(0, index - 1)) if index else None,
                run_id=str(draw(st.uuids(version=4))),
            )
        )
        forest[-1].retried = forest[-1].age is not None and draw(st.integers(0, 9)) == 0
    return forest


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection[Any]]:
    migrate(database, shard_count=SHARDS)
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(forests(), st.sampled_from([None, "greet"]), st.sampled_from([1, 1000]))
def test_exactly_what_may_go_goes_whatever_the_families(
    database: str,
    connection: psycopg.Connection[Any],
    forest: list[Planted],
    workflow: str | None,
    most: int,
) -> None:
    connection.execute("DELETE FROM durable.runs; DELETE FROM durable.steps; DELETE FROM durable.waits")
    connection.execute("DELETE FROM durable.events; DELETE FROM durable.chapters")
    plant(connection, forest)
    stays = expected(forest, 2, workflow)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("durable.admin.pruning._MAX_RUNS", most)
        assert prune(database, older_than=2 * HOUR, workflow=workflow) == len(forest) - len(stays)

    assert left(connection) == dict.fromkeys(("runs", "steps", "waits", "events", "chapters"), stays)


def test_a_page_after_the_other_until_all_are_gone(database: str, connection: psycopg.Connection[Any]) -> None:
    connection.execute(
        "INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, status, input, output, completed_at)"
        " SELECT 'greet_' || i % 4, gen_random_uuid(), 'greet', 'completed', '1', '1', now() - interval '1 day'"
        " FROM generate_series(1, 9001) AS i"
    )
    assert prune(database, older_than=timedelta(hours=12)) == 9001
    assert prune(database, older_than=timedelta(hours=12)) == 0


def test_it_returns_although_runs_come_of_age_all_the_time(database: str, connection: psycopg.Connection[Any]) -> None:
    plant(connection, [Planted("greet", 5, None), Planted("checkout ✓", None, None), Planted("greet", 5, 1)])
    connection.execute("""
        CREATE FUNCTION come_of_age() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, status, input, output, completed_at)
            VALUES ('greet_0', gen_random_uuid(), 'greet', 'completed', '1', '1', now() - interval '2 hours');
            RETURN NULL;
        END $$;
        CREATE TRIGGER come_of_age AFTER DELETE ON durable.runs FOR EACH ROW EXECUTE FUNCTION come_of_age()
    """)
    with ThreadPoolExecutor(1) as executor:
        pruning = executor.submit(prune, database, older_than=2 * HOUR)
        try:
            assert pruning.result(timeout=20) < 5
        finally:
            connection.execute("DROP TRIGGER come_of_age ON durable.runs")


def test_who_asks_for_a_pruned_run_is_told_and_its_key_begins_a_new_one(
    database: str, connection: psycopg.Connection[Any]
) -> None:
    with Client(database) as client:
        handle = client.begin(greet, "Ada", key="ada")
        connection.execute(
            "UPDATE durable.runs SET status = 'completed', output = '\"Ada\"', completed_at = now() - interval '2 h'"
        )
        assert not client.begin(greet, "Ada", key="ada").is_new
        assert prune(database, older_than=HOUR, workflow=greet) == 1

        with pytest.raises(RunNotFound, match="was pruned"):
            handle.result(timeout=5)
        assert client.begin(greet, "Ada", key="ada").is_new


def test_a_run_that_somebody_has_locked_stays_and_nobody_waits(
    database: str, connection: psycopg.Connection[Any]
) -> None:
    plant(connection, [Planted("greet", 5, None), Planted("greet", 5, None)])
    with psycopg.connect(database) as other:
        other.execute("SELECT FROM durable.runs ORDER BY run_id LIMIT 1 FOR NO KEY UPDATE")
        assert prune(database, older_than=HOUR) == 1
    assert prune(database, older_than=HOUR) == 1


def test_an_event_whose_run_went_while_it_was_published_goes_too(
    database: str, connection: psycopg.Connection[Any]
) -> None:
    forest = [Planted("greet", 5, None)]
    plant(connection, forest)
    with Client(database) as client, psycopg.connect(database) as tx:
        client.retry_run_tx(tx, RunKey(forest[0].shard_value, forest[0].run_id))
        assert prune(database, older_than=HOUR) == 1
        tx.commit()
    assert left(connection)["events"] == {forest[0].run_id}

    assert prune(database, older_than=HOUR) == 0
    assert left(connection)["events"] == set()


def test_several_at_once_delete_each_run_once(database: str, connection: psycopg.Connection[Any]) -> None:
    connection.execute(
        "INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, status, input, output, completed_at)"
        " SELECT 'greet_0', gen_random_uuid(), 'greet', 'completed', '1', '1', now() - interval '1 day'"
        " FROM generate_series(1, 5000)"
    )
    with ThreadPoolExecutor(3) as threads:
        deleted = list(threads.map(lambda _: prune(database, older_than=HOUR), range(3)))
    assert sum(deleted) + prune(database, older_than=HOUR) == 5000


@pytest.mark.parametrize("older_than", [-1, math.nan, math.inf, "30d", None, True, 1e300, timedelta(days=-1)])
def test_an_age_that_is_none_is_refused(bare_database: str, older_than: Any) -> None:
    with pytest.raises(InvalidArgument, match="older_than"):
        prune(bare_database, older_than=older_than)


@pytest.mark.parametrize("workflow", ["", "a\0b", "x" * 201, 5])
def test_a_name_that_no_workflow_has_is_refused(bare_database: str, workflow: Any) -> None:
    with pytest.raises(InvalidArgument, match="workflow"):
        prune(bare_database, older_than=1, workflow=workflow)


def test_a_database_without_the_schema_is_refused(bare_database: str) -> None:
    with pytest.raises(SchemaError, match="durable migrate"):
        prune(bare_database, older_than=1)


@pytest.mark.parametrize("schema", ["a; DROP TABLE x", 'a"b', ""])
def test_a_schema_that_is_no_name_is_refused(bare_database: str, schema: str) -> None:
    with pytest.raises(InvalidArgument, match="schema"):
        prune(bare_database, older_than=1, schema=schema)


def test_another_schema_is_pruned_by_its_name(database: str, connection: psycopg.Connection[Any]) -> None:
    connection.execute('DROP SCHEMA IF EXISTS "Mine" CASCADE')
    migrate(database, schema="Mine")
    try:
        connection.execute(
            'INSERT INTO "Mine".runs (workflow_name_shard, run_id, workflow_name, status, input, output, completed_at)'
            " VALUES ('greet_0', %s, 'greet', 'completed', '1', '1', now() - interval '1 day')",
            (UUID(int=7),),
        )
        assert prune(database, older_than=HOUR) == 0
        assert prune(database, older_than=HOUR, schema="Mine") == 1
    finally:
        connection.execute('DROP SCHEMA "Mine" CASCADE')


def test_a_table_of_the_application_may_refuse(database: str, connection: psycopg.Connection[Any]) -> None:
    forest = [Planted("greet", 5, None)]
    plant(connection, forest)
    connection.execute(
        "CREATE TABLE public.orders (shard text, run_id uuid,"
        " FOREIGN KEY (shard, run_id) REFERENCES durable.runs (workflow_name_shard, run_id))"
    )
    try:
        connection.execute("INSERT INTO public.orders VALUES (%s, %s)", (forest[0].shard_value, forest[0].run_id))
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            prune(database, older_than=HOUR)
        assert left(connection)["steps"] == {forest[0].run_id}
    finally:
        connection.execute("DROP TABLE public.orders")


def test_only_the_owner_s_part_suffices(bare_database: str) -> None:
    migrate(bare_database)
    make_roles(bare_database)
    with psycopg.connect(bare_database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, status, input, output, completed_at)"
            " VALUES ('greet_0', gen_random_uuid(), 'greet', 'completed', '1', '1', now() - interval '1 day')"
        )
    assert "durable_owner" in roles_sql()
    for role in ("worker", "client", "viewer"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            prune(as_role(bare_database, f"durable_{role}"), older_than=HOUR)
    assert prune(as_role(bare_database, "durable_owner"), older_than=HOUR) == 1


def test_a_family_goes_in_one_call_wherever_its_members_lie(database: str, connection: psycopg.Connection[Any]) -> None:
    forest = [Planted("z", 5, None), Planted("m", 5, 0), Planted("m", 5, 0), Planted("a", 5, 1), Planted("z", 5, 3)]
    plant(connection, forest)
    assert prune(database, older_than=HOUR) == 5
    assert left(connection)["runs"] == set()


GENERATION = """
    INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, input, status, output, key, completed_at,
                              generation)
    VALUES ('greet_0', gen_random_uuid(), 'greet', '1', 'completed', '1', 'k', now() - make_interval(hours => %s), %s)
"""


@pytest.mark.parametrize(
    ("ages", "left"),
    [
        ((9, 9, 9), []),  # all go together
        ((1, 9, 9), [None, 1, 2]),  # none, because each has an older one that stays
        ((9, 1, 9), [1, 2]),
        ((9, 9, 1), [2]),
    ],
)
def test_a_run_of_a_key_goes_only_with_all_that_were_begun_before_it(
    database: str, ages: tuple[int, ...], left: list[int | None]
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        for generation, age in enumerate(ages):
            connection.execute(GENERATION, (age, generation or None))
        assert prune(database, older_than=5 * HOUR) == len(ages) - len(left)
        stored = connection.execute("SELECT generation FROM durable.runs ORDER BY coalesce(generation, 0)").fetchall()
    assert stored == [(generation,) for generation in left]


def test_a_run_stays_until_what_is_to_happen_after_its_end_has_happened(database: str) -> None:
    with Client(database) as client, psycopg.connect(database, autocommit=True) as connection:
        first = client.begin(greet, "Ada", key="k")
        client.begin(greet, "Bob", key="k", if_active="cancel")
        connection.execute(
            "UPDATE durable.runs SET status = 'completed', output = '1', completed_at = now() - interval '1 day'"
            " WHERE run_id = %s",
            (first.run_key.run_id,),
        )
        assert prune(database, older_than=HOUR) == 0
        connection.execute("UPDATE durable.events SET consumed_by = ''")
        assert prune(database, older_than=HOUR) == 1


def test_a_run_that_was_begun_in_place_of_one_that_was_deleted_meanwhile_starts(database: str) -> None:
    with Client(database) as client, psycopg.connect(database) as slow:
        first = client.begin(greet, "Ada", key="k")
        second = client.begin_tx(slow, greet, "Bob", key="k", if_active="cancel")
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(
                "UPDATE durable.runs SET status = 'completed', output = '1', completed_at = now() - interval '1 day'"
                " WHERE run_id = %s",
                (first.run_key.run_id,),
            )
        assert prune(database, older_than=HOUR) == 1
        slow.commit()
        assert client.get_run_info(second).status_reason == "following"
        assert prune(database, older_than=HOUR) == 0
        assert client.get_run_info(second).status == "queued"
