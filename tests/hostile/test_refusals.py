"""Every service's refusal reaches a client that is still sending what is refused, straight and through a proxy."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from libs.common.settings import Settings
from tests.hostile.nginx import nginx_before
from tests.hostile.raw import wired
from tests.hostile.serving import served
from tests.unit.ingest.running import token_for

SIZE = 6 * 2**20  # bytes: more than a connection's buffers hold
LARGEST = 2 * 2**20
UPLOAD = f"/upload?filename=a&total_size={SIZE}"
RANGE = f"Content-Range: bytes 0-{SIZE - 1}/{SIZE}"
DIGEST = f"Content-Digest: sha-256=:{'A' * 43}=:"  # such a body is checked before it is stored, and so bounded
FORM = "Content-Type: application/x-www-form-urlencoded"


def limited(**share: int) -> dict[str, Any]:
    return {"limits_classes": {"default": share}}


ROWS: dict[str, tuple[int, str, str, dict[str, Any]]] = {
    "ingest: a token that is none": (401, UPLOAD, "", {}),
    "ingest: a token without the scope": (403, UPLOAD, "files:read", {}),
    "ingest: a chunk that is too large": (413, UPLOAD, "files:write", {"max_chunk_size": LARGEST}),
    "ingest: too many requests": (429, UPLOAD, "files:write", limited(requests_per_second=1)),
    "ingest: no room for the device": (507, UPLOAD, "files:write", limited(stored_bytes=1)),
    "auth: a form that is too large": (413, "/token", "", {}),
    "auth: a token that is none": (401, "/devices", "", {}),
    "nobody: no such address": (404, "/nowhere", "", {}),
}


@pytest.mark.parametrize(("status", "target", "scopes", "values"), ROWS.values(), ids=ROWS)
async def test_a_refusal_arrives_before_the_body_is_read(
    tmp_path: Path, status: int, target: str, scopes: str, values: dict[str, Any]
) -> None:
    (tmp_path / "data").mkdir()
    with served(tmp_path / "data", **values) as (url, settings):
        port = urlsplit(url).port or 0
        sent = request(settings, target, scopes)
        if status == 429:
            await statuses(port, sent)  # the one that is allowed
        assert set(await statuses(port, sent)) == {status}


async def test_nor_does_a_proxy_make_another_answer_of_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "nginx").mkdir()
    with (
        served(tmp_path / "data") as (url, settings),
        nginx_before(urlsplit(url).port or 0, tmp_path / "nginx", buffering=False) as port,
    ):
        assert set(await statuses(port, request(settings, UPLOAD, ""))) == {401}


def request(settings: Settings, target: str, scopes: str) -> bytes:
    token = token_for(settings, scopes=scopes) if scopes else "expired"
    bearer, length = f"Authorization: Bearer {token}", f"Content-Length: {SIZE}"
    fields = ("Host: x", bearer, FORM, RANGE, DIGEST, length, "Connection: close")
    return "\r\n".join((f"POST {target} HTTP/1.1", *fields, "", "")).encode() + b"x" * SIZE


async def statuses(port: int, sent: bytes) -> list[int]:
    """What clients that send all before they read learn."""
    return await asyncio.gather(*(_status(port, sent) for _ in range(4)))


async def _status(port: int, sent: bytes) -> int:
    async with wired(port) as wire:
        wire.writer.write(sent)
        await wire.writer.drain()
        await asyncio.sleep(0.05)
        return (await wire.answer()).status
