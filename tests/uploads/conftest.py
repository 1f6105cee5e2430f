"""Every test in this folder has parts of 8 bytes, and a world of its own."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.common.uploads import layout
from tests.uploads.world import PART, Node, World, open_world


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MIN_PART_SIZE", PART)
    monkeypatch.setattr(layout, "UNKNOWN_PART_SIZE", PART)


@pytest.fixture(autouse=True)
def _no_power_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes die here, the machine does not: waiting for the disk would take most of the time."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as opened:
        yield opened


@pytest.fixture
def node(world: World) -> Node:
    """A process with every service."""
    return world.node()
