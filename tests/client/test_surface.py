"""Whatever is given to the public surface is taken as it was meant, or refused in words with nothing stored."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple, get_args

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.pq import TransactionStatus

import durable
from durable import Begin, Client, Context, Cron, DurableError, Every, InvalidArgument, JsonCodec, RunKey, workflow
from durable.admin.migration import migrate
from durable.core.generations import IfActive, IfEnded
from durable.core.replay.workflow import Workflow
from durable.core.runs import Status
from durable.core.schedules.expressions import parse_schedule
from durable.core.schedules.timetable import CatchUp, Overlap
from tests.client import arguments
from tests.client.workflows import Receipt, greet, nightly
from tests.conftest import new_database

LIVE, DONE, FAILED = (f"greet_0:01920000-0000-7000-8000-00000000000{number}" for number in (1, 2, 3))
TABLES = ("runs", "events", "schedules")


@workflow
async def keep(ctx: Context, value: Any) -> Any:
    return value


class Call(NamedTuple):
    method: str
    given: dict[str, Any]


RUNS = (
    st.sampled_from([LIVE, RunKey.parse(LIVE), RunKey.parse(DONE), FAILED, arguments.NOWHERE]),
    arguments.near(str, RunKey),
)
REASONS = st.none() | arguments.texts
SCHEDULES = st.sampled_from(["yearly", "yearly", "missing"])
TYPES = (st.sampled_from([str, Any, object, int, greet, nightly, Receipt]), arguments.junk)
PAST = (arguments.moments(2000, 2020), arguments.near(datetime))
BEGIN = {
    "wf": st.just(keep),
    "input": (arguments.values, arguments.junk),
    "key": st.none() | arguments.keys,
    "if_active": st.sampled_from(get_args(IfActive)),
    "if_ended": st.sampled_from(get_args(IfEnded)),
    "event": (st.none() | st.none() | st.tuples(arguments.keys, arguments.values), arguments.near(tuple)),
    "delay": st.none() | arguments.durations,
    "at": (st.none() | st.none() | arguments.moments(3, 9997), arguments.near(datetime)),
    "priority": st.integers(-32768, 32767),
    "tags": st.none() | st.dictionaries(arguments.keys, arguments.texts, max_size=3),
    "timeout": st.none() | arguments.durations,
    "headers": st.none() | st.dictionaries(arguments.keys, arguments.texts, max_size=3),
}
BEGUN = st.builds(
    lambda given: Begin(**given),
    st.fixed_dictionaries(
        {
            name: drawn if isinstance(drawn, st.SearchStrategy) else drawn[0]
            for name, drawn in BEGIN.items()
            if name != "wf"
        }
    ),
)
SCHEDULE = {
    "wf": st.just(keep),
    "input": (arguments.values, arguments.junk),
    "schedule_id": st.none() | arguments.keys,
    "schedule": st.sampled_from([Cron("0 9 * * MON-FRI"), Every(0.5), "*/5 * * * *", "@every 1h30m", "0 0 29 2 *"]),
    "run_now": st.booleans(),
    "timezone": st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns"]),
    "overlap": st.sampled_from(get_args(Overlap)),
    "catch_up": st.sampled_from(get_args(CatchUp)),
    "jitter": arguments.durations,
    "start": (st.none() | arguments.moments(2000, 2050), arguments.near(datetime)),
    "end": (st.none() | arguments.moments(2050, 2100), arguments.near(datetime)),
    **{name: BEGIN[name] for name in ("priority", "tags", "timeout", "headers")},
}
EVENT = {"name": arguments.keys, "payload": (arguments.values, arguments.junk), "key": st.none() | arguments.keys}
NAMED = {"schedule_id": SCHEDULES}
METHODS: dict[str, dict[str, dict[str, Any]]] = {
    "begin": {"begin": BEGIN},
    "begin many": {"begin_many": {"wf": st.just(keep), "inputs": st.lists(arguments.values | BEGUN, max_size=3)}},
    "publish": {"publish_event": {"run_key": RUNS, **EVENT}},
    "ask": {name: {"run_key": RUNS, "reason": REASONS} for name in ("cancel_run", "terminate_run")}
    | {"retry_run": {"run_key": RUNS}},
    "schedule": {"schedule": SCHEDULE},
    "name a schedule": {f"{verb}_schedule": NAMED for verb in ("pause", "resume", "delete", "trigger")},
    "backfill": {"backfill_schedule": NAMED | {"start": PAST, "end": PAST}},
    "look": {
        "get_run_info": {"run_key": RUNS},
        "get_run_output": {"run_key": RUNS, "type": TYPES},
        "handle": {"run_key": RUNS, "wf_or_type": TYPES},
    },
    "list": {
        "list_runs": {
            "workflow": st.sampled_from([None, greet, "greet", "nobody"]),
            "status": st.sampled_from([None, *get_args(Status)]),
            "limit": st.integers(1, 10_000),
            "before": RUNS,
            "key": st.none() | arguments.keys,
        }
    },
    "use a handle": {
        "publish_event": EVENT,
        "cancel": {"reason": REASONS},
        "terminate": {"reason": REASONS},
        "result": {"timeout": st.none() | arguments.durations},
    },
}
IN_TRANSACTIONS = ("begin", "publish", "ask", "schedule", "name a schedule", "backfill")
ASK_THE_CLOCK = ("schedule", "backfill_schedule")
OTHER_NAMES = {"Cron": "schedule"}


def calls(methods: dict[str, dict[str, Any]]) -> st.SearchStrategy[Call]:
    return st.one_of([_calls(method, parameters) for method, parameters in methods.items()])


def _calls(method: str, parameters: dict[str, Any]) -> st.SearchStrategy[Call]:
    pairs = {name: found if isinstance(found, tuple) else (found, arguments.junk) for name, found in parameters.items()}
    valid, spoilt = ({name: pair[side] for name, pair in pairs.items()} for side in (0, 1))
    return st.builds(Call, st.just(method), arguments.mixed(valid, spoilt))


class World:
    """A database with a run of each kind and a schedule, to which it returns."""

    def __init__(self, conninfo: str, client: Client, onlooker: psycopg.Connection[Any]) -> None:
        self.conninfo, self.client, self.onlooker = conninfo, client, onlooker
        client.schedule(greet, "x", "yearly", "0 0 1 1 *")
        for run_key, status in ((LIVE, "queued"), (DONE, "completed"), (FAILED, "failed")):
            onlooker.execute(
                "INSERT INTO durable.runs (workflow_name_shard, run_id, workflow_name, input, status, output, error,"
                " completed_at) VALUES ('greet_0', %s, 'greet', '\"x\"', %s, %s, %s, %s)",
                [
                    run_key.rpartition(":")[2],
                    status,
                    '"y"' if status == "completed" else None,
                    '{"type": "Broken", "message": ""}' if status == "failed" else None,
                    None if status == "queued" else datetime.now(UTC),
                ],
            )
        for table in TABLES:
            onlooker.execute(f"CREATE TABLE public.{table} AS SELECT * FROM durable.{table}")
        self.at_rest = self.stored()

    def stored(self) -> Any:
        sums = ", ".join(
            f"(SELECT array[count(*), sum(hashtext(r::text))] FROM durable.{table} AS r)" for table in TABLES
        )
        return self.onlooker.execute(f"SELECT {sums}").fetchone()

    def restore(self) -> None:
        if self.stored() != self.at_rest:
            for table in reversed(TABLES):
                self.onlooker.execute(f"DELETE FROM durable.{table}")
            for table in TABLES:
                self.onlooker.execute(f"INSERT INTO durable.{table} SELECT * FROM public.{table}")


@pytest.fixture(scope="module")
def world(server_dsn: str) -> Iterator[World]:
    with new_database(server_dsn) as conninfo:
        migrate(conninfo)
        with Client(conninfo) as client, psycopg.connect(conninfo, autocommit=True) as onlooker:
            yield World(conninfo, client, onlooker)


@pytest.fixture(scope="module")
def tx(world: World) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(world.conninfo) as connection:
        yield connection


def attempt(function: Callable[..., Any], call: Call) -> tuple[dict[str, Any], Any, Exception | None]:
    """What was given, what came back, what was refused; any other error is let through."""
    given = {name: arguments.made(argument) for name, argument in call.given.items()}
    try:
        return given, function(**given), None
    except (DurableError, TypeError, ValueError) as error:
        assert str(error).strip()
        if isinstance(error, InvalidArgument):
            assert error.argument.partition("[")[0] in {
                *given,
                OTHER_NAMES.get(call.method),
                *(BEGIN if "inputs" in given else ()),
            }
            assert error.rule
            assert str(error).startswith(f"{error.argument} must be {error.rule}, got ")
        return given, None, error
    finally:
        for value in given.values():
            if inspect.iscoroutine(value):
                value.close()


some = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("group", METHODS)
@some
@given(data=st.data())
def test_a_call_stores_what_was_asked_or_nothing(world: World, group: str, data: st.DataObject) -> None:
    call = data.draw(calls(METHODS[group]))
    owner = world.client
    if group == "use a handle":
        owner = world.client.handle(DONE if call.method == "result" else LIVE, greet)
    try:
        given, result, error = attempt(getattr(owner, call.method), call)
        if error is None:
            check_kept(call.method, given, result, world.onlooker)
        else:
            assert world.stored() == world.at_rest
    finally:
        world.restore()


@pytest.mark.parametrize("group", IN_TRANSACTIONS)
@some
@given(data=st.data())
def test_a_refused_call_leaves_the_transaction_usable(
    world: World, tx: psycopg.Connection[Any], group: str, data: st.DataObject
) -> None:
    call = data.draw(calls(METHODS[group]))
    method = getattr(world.client, f"{call.method}_tx")
    try:
        given, result, error = attempt(lambda **given: method(tx, **given), call)
        if error is None:
            check_kept(call.method, given, result, tx)
        elif isinstance(error, (TypeError, ValueError)) and call.method not in ASK_THE_CLOCK:
            assert tx.info.transaction_status == TransactionStatus.IDLE
        assert tx.execute("SELECT 1").fetchone() == (1,)
    finally:
        tx.rollback()
    assert world.stored() == world.at_rest


@some
@given(group=st.sampled_from(IN_TRANSACTIONS), data=st.data(), junk=arguments.junk)
def test_what_is_no_transaction_is_refused(world: World, group: str, data: st.DataObject, junk: Any) -> None:
    call = data.draw(calls(METHODS[group]))
    method = getattr(world.client, f"{call.method}_tx")
    _, _, error = attempt(method, Call(call.method, {"tx": junk, **call.given}))
    assert isinstance(error, (TypeError, ValueError))
    assert world.stored() == world.at_rest


def check_kept(method: str, given: dict[str, Any], result: Any, connection: psycopg.Connection[Any]) -> None:
    """Whether that is there now which the call asked for, and nothing else."""

    def ask(what: str, table: str, *params: Any) -> Any:
        found = connection.execute(f"SELECT {what} FROM durable.{table}", params).fetchall()  # type: ignore[arg-type]
        return found[0] if len(found) == 1 else found

    runs = ask("count(*)", "runs")[0] - 3
    events = ask("count(*)", "events")[0]
    match method:
        case "begin":
            run_key = result if isinstance(result, RunKey) else result.run_key
            text, *stored, status = ask(
                "input::text, priority, key, coalesce(tags, '{}'), coalesce(headers, '{}'), status",
                "runs WHERE run_id = %s",
                run_key.run_id,
            )
            JsonCodec().decode(text, given["wf"].input_type, "the input")
            assert stored == [given["priority"], given["key"], given["tags"] or {}, given["headers"] or {}]
            assert status == ("queued" if given["delay"] is None and given["at"] is None else "sleeping")
            assert runs == 1
        case "begin_many":
            assert runs == len(set(result))
            for run_key in result:
                text = ask("input::text", "runs WHERE run_id = %s", run_key.run_id)[0]
                JsonCodec().decode(text, given["wf"].input_type, "the input")
        case "publish_event":
            kind, name, key, text = ask("kind, name, key, payload::text", "events")
            assert (kind, name, key) == ("event", given["name"], given["key"])
            JsonCodec().decode(text, Any, "the payload")
        case "cancel_run" | "cancel" | "terminate_run" | "terminate":
            assert ask("kind, payload", "events") == (method.removesuffix("_run"), given["reason"])
        case "retry_run":
            assert ask("kind", "events") == ("retry",)
        case "schedule":
            schedule_id = given["wf"].name if given["schedule_id"] is None else given["schedule_id"]
            known = "expression, timezone, overlap, catch_up, starts_at, ends_at"
            expression, *stored = ask(known, "schedules WHERE schedule_id = %s", schedule_id)
            stored, bounds = stored[:3], stored[3:]
            schedule = given["schedule"]
            assert parse_schedule(expression) == (parse_schedule(schedule) if isinstance(schedule, str) else schedule)
            assert stored == [given[name] for name in ("timezone", "overlap", "catch_up")]
            assert bounds == [moment and moment.astimezone(UTC) for moment in (given["start"], given["end"])]
            assert runs == given["run_now"]
            assert result
        case "pause_schedule" | "resume_schedule":
            assert ask("paused", "schedules") == (method == "pause_schedule",)
        case "delete_schedule":
            assert ask("true", "schedules") == []
        case "trigger_schedule" | "backfill_schedule":
            assert runs == (1 if method == "trigger_schedule" else len(result))
        case _:
            assert (runs, events) == (0, 0)


COUNTS = (st.integers(1, 2**31 - 1), arguments.near(int, float, Decimal))
WORKFLOW = {
    "name": st.none() | arguments.keys,
    "version": COUNTS,
    "concurrency": COUNTS,
    "retry": st.none() | st.just(durable.RunRetryPolicy()),
    "timeout": st.none() | arguments.durations,
    "codec": st.none() | st.just(JsonCodec()),
}
CLIENT = {
    "conninfo_or_pool": st.sampled_from(["", "dbname=x", "postgresql://x/y"]),
    "schema": st.from_regex("[a-z_]{1,20}", fullmatch=True),
    "codec": st.none() | st.just(JsonCodec()),
}
BACKOFFS = (
    st.builds(durable.exponential, arguments.durations, arguments.durations, st.floats(1, 1000)) | arguments.durations
)
CONSTRUCTORS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "workflow": (lambda **options: workflow(**options)(greet.function), WORKFLOW),
    "workflow function": (lambda function: workflow(function), {"function": st.sampled_from([greet.function, keep])}),
    "Client": (Client, CLIENT),
    "AsyncClient": (durable.AsyncClient, CLIENT),
    "Worker": (
        durable.Worker,
        CLIENT
        | {"workflows": (st.lists(st.sampled_from([greet, nightly, keep]), max_size=3), arguments.junk)}
        | {
            "notify": st.booleans(),
            "notify_channel": st.none() | arguments.keys,
            "graceful_shutdown_timeout": arguments.durations,
        }
        | dict.fromkeys(("poll_interval", "max_poll_interval", "lease"), arguments.durations)
        | dict.fromkeys(("max_resident", "max_threads", "max_strikes"), COUNTS),
    ),
    "RetryPolicy": (
        durable.RetryPolicy,
        {"max_retries": st.integers(0), "backoff": BACKOFFS, "timeout": st.none() | arguments.durations}
        | {"give_up_on": st.lists(st.sampled_from([ValueError, OSError])).map(tuple)},
    ),
    "RunRetryPolicy": (durable.RunRetryPolicy, {"max_attempts": st.integers(1), "backoff": BACKOFFS}),
    "exponential": (
        durable.exponential,
        {"base": arguments.durations, "maximum": arguments.durations, "factor": st.floats(1, 1000)},
    ),
    "Cron": (Cron, {"expression": st.sampled_from(["* * * * *", "@every 5m", " 0 0  1 JAN SUN "])}),
    "Every": (Every, {"interval": arguments.durations}),
    "RunKey.parse": (
        RunKey.parse,
        {"text": (RUNS[0].map(str), arguments.near(str))},
    ),
    "JsonCodec": (JsonCodec, {"max_bytes": st.integers(1)}),
}


@pytest.mark.parametrize("name", CONSTRUCTORS)
@some
@given(data=st.data())
def test_what_can_be_made_can_be_used(world: World, name: str, data: st.DataObject) -> None:
    make, parameters = CONSTRUCTORS[name]
    given, result, error = attempt(make, data.draw(_calls(name, parameters)))
    if error is not None:
        return
    match result:
        case Workflow():
            check_can_be_begun(result, world)
        case Client():
            result.close()
        case durable.RetryPolicy() | durable.RunRetryPolicy():
            assert (result.next_delay(1, RuntimeError()) or 0.0) >= 0
        case durable.Backoff():
            assert 0 <= result.delay(1) <= result.delay(10**400)
        case Cron() | Every():
            assert parse_schedule(str(result)) == result
        case RunKey():
            assert str(result) == given["text"]
        case JsonCodec():
            assert result.encode(1, "one") == "1"


def check_can_be_begun(made: Any, world: World) -> None:
    try:
        handle = world.client.begin(made, "Ada")
        assert [run.run_key for run in world.client.list_runs(workflow=made, limit=1)] == [handle.run_key]
        assert world.client.get_run_info(RunKey.parse(str(handle.run_key))).status == "queued"
    finally:
        world.restore()
