"""Scheduled runs whose input or event does not fit the types of the deployed code."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from durable.admin.migration import migrate
from tests.worker.unfit import CHECKS


@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_with_one_shard_value_and_with_several(
    database: str, check: Callable[[str], Awaitable[None]], shards: int
) -> None:
    migrate(database, shard_count=shards)
    await check(database)
