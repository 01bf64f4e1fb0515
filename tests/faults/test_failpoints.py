"""What is wrapped around the engine takes all that the engine gives it."""

from __future__ import annotations

import inspect

import pytest
from psycopg import AsyncConnection

import durable.core.suspicion
import durable.worker.isolation
from durable.postgres import pipeline
from durable.store.schedules import read_clock
from tests.faults import failpoints


async def test_an_operation_is_run_with_every_argument_of_the_pipelines_own(database: str) -> None:
    original, make = failpoints._running(lambda asked: asked)
    assert original is pipeline.run
    settings = list(inspect.signature(original).parameters)[3:]
    async with await AsyncConnection.connect(database, autocommit=True) as connection:
        assert await make(original)(connection, "durable", read_clock(), *([()] * len(settings))) is not None


def test_a_constant_is_set_wherever_it_was_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (durable.core.suspicion, durable.worker.isolation):
        monkeypatch.setattr(module, "TRIAL_SECONDS", 10.0)
    failpoints.set_everywhere("TRIAL_SECONDS", 1.0)
    assert [vars(module)["TRIAL_SECONDS"] for module in (durable.core.suspicion, durable.worker.isolation)] == [
        1.0,
        1.0,
    ]
    failpoints.set_everywhere("TRIAL_SECONDS", 10.0)


def test_a_constant_that_is_gone_is_missed() -> None:
    with pytest.raises(LookupError, match="NO_SUCH_SECONDS"):
        failpoints.set_everywhere("NO_SUCH_SECONDS", 1.0)
