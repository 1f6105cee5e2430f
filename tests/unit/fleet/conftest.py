from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.common.storage.filesystem import FilesystemStore


@pytest.fixture
async def perm(tmp_path: Path) -> AsyncIterator[FilesystemStore]:
    store = FilesystemStore(tmp_path / "perm")
    await store.ensure()
    yield store
    await store.close()
