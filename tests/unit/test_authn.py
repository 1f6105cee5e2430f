"""Who asks, and what they may: the answers of RFC 6750."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import httpx
import pytest
import structlog
from fastapi import Depends, FastAPI
from structlog.testing import capture_logs

from libs.common.problems import Kind
from libs.common.security.authn import FILES_READ, FILES_WRITE, Authn, bearer, require
from libs.common.security.revocations import Revocations
from libs.common.security.tokens import Principal, TokenIssuer, TokenVerifier
from libs.common.settings import Settings
from libs.common.storage.filesystem import FilesystemStore
from libs.common.uploads.layout import REVOKED
from libs.common.web import create_app
from tests.unit.keyrings import SECRET, plain_settings

SETTINGS = plain_settings(secret_key=SECRET)


@asynccontextmanager
async def no_lifespan(_app: FastAPI) -> AsyncIterator[None]:
    yield


def build(authn: Authn) -> FastAPI:
    app = create_app("Test", "", "1", no_lifespan, authn.ready, plain_settings())
    app.state.authn = authn

    @app.get("/me")
    async def me(principal: Annotated[Principal, Depends(bearer)]) -> str:
        structlog.stdlib.get_logger("test").info("working")
        return principal.subject

    @app.get("/both")
    async def both(principal: Annotated[Principal, Depends(require(FILES_READ, FILES_WRITE))]) -> str:
        return principal.subject

    return app


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FilesystemStore]:
    store = FilesystemStore(tmp_path / "auth")
    await store.ensure()
    yield store
    await store.close()


@pytest.fixture
def authn(store: FilesystemStore) -> Authn:
    return Authn(TokenVerifier(SETTINGS), Revocations(store, 5))


@pytest.fixture
async def client(authn: Authn) -> AsyncIterator[httpx.AsyncClient]:
    await authn.start()
    transport = httpx.ASGITransport(build(authn))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client
    await authn.close()


def token(*scopes: str, settings: Settings = SETTINGS) -> dict[str, str]:
    return {"Authorization": f"Bearer {TokenIssuer(settings).issue('car-7', scopes).encoded}"}


def assert_challenged(answer: httpx.Response, kind: Kind, *parts: str) -> None:
    assert answer.status_code == kind.status
    assert answer.json()["type"] == f"urn:hiper:problem:{kind.slug}"
    assert answer.headers["www-authenticate"] == ", ".join(['Bearer realm="hiper"', *parts])


async def test_a_good_token_tells_who_asks(client: httpx.AsyncClient) -> None:
    answer = await client.get("/me", headers=token())
    assert answer.json() == "car-7"


async def test_the_scheme_has_no_case(client: httpx.AsyncClient) -> None:
    good = token()["Authorization"].removeprefix("Bearer ")
    for scheme in ("bearer", "BEARER"):
        assert (await client.get("/me", headers={"Authorization": f"{scheme} {good}"})).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"Authorization": ""}, {"Authorization": "Basic YTpi"}])
async def test_without_a_token_the_answer_is_a_bare_challenge(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    assert_challenged(await client.get("/me", headers=headers), Kind.UNAUTHORIZED)


async def test_a_bad_token_is_told_what_is_wrong_with_it(client: httpx.AsyncClient) -> None:
    invalid, malformed = 'error="invalid_token"', 'error_description="The token is malformed"'
    for bad in ("Bearer", "Bearer abc", "Bearer a b"):
        answer = await client.get("/me", headers={"Authorization": bad})
        assert_challenged(answer, Kind.UNAUTHORIZED, invalid, malformed)
    stranger = plain_settings(secret_key="another secret of at least thirty-two bytes")
    answer = await client.get("/me", headers=token(settings=stranger))
    unknown = 'error_description="The token names an unknown key"'
    assert_challenged(answer, Kind.UNAUTHORIZED, invalid, unknown)


async def test_a_revoked_token_is_refused(client: httpx.AsyncClient, authn: Authn, store: FilesystemStore) -> None:
    old = token()
    await store.put(REVOKED, b'{"car-7": 5000000000}')
    await authn.revocations.refresh()
    answer = await client.get("/me", headers=old)
    revoked = 'error_description="The token was revoked"'
    assert_challenged(answer, Kind.UNAUTHORIZED, 'error="invalid_token"', revoked)


async def test_every_scope_is_needed(client: httpx.AsyncClient) -> None:
    assert (await client.get("/both", headers=token(FILES_READ, FILES_WRITE))).status_code == 200
    for scopes in ((), (FILES_READ,), (FILES_WRITE,), ("admin",)):
        answer = await client.get("/both", headers=token(*scopes))
        wanted = 'scope="files:read files:write"'
        assert_challenged(answer, Kind.FORBIDDEN, 'error="insufficient_scope"', wanted)


async def test_until_the_revocations_were_read_nobody_gets_in(tmp_path: Path) -> None:
    (tmp_path / "auth").write_text("not a directory")
    store = FilesystemStore(tmp_path / "auth")
    authn = Authn(TokenVerifier(SETTINGS), Revocations(store, 5))
    transport = httpx.ASGITransport(build(authn))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        for path, missing in (("/me", ["revocations"]), ("/readyz", ["revocations"])):
            answer = await client.get(path, headers=token())
            assert answer.status_code == 503
            assert answer.json()["missing"] == missing
        assert (await client.get("/me")).status_code == 401
    await store.close()


async def test_what_a_request_logs_says_who_asked(client: httpx.AsyncClient) -> None:
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        await client.get("/me", headers=token())
    assert [(line["event"], line["subject"]) for line in logs] == [("working", "car-7"), ("request", "car-7")]
