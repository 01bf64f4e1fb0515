"""Each test once for each library."""

from __future__ import annotations

import pytest

from tests.transactions.libraries import ASYNC, SYNC


@pytest.fixture(params=[*SYNC, *ASYNC])
def kind(request: pytest.FixtureRequest) -> str:
    for driver in ("psycopg2", "pg8000"):
        if driver in request.param:
            pytest.importorskip(driver, exc_type=ImportError)
    return str(request.param)
