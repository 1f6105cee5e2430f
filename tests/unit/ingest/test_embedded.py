"""The embedded process: what it serves beside files."""

import httpx
import pytest

from tests.unit.ingest.talk import Device, refused


async def test_probes_and_metrics_answer_without_a_token(http: httpx.AsyncClient) -> None:
    for path in ("/livez", "/readyz"):
        assert (await http.get(path)).text == "ok"
    await http.get("/files")
    assert 'hiper_http_requests_total{method="GET",route="/files",status="401"}' in (await http.get("/metrics")).text


async def test_the_api_is_documented(http: httpx.AsyncClient) -> None:
    assert "swagger" in (await http.get("/docs")).text
    document = (await http.get("/openapi.json")).json()
    paths = document["paths"]
    assert {
        "/upload",
        "/files",
        "/files/{filename}",
        "/files/{filename}/status",
        "/token",
        "/devices",
    } <= set(paths)
    assert set(paths["/files/{filename}"]) == {"get", "head", "delete"}
    upload = paths["/upload"]["post"]
    assert set(upload["requestBody"]["content"]) == {"application/octet-stream"}
    assert {"200", "400", "401", "403", "408", "409", "412", "413", "503"} <= set(upload["responses"])
    assert upload["security"] == [{"OAuth2": []}]


@pytest.mark.parametrize("path", ["/", "/uploads-of-others", "/upload/", "/files/a%0Ab", "/v1/files"])
async def test_there_is_nothing_at_other_addresses(device: Device, path: str) -> None:
    refused(await device.ask("GET", path), 404, "no-route")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/upload", {"POST"}),
        ("PUT", "/upload", {"POST"}),
        ("POST", "/files", {"GET"}),
        ("POST", "/files/a/status", {"GET"}),
    ],
)
async def test_a_method_that_is_not_taken_is_refused(device: Device, method: str, path: str, allowed: set[str]) -> None:
    answer = await device.ask(method, path)
    refused(answer, 405, "method-not-allowed")
    assert allowed <= set(answer.headers["allow"].split(", "))
