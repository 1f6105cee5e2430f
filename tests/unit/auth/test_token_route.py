"""POST /token: the client credentials grant, by RFC 6749."""

import base64
import time
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI
from structlog.testing import capture_logs

from libs.common.problems import Kind
from libs.common.security.tokens import TokenVerifier
from libs.common.settings import Settings
from libs.common.storage.filesystem import FilesystemStore
from services.auth.app import build_app
from tests.unit.auth.talk import ADMIN_SECRET, GRANT, AuthApi
from tests.unit.keyrings import SECRET, plain_settings


def basic(client_id: str, secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()}


def assert_refused(answer: httpx.Response, error: str) -> None:
    """An error of RFC 6749, section 5.2, in a problem document."""
    kind = Kind.INVALID_CLIENT if error == "invalid_client" else Kind.TOKEN_REQUEST
    document = answer.json()
    assert answer.status_code == document["status"] == kind.status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert document["type"] == f"urn:hiper:problem:{kind.slug}"
    assert document["error"] == error
    assert document["error_description"] == document["detail"]
    challenged = answer.headers.get("www-authenticate", "").startswith("Basic ")
    assert challenged == (error == "invalid_client")


async def test_a_device_gets_a_token_for_its_secret(api: AuthApi, settings: Settings) -> None:
    secret = await api.register()
    answer = await api.token("car-7", secret)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    token = body.pop("access_token")
    assert body == {"token_type": "bearer", "expires_in": 1800, "scope": "files:read files:write"}
    principal = await TokenVerifier(settings).verify(token)
    assert principal.subject == "car-7"
    assert principal.scopes == {"files:read", "files:write"}
    assert principal.issued_at <= time.time()


async def test_the_admin_has_no_scope_for_files_unless_it_asks_for_it(api: AuthApi) -> None:
    assert (await api.token("admin", ADMIN_SECRET)).json()["scope"] == "admin"
    everything = "admin files:read files:write fleet:manage fleet:read fleet:write"
    assert (await api.token("admin", ADMIN_SECRET, scope=everything)).json()["scope"] == everything
    assert (await api.token("admin", ADMIN_SECRET, scope="fleet:write")).json()["scope"] == "fleet:write"


async def test_http_basic_works_as_well_as_form_fields(api: AuthApi) -> None:
    secret = await api.register()
    answer = await api.http.post("/token", data=GRANT, headers=basic("car-7", secret))
    assert answer.status_code == 200
    answer = await api.http.post("/token", data=GRANT | {"client_id": "car-7"}, headers=basic("car-7", secret))
    assert answer.status_code == 200


async def test_basic_credentials_may_be_form_encoded_or_not(api: AuthApi) -> None:
    for given in (ADMIN_SECRET, quote(ADMIN_SECRET)):
        answer = await api.http.post("/token", data=GRANT, headers=basic("admin", given))
        assert answer.status_code == 200


async def test_a_scope_narrows_the_token(api: AuthApi) -> None:
    secret = await api.register()
    assert (await api.token("car-7", secret, scope="files:read")).json()["scope"] == "files:read"
    assert (await api.token("car-7", secret, scope=" ")).json()["scope"] == "files:read files:write"


@pytest.mark.parametrize("scope", ["files:read admin", "unknown", "FILES:READ"])
async def test_a_scope_cannot_widen_the_token(api: AuthApi, scope: str) -> None:
    secret = await api.register()
    assert_refused(await api.token("car-7", secret, scope=scope), "invalid_scope")


async def test_wrong_and_unknown_credentials_get_one_and_the_same_answer(api: AuthApi) -> None:
    secret = await api.register()
    answers = [
        await api.token("car-7", secret + "x"),
        await api.token("car-7", ""),
        await api.token("car-7", "\ud800".encode("utf-8", "replace").decode()),
        await api.token("car-8", secret),
        await api.token("../revoked", secret),
        await api.token("", ""),
        await api.token("admin", "wrong"),
        await api.token("admin", ""),
        await api.token("fleet", secret),
    ]
    for answer in answers:
        assert_refused(answer, "invalid_client")
    assert len({answer.text for answer in answers}) == 1


