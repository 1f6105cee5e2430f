"""For tests of one process."""

from collections.abc import Iterator
from unittest.mock import patch

import pytest


@pytest.fixture(scope="session", autouse=True)
def quick_start() -> Iterator[None]:
    """Every app that starts looks whether its store keeps halves of bodies. A directory has no network on which one
    could be under way, and a thousand tests start an app: they do not wait for it. The contract tests do."""
    with patch("libs.common.wiring.conditions._SETTLED", 0.0), patch("libs.common.wiring.conditions._ON_ITS_WAY", 0.0):
        yield
