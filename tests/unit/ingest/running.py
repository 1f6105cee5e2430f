"""The embedded process that the tests talk to."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from libs.common.clock import SystemClock
from libs.common.extents import Extent
from libs.common.layout import FileId, new_session, partials_prefix, run_key
from libs.common.settings import Settings
from libs.common.store.filesystem import FilesystemStore
from libs.common.tokens import TokenIssuer
from tests.unit.ingest.talk import until
from tests.unit.keyrings import SECRET, plain_settings

OWNER = "car-7"
ADMIN_SECRET = "admin secret of the tests, long enough"
SPEED = 4


class HastyClock(SystemClock):
    """Runs faster than the machine's, so that a closing, which waits two leases, takes a second or two."""

    def monotonic(self) -> float:
        return time.monotonic() * SPEED

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / SPEED)


def make_settings(directory: Path, **values: Any) -> Settings:
    return plain_settings(
        secret_key=SECRET,
        admin_secret=ADMIN_SECRET,
        temp_upload_dir=directory / "temp",
        perm_upload_dir=directory / "perm",
        auth_dir=directory / "auth",
        **values,
    )


def token_for(settings: Settings, subject: str = OWNER, scopes: str = "files:read files:write") -> str:
    return TokenIssuer(settings).issue(subject, scopes.split()).encoded


def stored(settings: Settings) -> dict[str, bytes]:
    """Every file below both directories, the stores' own included, but their locks. Nothing may be under way."""
    files = (file for root in (settings.temp_upload_dir, settings.perm_upload_dir) for file in files_below(root))
    return {str(file): file.read_bytes() for file in files if not file.name.endswith("lock")}


def files_below(root: Path) -> list[Path]:
    """Unlike rglob, does not mind that directories vanish meanwhile."""
    return [Path(folder, name) for folder, _, names in os.walk(root) for name in names]


async def settled(settings: Settings) -> None:
    """Wait until nothing of any upload is in the temporary directory: all are complete or closed, and cleaned up."""
    roots = [settings.temp_upload_dir / kind for kind in ("sessions", "chunks")]
    await until(lambda: not any(files_below(root) for root in roots))


async def park(settings: Settings, filename: str, content: bytes, *runs: tuple[int, int]) -> None:
    """Make a partial file of a content as the assembler leaves it: runs [start, end)."""
    store = FilesystemStore(settings.perm_upload_dir)
    prefix = partials_prefix(FileId(OWNER, filename), new_session(len(content)))
    for start, end in runs:
        await store.put(run_key(prefix, Extent(start, end)), content[start:end])
    await store.close()
