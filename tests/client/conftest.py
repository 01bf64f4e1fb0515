"""Each test once for each colour."""

from __future__ import annotations

import pytest

from tests.client.colours import Colour


@pytest.fixture(params=["sync", "async"])
def colour(request: pytest.FixtureRequest) -> Colour:
    return request.param  # type: ignore[no-any-return]
