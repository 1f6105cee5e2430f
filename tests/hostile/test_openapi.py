"""The OpenAPI documents are true: no request, valid or not, is answered in a way that they do not say.

schemathesis makes the requests and judges the answers with all of its checks: no 500, only documented statuses, media
types and schemas, nothing invalid accepted, nothing valid refused, 405 with `Allow`, no way around the token."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import allow_header_conformance, positive_data_acceptance

from libs.common.settings import Settings
from services.auth.app import build_app as build_auth
from services.ingest.app import build_app as build_ingest
from tests.hostile.serving import served
from tests.unit.ingest.running import make_settings, token_for
from tests.unit.ingest.talk import framed

pytestmark = pytest.mark.no_cover  # other tests reach the same lines; to trace these takes twice their time

Case = schemathesis.Case[Any]
EXAMPLES = 15  # valid and invalid requests for each operation
NAME, CONTENT = "trip.log", b"what the file holds"

# Refusals of what a schema allows, because it cannot say it: NFC, bytes of UTF-8, base64 of so many bytes, that two
# numbers fit one another, that one form of a chunk needs total_size, that a cursor or a device class is of this server,
# that a secret is right.
INEXPRESSIBLE = {
    *("bad-digest", "bad-filename", "bad-range", "checksum-mismatch", "content-conflict", "digest-mismatch"),
    *(
        "malformed-chunk",
        "name-conflict",
        "offset-too-large",
        "precondition-failed",
        "range-not-satisfiable",
        "token-request",
    ),
    *("too-large", "total-size-conflict", "upload-closing"),
}
ALSO_A_DEVICE = "/devices/revoke"  # a device may have this id: `Allow` names what it takes, too
NOT_OF_THIS_SERVER = (
    "The cursor in `after`",
    "`url` is not taken",
    "There is no device class",
    "No filename begins with",
    "No upload has such labels",
    "query.total_size is missing",
)


def operations(build: Callable[[Settings], FastAPI]) -> schemathesis.BaseSchema:
    """The document of a service, without the `default` that every answer would fit."""
    document = build(make_settings(Path("/nonexistent"))).openapi()
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("default", None)
    return schemathesis.openapi.from_dict(document)


INGEST, AUTH = operations(build_ingest), operations(build_auth)
READING = INGEST.include(path_regex="{filename}", method=["GET", "HEAD"])
PROTECTED = INGEST.include(func=lambda ctx: "security" in ctx.operation.definition.raw)
PROTECTED_AUTH = AUTH.include(func=lambda ctx: "security" in ctx.operation.definition.raw)
OPEN = {"/livez", "/readyz", "/metrics", "/token", "/.well-known/jwks.json"}
bounded = settings(max_examples=EXAMPLES, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Settings]]:
    with served(tmp_path_factory.mktemp("openapi")) as running:
        yield running


@pytest.fixture(scope="module")
def file(server: tuple[str, Settings]) -> str:
    """The name of a file that is complete."""
    url, settings = server
    headers = {"Authorization": f"Bearer {token_for(settings)}"}
    httpx.post(
        f"{url}/upload", params={"filename": NAME, "total_size": len(CONTENT)}, content=framed(CONTENT), headers=headers
    ).raise_for_status()
    deadline = time.monotonic() + 20
    while httpx.get(f"{url}/files/{NAME}/status", headers=headers).json()["status"] != "complete":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return NAME


@INGEST.parametrize()
@bounded
def test_ingest_answers_as_its_document_says(case: Case, server: tuple[str, Settings]) -> None:
    answers_as_documented(case, *server, "car-7", "files:read files:write fleet:read fleet:write fleet:manage")


@AUTH.parametrize()
@bounded
def test_auth_answers_as_its_document_says(case: Case, server: tuple[str, Settings]) -> None:
    answers_as_documented(case, *server, "admin", "admin")


@READING.parametrize()
@bounded
def test_a_file_that_is_there_is_answered_as_documented(case: Case, server: tuple[str, Settings], file: str) -> None:
    case.path_parameters = {"filename": file}
    case.query = {}
    answers_as_documented(case, *server, "car-7", "files:read")


@PROTECTED.parametrize()
@bounded
def test_without_a_token_every_request_is_refused(case: Case, server: tuple[str, Settings]) -> None:
    assert case.call(base_url=server[0], timeout=10).status_code in {400, 401, 404, 405}


@PROTECTED_AUTH.parametrize()
@bounded
def test_without_a_token_every_request_to_auth_is_refused(case: Case, server: tuple[str, Settings]) -> None:
    assert case.call(base_url=server[0], timeout=10).status_code in {400, 401, 404, 405}


@pytest.mark.parametrize("build", [build_ingest, build_auth])
def test_every_operation_wants_a_token_but_those_that_are_named_here(build: Callable[[Settings], FastAPI]) -> None:
    paths = build(make_settings(Path("/nonexistent"))).openapi()["paths"]
    assert {path for path, ways in paths.items() for way in ways.values() if not way.get("security")} <= OPEN


def answers_as_documented(case: Case, url: str, settings: Settings, subject: str, scopes: str) -> None:
    headers = {}
    if case.operation.definition.raw.get("security"):
        headers["Authorization"] = f"Bearer {token_for(settings, subject, scopes)}"
    answer = case.call(base_url=url, headers=headers, timeout=10)
    excluded: list[schemathesis.CheckFunction] = [positive_data_acceptance] if refused_beyond_the_schema(answer) else []
    if case.path == ALSO_A_DEVICE:
        excluded.append(allow_header_conformance)
    case.validate_response(answer, excluded_checks=excluded, headers=headers, transport_kwargs={"timeout": 10})


def refused_beyond_the_schema(answer: schemathesis.Response) -> bool:
    if not answer.content:
        return answer.status_code in {400, 412, 416}  # to HEAD
    if answer.status_code < 400:
        return False
    problem = json.loads(answer.content)
    slug = problem["type"].rpartition(":")[2]
    return slug in INEXPRESSIBLE or (slug == "bad-request" and problem["detail"].startswith(NOT_OF_THIS_SERVER))
