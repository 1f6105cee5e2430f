"""POST /upload reads its head itself: what it reads is what the API document says, and it is let in until it is
answered."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.types import Message, Scope

from libs.common.web.requests import Head, read_head
from services.embedded.app import build_app
from services.ingest import routes_upload
from tests.unit.ingest.running import make_settings, token_for
from tests.unit.ingest.talk import Device, accepted, digest, framed, until

CONTENT = b"0123456789"
OF_HTTP = {"authorization", "content-length", "content-type"}  # the document has them elsewhere: security, requestBody


class Read(dict[str, Any]):
    """A mapping that knows what it was asked for."""

    def __init__(self, values: Mapping[str, Any], asked: set[str]) -> None:
        super().__init__(values)
        self._asked = asked

    def get(self, name: str, default: Any = None) -> Any:
        self._asked.add(name)
        return super().get(name, default)


async def test_the_document_names_exactly_what_the_route_reads(
    app: FastAPI, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    query, fields = set[str](), set[str]()

    def reading(scope: Scope) -> Head:
        head = read_head(scope)
        return Head(Read(head.query, query), Read(head.fields, fields))

    monkeypatch.setattr(routes_upload, "file_head", reading)
    accepted(await device.chunk("framed", CONTENT, 0, 5))
    accepted(await device.raw("raw", CONTENT, 0, 5))
    accepted(await device.raw("verified", CONTENT, 0, 5, {"Content-Digest": digest(CONTENT[:5])}))
    parameters = app.openapi()["paths"]["/upload"]["post"]["parameters"]
    documented = {(parameter["in"], parameter["name"]) for parameter in parameters}
    assert documented == {("query", name) for name in query} | {("header", name) for name in fields - OF_HTTP}


async def test_a_chunk_without_a_filename_is_told_so(device: Device) -> None:
    answer = await device.ask("POST", "/upload", params={"total_size": "10"}, content=framed(CONTENT))
    document = answer.json()
    assert (answer.status_code, document["detail"]) == (400, "query.filename: Field required")
    assert document["errors"] == [{"loc": ["query", "filename"], "msg": "Field required", "type": "missing"}]


async def test_a_chunk_takes_its_place_until_its_answer_is_sent(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, limits_classes={"default": {"concurrent_requests": 1}})
    app = build_app(settings)
    token = token_for(settings)
    first, second = asyncio.Queue[Message](1), asyncio.Queue[Message](9)
    async with app.router.lifespan_context(app), asyncio.TaskGroup() as tasks:
        tasks.create_task(post(app, token, first))  # the start of the answer fills the queue
        await until(first.full)
        await post(app, token, second)
        assert second.get_nowait()["status"] == 429
        assert (first.get_nowait()["status"], (await first.get())["type"]) == (200, "http.response.body")


async def post(app: FastAPI, token: str, sent: asyncio.Queue[Message]) -> None:
    body = framed(CONTENT, 0, 5)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "method": "POST",
        "path": "/upload",
        "query_string": f"filename=a&total_size={len(CONTENT)}".encode(),
        "headers": [(b"authorization", f"Bearer {token}".encode()), (b"content-length", str(len(body)).encode())],
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    await app(scope, receive, sent.put)
