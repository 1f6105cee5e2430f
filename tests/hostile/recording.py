"""The server of all services with an application that writes down each message it gets."""

import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse

from libs.common.problems import Kind, Problem
from libs.common.web import create_app
from libs.common.web.serving import uvicorn_config
from tests.hostile.messages import FORGED, SUBJECT, Message
from tests.ports import free_port
from tests.unit.keyrings import plain_settings

METHODS = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]
PATIENCE = 1.0  # seconds that the server waits for the rest of a head


@dataclass
class Record:
    """What the application got, by the client's address and port, and in order."""

    port: int = field(default_factory=free_port)
    messages: list[Message] = field(default_factory=list)
    by_client: defaultdict[tuple[str, int], list[Message]] = field(default_factory=lambda: defaultdict(list))
    forged: list[str] = field(default_factory=list)  # targets of messages that claim a certificate

    def add(self, request: Request, body: bytes | None) -> None:
        query = request.scope["query_string"]
        target = (request.scope["raw_path"] + (b"?" + query if query else b"")).decode()
        message = Message(request.method, target, body)
        self.messages.append(message)
        self.by_client[tuple(request.scope["client"])].append(message)
        if FORGED in request.headers.getlist(SUBJECT):
            self.forged.append(target)


def application(record: Record) -> FastAPI:
    app = create_app("Record", "", "1", no_lifespan, dict, plain_settings())

    @app.api_route("/read/{name}", methods=METHODS)
    async def read(request: Request) -> PlainTextResponse:
        record.add(request, await request.body())
        return PlainTextResponse("read")

    @app.api_route("/early/{name}", methods=METHODS)
    async def early(request: Request) -> None:
        record.add(request, None)
        raise Problem(Kind.UNAUTHORIZED, "no")

    return app


@asynccontextmanager
async def no_lifespan(_app: FastAPI) -> AsyncIterator[None]:
    yield


@contextmanager
def recording() -> Iterator[Record]:
    record = Record()
    settings = plain_settings(header_timeout=PATIENCE, body_idle_timeout=PATIENCE, body_timeout=PATIENCE)
    server = uvicorn.Server(uvicorn_config(settings, application(record), record.port))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline, "the server does not become ready"
        time.sleep(0.01)
    try:
        yield record
    finally:
        server.should_exit = True
        thread.join(30)
