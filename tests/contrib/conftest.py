"""Each test once for each library."""

from __future__ import annotations

import pytest

from tests.contrib.libraries import ASYNC, SYNC


@pytest.fixture(params=[*SYNC, *ASYNC])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)