@pytest.mark.parametrize(
    "authorization",
    ["Basic", "Basic !!!", "Basic " + base64.b64encode(b"nocolon").decode(), "Basic /w==", "Bearer abc"],
)
async def test_malformed_credentials_are_refused(api: AuthApi, authorization: str) -> None:
    answer = await api.http.post("/token", data=GRANT, headers={"Authorization": authorization})
    assert_refused(answer, "invalid_client")


async def test_credentials_are_needed(api: AuthApi) -> None:
    assert_refused(await api.http.post("/token", data=GRANT), "invalid_client")
    assert_refused(await api.http.post("/token", data=GRANT | {"client_id": "car-7"}), "invalid_client")


async def test_credentials_sent_twice_are_refused(api: AuthApi) -> None:
    secret = await api.register()
    for fields in ({"client_secret": secret}, {"client_id": "car-8"}):
        answer = await api.http.post("/token", data=GRANT | fields, headers=basic("car-7", secret))
        assert_refused(answer, "invalid_request")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "invalid_request"),
        (b"grant_type=", "unsupported_grant_type"),
        (b"grant_type=password&username=a&password=b", "unsupported_grant_type"),
        (b"grant_type=client_credentials&grant_type=client_credentials", "invalid_request"),
        (b"grant_type=%FF", "invalid_request"),
        (b"\xff", "invalid_request"),
        (b'{"grant_type": "client_credentials"}', "invalid_request"),
        (b"&".join(b"f%d=1" % n for n in range(20)), "invalid_request"),
    ],
)
async def test_requests_that_are_no_grant_are_refused(api: AuthApi, body: bytes, error: str) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert_refused(await api.http.post("/token", content=body, headers=headers), error)


async def test_an_endless_body_is_cut_off(api: AuthApi) -> None:
    for content in (b"x" * 9000, endless()):
        answer = await api.http.post("/token", content=content)
        assert answer.status_code == 413
        assert answer.json()["type"] == "urn:hiper:problem:too-large"


async def endless() -> Any:
    while True:
        yield b"x" * 1000


async def test_without_an_admin_secret_there_is_no_admin(store: FilesystemStore) -> None:
    app = build_app(plain_settings(secret_key=SECRET), auth_store=store)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        for secret in ("", "admin", ADMIN_SECRET):
            assert_refused(await AuthApi(client).token("admin", secret), "invalid_client")


async def test_a_failed_authentication_is_logged_without_the_secret(api: AuthApi) -> None:
    with capture_logs() as logs:
        await api.token("car-9", "hush")
    failed = next(line for line in logs if line["event"] == "authentication_failed")
    assert failed["actor"] == "car-9"
    assert failed["log_level"] == "warning"
    assert "hush" not in str(logs)


async def test_the_key_set_of_a_shared_secret_is_published_empty(api: AuthApi) -> None:
    answer = await api.http.get("/.well-known/jwks.json")
    assert answer.json() == {"keys": []}
    assert "max-age" in answer.headers["cache-control"]


async def test_openapi_lets_swagger_authorize_with_client_credentials(app: FastAPI) -> None:
    document = app.openapi()
    (scheme,) = document["components"]["securitySchemes"].values()
    assert scheme["type"] == "oauth2"
    assert scheme["flows"]["clientCredentials"]["tokenUrl"] == "/token"
    assert document["paths"]["/devices"]["get"]["security"] == [{"OAuth2": ["admin"]}]
    form = document["paths"]["/token"]["post"]["requestBody"]["content"]
    assert set(form) == {"application/x-www-form-urlencoded"}
    device = document["paths"]["/devices"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(device["properties"]) == {"device_id", "scopes", "device_class"}
