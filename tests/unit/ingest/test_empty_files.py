"""An empty file is complete with its first request."""

import pytest

from tests.unit.ingest.talk import Device, accepted, digest, header, refused, streamed

FORMS = {
    "nine zero bytes": (bytes(9), {}),
    "no body": (b"", {}),
    "content-range": (b"", {"Content-Range": "bytes */0"}),
    "declared": (bytes(9), {"Repr-Digest": digest(b"")}),
}


@pytest.mark.parametrize("known_length", [True, False], ids=["content-length", "chunked"])
@pytest.mark.parametrize(("body", "headers"), FORMS.values(), ids=FORMS)
async def test_it_completes_in_every_form(
    device: Device, body: bytes, headers: dict[str, str], known_length: bool
) -> None:
    answer = await device.post("a", 0, body if known_length else streamed(body), headers)
    assert accepted(answer)["next_expected_byte"] == 0
    status = await device.completed("a")
    assert (status["total_size"], status["received_bytes"], status["missing_ranges"]) == (0, 0, [])
    got = await device.get("a")
    assert (got.status_code, got.content, got.headers["content-length"]) == (200, b"", "0")
    assert (await device.head("a")).headers["content-length"] == "0"
    again = await device.post("a", 0, body, headers)
    assert accepted(again)["next_expected_byte"] == 0
    assert again.headers["etag"] == got.headers["etag"]


@pytest.mark.parametrize("field", ["bytes=0-", "bytes=0-0", "bytes=-1"])
async def test_no_range_of_it_can_be_had(device: Device, field: str) -> None:
    await device.upload("a", b"")
    answer = await device.get("a", {"Range": field})
    refused(answer, 416, "range-not-satisfiable")
    assert answer.headers["content-range"] == "bytes */0"


@pytest.mark.parametrize(
    ("body", "headers", "slug"),
    [
        (bytes(9) + b"x", {}, "malformed-chunk"),
        (header(0, 0, 1), {}, "checksum-mismatch"),
        (header(0, 1, 0), {}, "bad-range"),
        (bytes(8), {}, "malformed-chunk"),
        (b"", {"Content-Range": "bytes 0-0/0"}, "bad-range"),
        (b"x", {"Content-Range": "bytes */0"}, "malformed-chunk"),
    ],
)
async def test_a_chunk_of_it_holds_nothing(device: Device, body: bytes, headers: dict[str, str], slug: str) -> None:
    refused(await device.post("a", 0, body, headers), 400, slug)
    refused(await device.status("a"), 404, "not-found")


async def test_its_declared_digest_must_be_that_of_nothing(device: Device) -> None:
    await device.upload("a", b"", {"Repr-Digest": digest(b"")})
    assert (await device.get("a")).headers["repr-digest"] == digest(b"")
