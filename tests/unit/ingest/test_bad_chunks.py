"""A chunk that is not what it says is refused, and nothing of it is stored."""

import pytest

from libs.common.settings import Settings
from tests.unit.ingest.running import settled, stored
from tests.unit.ingest.talk import Device, accepted, digest, framed, header, refused, streamed

CONTENT = b"0123456789"
RIGHT = framed(CONTENT)
SUM = sum(CONTENT) % 256

BODIES = {
    "no body": (b"", "malformed-chunk"),
    "less than a header": (RIGHT[:8], "malformed-chunk"),
    "a header alone": (RIGHT[:9], "malformed-chunk"),
    "a byte too few": (RIGHT[:-1], "malformed-chunk"),
    "a byte too many": (RIGHT + b"x", "malformed-chunk"),
    "another checksum": (header(0, 9, SUM + 1) + CONTENT, "checksum-mismatch"),
    "start after end": (header(5, 4, 0) + CONTENT, "bad-range"),
    "end is the size": (header(1, 10, SUM) + CONTENT, "bad-range"),
    "far beyond the end": (header(2**32 - 10, 2**32 - 1, SUM) + CONTENT, "bad-range"),
}
CONTENT_RANGES = (
    "",
    "bytes",
    "bytes 0-9",
    "bytes 0-9/11",
    "bytes 0-10/10",
    "bytes 9-0/10",
    "bytes -1-9/10",
    "bytes 0-9/-10",
    "bytes=0-9/10",
    "items 0-9/10",
    "bytes */*",
    "bytes */0",
    "bytes 0-9/10, bytes 0-9/10",
    f"bytes 0-{10**25}/10",
)
DIGESTS = {
    "sha-256 of something else": digest(b"other"),
    "sha-512 of something else": digest(b"other", "sha-512"),
    "one right, one wrong": f"{digest(RIGHT)}, {digest(b'other', 'sha-512')}",
    "of the payload without its header": digest(CONTENT),
}
UNREADABLE_DIGESTS = (
    "sha-256",
    "sha-256=abc",
    "sha-256=:!:",
    "sha-256=:YWJ:",
    "sha-256=:YWJj:",
    f"{digest(RIGHT)},",
    f"{digest(RIGHT)};q=1",
    "x" * 1000,
)


@pytest.fixture(autouse=True)
async def before(device: Device, settings: Settings) -> dict[str, bytes]:
    """What is stored once one upload is open and one file is complete."""
    await device.upload("complete", CONTENT)
    await settled(settings)
    accepted(await device.chunk("open", CONTENT, 3, 5))
    return stored(settings)


@pytest.mark.parametrize("filename", ["new", "open"])
@pytest.mark.parametrize("known_length", [True, False], ids=["content-length", "chunked"])
@pytest.mark.parametrize(("body", "slug"), BODIES.values(), ids=BODIES)
async def test_a_body_must_be_what_its_header_says(
    device: Device,
    settings: Settings,
    before: dict[str, bytes],
    body: bytes,
    slug: str,
    known_length: bool,
    filename: str,
) -> None:
    content = body if known_length else streamed(body[:4], body[4:])
    refused(await device.post(filename, len(CONTENT), content), 400, slug)
    assert stored(settings) == before


@pytest.mark.parametrize("known_length", [True, False], ids=["content-length", "chunked"])
@pytest.mark.parametrize("payload", [b"", CONTENT[:-1], CONTENT + b"x", RIGHT])
async def test_a_raw_payload_must_be_as_long_as_its_content_range(
    device: Device, settings: Settings, before: dict[str, bytes], payload: bytes, known_length: bool
) -> None:
    body = payload if known_length else streamed(payload)
    answer = await device.post("new", len(CONTENT), body, {"Content-Range": "bytes 0-9/10"})
    refused(answer, 400, "malformed-chunk")
    assert stored(settings) == before


@pytest.mark.parametrize("field", CONTENT_RANGES)
async def test_a_content_range_must_be_one_of_this_file(
    device: Device, settings: Settings, before: dict[str, bytes], field: str
) -> None:
    answer = await device.post("new", len(CONTENT), CONTENT, {"Content-Range": field})
    refused(answer, 400, "bad-range")
    assert stored(settings) == before


@pytest.mark.parametrize("field", DIGESTS.values(), ids=DIGESTS)
async def test_a_content_digest_covers_the_whole_body_and_must_match(
    device: Device, settings: Settings, before: dict[str, bytes], field: str
) -> None:
    answer = await device.post("new", len(CONTENT), RIGHT, {"Content-Digest": field})
    refused(answer, 400, "digest-mismatch")
    assert stored(settings) == before


async def test_a_content_digest_of_the_raw_form_covers_the_payload(
    device: Device, settings: Settings, before: dict[str, bytes]
) -> None:
    headers = {"Content-Digest": digest(RIGHT)}
    refused(await device.raw("new", CONTENT, headers=headers), 400, "digest-mismatch")
    assert stored(settings) == before
    accepted(await device.raw("new", CONTENT, headers={"Content-Digest": digest(CONTENT)}))


@pytest.mark.parametrize(
    "field",
    [
        digest(RIGHT),
        digest(RIGHT, "sha-512"),
        f"{digest(RIGHT)},{digest(RIGHT, 'sha-512')}",
        "md5=:AAAA:",
        f"md5=:AAAA: , {digest(RIGHT)}",
    ],
)
async def test_a_content_digest_that_matches_is_accepted_and_one_that_is_not_known_ignored(
    device: Device, field: str
) -> None:
    accepted(await device.post("new", len(CONTENT), RIGHT, {"Content-Digest": field}))


@pytest.mark.parametrize("name", ["Content-Digest", "Repr-Digest"])
@pytest.mark.parametrize("field", UNREADABLE_DIGESTS)
async def test_a_digest_must_be_readable(
    device: Device, settings: Settings, before: dict[str, bytes], name: str, field: str
) -> None:
    document = refused(await device.chunk("new", CONTENT, headers={name: field}), 400, "bad-digest")
    assert name in document["detail"]
    assert stored(settings) == before


async def test_a_whole_file_can_only_be_declared_by_its_sha_256(
    device: Device, settings: Settings, before: dict[str, bytes]
) -> None:
    headers = {"Repr-Digest": digest(CONTENT, "sha-512")}
    assert "sha-256" in refused(await device.chunk("new", CONTENT, headers=headers), 400, "bad-digest")["detail"]
    assert stored(settings) == before
