"""Each test once for each library."""

from __future__ import annotations

import pytest

from tests.transactions.libraries import KINDS


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param  # type: ignore[no-any-return]
