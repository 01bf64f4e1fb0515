"""Each reason why a run is not moving, as a sentence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from durable import Cause, ErrorInfo, RunKey
from durable.core.diagnosis.causes import causes_of
from durable.core.diagnosis.facts import Facts, InboxFacts, LockFacts, RunFacts, WaitFacts, WorkerFacts

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEY = RunKey("pay_0", "00000000-0000-4000-8000-000000000001")
CHILD = RunKey("ship_0", "00000000-0000-4000-8000-000000000002")


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def run(status: str, **changed: Any) -> RunFacts:
    facts = RunFacts(
        workflow_name="pay",
        version=1,
        status=status,  # type: ignore[arg-type]
        attempts=0,
        takeovers=0,
        set_asides=0,
        isolation=None,
        worker_id=None,
        next_wake_at=None,
        created_at=ago(100),
        updated_at=ago(40),
        completed_at=None,
        deadline_at=None,
        follows=None,
        now=NOW,
        paused_at=None,
        is_standby=False,
        schema_version=16,
    )
    return msgspec.structs.replace(facts, **changed)


def worker(name: str = "w1", workflow: str = "pay", silent: float = 0.5, **changed: Any) -> WorkerFacts:
    facts = WorkerFacts(name, "host-1", 4711, [workflow], 15, silent, True, 2, 100, 3)
    return msgspec.structs.replace(facts, **changed)


def wait(kind: str, **changed: Any) -> WaitFacts:
    return msgspec.structs.replace(WaitFacts("w", kind, "paid", None, ago(30), None), **changed)


def event(name: str, **changed: Any) -> InboxFacts:
    return msgspec.structs.replace(InboxFacts("event", name, ago(20), True, None), **changed)


def explained(status: str, of_run: dict[str, Any] | None = None, **facts: Any) -> Cause:
    causes = causes_of(Facts(run_key=KEY, run=run(status, **(of_run or {})), **facts))
    return causes[0]


SENTENCES: list[tuple[Cause, str, str, str]] = [
    (
        explained("queued"),
        "unserved",
        "wrong",
        "It is queued, and no living worker has 'pay'. No worker is alive at all.",
    ),
    (
        explained("queued", workers=(worker(workflow="ship"), worker("w2", silent=16))),
        "unserved",
        "wrong",
        "It is queued, and no living worker has 'pay'. Those that are alive have: ship.",
    ),
    (
        explained("queued", workers=(worker(is_locked=False),)),
        "unserved",
        "wrong",
        "It is queued, and no living worker has 'pay'. No worker is alive at all.",
    ),
    (
        explained("queued", ahead=1200, workers=(worker(running=100), worker("w2", running=100))),
        "full",
        "waiting",
        "All 2 workers that have it are full, with 200 of 200 runs; 1,200 others go first in its queue.",
    ),
    (
        explained("queued", ahead=10_001, workers=(worker(),)),
        "queued",
        "waiting",
        "It waits for its turn; 10,000+ others go first.",
    ),
    (
        explained("queued", ahead=0, workers=(worker(),)),
        "unclaimed",
        "wrong",
        "It should be running: it has been first in its queue for 40 s, and a living worker is free for it.",
    ),
    (
        explained("queued", {"updated_at": ago(2)}, ahead=0, workers=(worker(),)),
        "queued",
        "waiting",
        "It waits for its turn; nothing goes first.",
    ),
    (
        explained("running", {"worker_id": "w1"}, workers=(worker(),)),
        "running",
        "waiting",
        "It is being executed by process 4711 on host-1.",
    ),
    (
        explained("running", {"worker_id": "w9"}, workers=(worker(),)),
        "lost",
        "waiting",
        "Its worker is gone; another one takes it over within seconds.",
    ),
    (
        explained("running", {"worker_id": "w9"}),
        "lost",
        "wrong",
        "Its worker is gone; another one takes it over within seconds.",
    ),
    (
        explained("running", {"worker_id": "w2"}, workers=(worker(), worker("w2", silent=17))),
        "silent_worker",
        "waiting",
        (
            "Its worker (process 4711 on host-1) has given no sign of life for 17 s; it moves at 2026-03-01 "
            "11:59:58Z at the latest."
        ),
    ),
    (
        explained("running", {"worker_id": "w2"}, workers=(worker(), worker("w2", silent=60))),
        "silent_worker",
        "wrong",
        "Its worker (process 4711 on host-1) has given no sign of life for 60 s; it should have moved by now.",
    ),
    (
        explained(
            "sleeping",
            {"set_asides": 4, "next_wake_at": NOW},
            workers=(worker(),),
            error=ErrorInfo("NondeterminismError", "recorded execute 'ship', called 'dispatch'."),
        ),
        "set_aside",
        "wrong",
        (
            "It was set aside 4 times in a row, because the deployed code does not match what it has done. "
            "recorded execute 'ship', called 'dispatch'. It is tried again at 2026-03-01 12:00:00Z. Living "
            "workers have version 2; it began on version 1."
        ),
    ),
    (
        explained("sleeping", {"attempts": 2, "next_wake_at": NOW}, error=ErrorInfo("ValueError", "no money\nat all")),
        "attempt_failed",
        "waiting",
        "Attempt 2 has failed with ValueError: no money; the next one begins at 2026-03-01 12:00:00Z.",
    ),
    (
        explained("sleeping", {"next_wake_at": NOW}),
        "delayed",
        "waiting",
        "It has not started yet: it begins at 2026-03-01 12:00:00Z.",
    ),
    (
        explained("sleeping", {"next_wake_at": NOW}, waits=(wait("sleep", wake_at=NOW, name=None),)),
        "sleeping",
        "waiting",
        "It sleeps in 'w' until 2026-03-01 12:00:00Z.",
    ),
    (
        explained(
            "sleeping", {"next_wake_at": NOW}, waits=(wait("retry", key="charge", wake_at=NOW, name="card.charge"),)
        ),
        "retrying",
        "waiting",
        "Step 'charge' (card.charge) has failed and is tried again at 2026-03-01 12:00:00Z.",
    ),
    (
        explained("sleeping", {"isolation": "alone", "takeovers": 3, "next_wake_at": NOW}),
        "suspect",
        "waiting",
        "3 workers died while holding it, so it will be tried apart from others.",
    ),
    (
        explained("sleeping", {"follows": CHILD.run_id}),
        "following",
        "waiting",
        f"It starts when the run with the same key before it, {CHILD.run_id}, has ended.",
    ),
    (
        explained("sleeping", {"next_wake_at": ago(40)}, workers=(worker(),)),
        "overdue",
        "wrong",
        "It should have woken 40 s ago, and living workers have 'pay'.",
    ),
    (
        explained("sleeping", {"next_wake_at": ago(40)}),
        "unserved",
        "wrong",
        "It should have woken 40 s ago, but no living worker has 'pay'. No worker is alive at all.",
    ),
    (
        explained("waiting_event", waits=(wait("event"),), inbox=(event("Paid "),)),
        "waiting_for_event",
        "waiting",
        "It waits in 'w' for event 'paid'. An event 'Paid ' lies in its inbox: was 'paid' meant?",
    ),
    (
        explained("waiting_event", waits=(wait("event", wake_at=NOW),), inbox=(event("paid", consumed_by="first"),)),
        "waiting_for_event",
        "waiting",
        (
            "It waits in 'w' for event 'paid', until 2026-03-01 12:00:00Z at the longest. An event 'paid' has "
            "come, but the wait 'first' has taken it."
        ),
    ),
    (
        explained("waiting_event", waits=(wait("event"),), inbox=(event("refund"),)),
        "waiting_for_event",
        "waiting",
        "It waits in 'w' for event 'paid'.",
    ),
    (
        explained(
            "waiting_event", waits=(wait("event"),), inbox=(event("paid", is_routed=False),), workers=(worker(),)
        ),
        "unrouted",
        "wrong",
        "An event 'paid' has not been routed for 20 s, although living workers have 'pay'.",
    ),
    (
        explained(
            "sleeping", {"next_wake_at": NOW}, locks=(LockFacts(811, "app", "psql", "idle in transaction", ago(42)),)
        ),
        "locked",
        "wrong",
        "Its row has been locked for 42 s by Postgres process 811 (psql, app, idle in transaction).",
    ),
    (
        explained("sleeping", {"next_wake_at": NOW}, locks=(LockFacts(None, None, None, None, ago(300)),)),
        "locked",
        "wrong",
        "Its row has been locked for 5 min by a prepared transaction.",
    ),
    (
        explained("queued", {"is_standby": True}, workers=(worker(),)),
        "standby",
        "wrong",
        "This database is a read-only standby: nothing is executed from it.",
    ),
    (
        explained("queued", {"paused_at": ago(3600)}, workers=(worker(),)),
        "workflow_paused",
        "waiting",
        "Its workflow 'pay' has been paused for 60 min.",
    ),
    (explained("paused"), "paused", "waiting", "It has been paused for 40 s."),
    (explained("completed"), "completed", "ended", "It has completed."),
    (
        explained("failed", error=ErrorInfo("StepFailed", "step 'a' failed")),
        "failed",
        "ended",
        "It has failed: StepFailed: step 'a' failed",
    ),
    (explained("cancelled"), "cancelled", "ended", "It was cancelled"),
    (
        explained("failed", inbox=(event("retry", kind="retry", is_routed=False),), workers=(worker(),)),
        "retry_requested",
        "waiting",
        "Its retry was requested, and a worker is about to queue it.",
    ),
    (
        explained("failed", inbox=(event("retry", kind="retry", is_routed=False),)),
        "unserved",
        "wrong",
        "Its retry was requested, but no living worker has 'pay'. No worker is alive at all.",
    ),
]


@pytest.mark.parametrize(("cause", "code", "severity", "sentence"), SENTENCES, ids=[row[3][:60] for row in SENTENCES])
def test_the_worst_cause_is_said_in_a_sentence(cause: Cause, code: str, severity: str, sentence: str) -> None:
    assert (cause.sentence, cause.code, cause.severity) == (sentence, code, severity)


def test_what_is_wrong_comes_with_a_remedy() -> None:
    for cause, *_ in SENTENCES:
        assert cause.severity != "wrong" or cause.remedy


def test_a_parent_tells_why_its_child_does_not_move() -> None:
    child = Facts(run_key=CHILD, run=run("queued", workflow_name="ship"))
    waiting = wait("child_result", name=None, child=CHILD)
    cause = explained("waiting_event", waits=(waiting,), children=(child,))
    assert cause.sentence == f"It waits for its child {CHILD}, which is queued."
    assert cause.severity == "wrong"
    assert [inner.code for inner in cause.causes] == ["unserved"]


def test_a_lock_of_a_moment_is_no_cause() -> None:
    causes = causes_of(Facts(run_key=KEY, run=run("completed"), locks=(LockFacts(1, None, None, None, ago(1)),)))
    assert [cause.code for cause in causes] == ["completed"]


def test_what_is_wrong_comes_first() -> None:
    causes = causes_of(
        Facts(
            run_key=KEY,
            run=run("waiting_event", is_standby=True),
            waits=(wait("event"), wait("sleep", key="s", wake_at=NOW)),
        )
    )
    assert [cause.severity for cause in causes] == ["wrong", "waiting", "waiting"]
