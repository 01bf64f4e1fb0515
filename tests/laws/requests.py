"""Requests against a real server: the same key has the same answer, once, and nobody waits for one that never comes."""

from __future__ import annotations

import random
from typing import Any
from uuid import UUID

import psycopg

from durable import Client, Context, RequestNotFound, RequestTimeout, RunEnded, workflow
from durable.core.replay.endings import NextChapter, Settle
from durable.postgres.drive import run
from durable.store.channels import work_channel
from durable.store.claims import claim_runs
from durable.store.events import load_events
from durable.store.flush import flush
from durable.store.operation import Operation, Running
from durable.store.records import AnsweredWait, Entry, Event, OpenedWait, Record, ReplyMemo
from durable.store.statement import Commit, Statement, T

WORKER = str(UUID(int=7))
SHARD = "asked_0"


@workflow(name="asked")
async def _asked(ctx: Context) -> None: ...


def _execute(connection: psycopg.Connection[Any], operation: Operation[T]) -> T:
    """Each request of it in a transaction of its own."""

    def rows(asked: Statement[Any]) -> list[Any]:
        cursor = connection.execute(asked.query.text("durable"), asked.params)
        return cursor.fetchall() if cursor.description else []

    running = Running(operation)
    while running.request is not None:
        request = running.request
        assert isinstance(request, Commit)
        with connection.transaction():
            answers = [rows(asked) for asked in request.statements]
        running.answer([*answers, *(rows(asked) for asked in request.then)])
    return running.result


class _Run:
    """Its worker, driven by hand."""

    def __init__(self, connection: psycopg.Connection[Any], client: Client) -> None:
        self.connection = connection
        self.handle = client.begin(_asked)
        self.run_id = self.handle.run_key.run_id
        self.epoch = self.number = 0
        self.taken: list[Event] = []
        self.claim()

    def claim(self) -> None:
        (claimed,) = run(self.connection, "durable", claim_runs(SHARD, WORKER, 1))
        self.epoch = claimed.epoch

    def write(self, *entries: Entry, ending: Any = None) -> bool:
        record = Record(self.run_id, self.epoch, entries=list(entries), ending=ending)
        written = _execute(self.connection, flush(SHARD, WORKER, [record], is_repeat=False, is_leaving=False))
        return written[0].is_ours

    def take(self) -> None:
        inbox = run(self.connection, "durable", load_events(SHARD, [self.run_id]))
        request = next((event for event in inbox if event.kind == "request"), None)
        if request is not None:
            self.number += 1
            key = f"ask {self.number}"
            self.write(
                OpenedWait(key, "add", is_request=True),
                AnsweredWait(key, 2 * self.number, False, request.event_id, request.payload),
            )
            self.taken.append(request)

    def answer(self, reply: str, chosen: random.Random) -> str | None:
        """Answers one that was taken, perhaps again; the id of what is answered."""
        if not self.taken:
            return None
        request = chosen.choice(self.taken)
        self.number += 1
        memo = ReplyMemo(f"r{self.number}", 2 * self.number, "add", request.event_id, reply, is_refused=False)
        return request.event_id if self.write(memo) else None

    def end(self, *, continues: bool) -> None:
        if continues:
            self.write(ending=NextChapter(status="queued", input="null", version=1, timeout=None))
            self.taken.clear()
            self.claim()
        else:
            self.write(ending=Settle(status="completed", output="null"))


def a_key_has_one_answer(database: str, seed: int) -> None:
    """A run is asked with few keys, takes requests, answers them, some twice, hears events of the same names and keys,
    continues as new, loses its worker, and ends."""
    chosen = random.Random(seed)
    with Client(database) as client, psycopg.connect(database, autocommit=True) as connection:
        one, told, asked = _Run(connection, client), {}, set[str]()
        with psycopg.connect(database, autocommit=True) as listener:
            listener.execute(f"LISTEN {work_channel('durable')}")
            for step in range(chosen.randrange(4, 24)):
                key = chosen.choice("ab")
                match chosen.choice(("ask", "ask", "event", "take", "answer", "answer", "chapter", "zombie")):
                    case "ask":
                        list(listener.notifies(timeout=0))
                        _ask(one, key, told, step)
                        asked.add(key)
                        assert list(listener.notifies(timeout=1, stop_after=1)), f"request {key} was not announced"
                    case "event":
                        one.handle.publish_event("add", "an event", key=key)
                    case "take":
                        one.take()
                    case "answer":
                        one.answer(str(step), chosen)
                    case "chapter":
                        one.end(continues=True)
                    case _:  # a worker whose run belongs to another one by now
                        one.epoch -= 1
                        assert one.answer('"of a zombie"', chosen) is None
                        one.epoch += 1
                _check(one, asked, told)
        one.end(continues=False)
        for key in asked:
            _ask(one, key, told, -1, has_ended=True)


def _ask(one: _Run, key: str, told: dict[str, object], step: int, *, has_ended: bool = False) -> None:
    try:
        reply = one.handle.request("add", f"request {step}", key=key, timeout=0)
    except RequestTimeout:
        assert not has_ended, "whoever asks a run that has ended is left to wait"
        assert key not in told, f"{key} was answered by {told[key]}, and is not any longer"
    except RequestNotFound as error:
        raise AssertionError(f"{key} was asked") from error
    except RunEnded:
        assert has_ended
        assert key not in told
    else:
        assert told.setdefault(key, reply) == reply, f"{key} was answered by {told[key]} before, and by {reply} now"


def _check(one: _Run, asked: set[str], told: dict[str, object]) -> None:
    rows = one.connection.execute(
        "SELECT key, reply, event_id::text, consumed_by FROM durable.events WHERE kind = 'request' AND run_id = %s",
        [one.run_id],
    ).fetchall()
    assert sorted(key for key, *_ in rows) == sorted(asked), f"{asked} were asked, and {rows} are there"
    taken = {event.event_id for event in one.taken}
    for key, reply, request_id, consumed_by in rows:
        assert reply is not None or consumed_by is None or request_id in taken, f"nobody can answer {key} any longer"
        assert reply != "of a zombie"
        if reply is not None:
            assert told.setdefault(key, reply) == reply, f"{key} was answered by {told[key]} before, and by {reply} now"
