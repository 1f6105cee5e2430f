"""What a download makes of the answers that proxies, portals and caches give in place of the server, or change."""

import gzip
import hashlib
from io import BytesIO
from pathlib import Path

import pytest

from libs.client import HiperClient, retry
from libs.client.errors import ChecksumError, GatewayError, HiperError, SourceChangedError
from libs.client.wire import digest_field
from tests.unit.client.test_strangers import Tokens
from tests.unit.scripted_server import Script, answer, scripted

BODY = b"abcdefgh"
DIGEST = digest_field(hashlib.sha256(BODY).digest())
ETAG = '"8-a"'
PORTAL = answer(200, b"<html>Welcome</html>", Content_Type="text/html")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.01)


def ours(status: int, body: bytes = BODY, *, length: int | None = None, **fields: str) -> bytes:
    there = {name: value for name, value in fields.items() if value}
    return answer(status, body, length=length, X_Request_Id="1", **there)


def whole(body: bytes = BODY, etag: str = ETAG, digest: str = DIGEST, coding: str = "") -> bytes:
    return ours(200, body, ETag=etag, Repr_Digest=digest, Content_Encoding=coding)


def broken(keep: int, etag: str = ETAG, digest: str = DIGEST) -> bytes:
    """The whole file, but the connection ends after so many bytes."""
    return ours(200, BODY[:keep], length=len(BODY), ETag=etag, Repr_Digest=digest, Connection="close")


def rest(start: int, etag: str = ETAG, digest: str = DIGEST, *, total: int = 8, begins: int | None = None) -> bytes:
    place = f"bytes {start if begins is None else begins}-{total - 1}/{total}"
    return ours(206, BODY[start:], ETag=etag, Repr_Digest=digest, Content_Range=place)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def download(target: "Path | BytesIO", *answers: bytes, **options: bool) -> Script:
    async with (
        scripted(answers) as script,
        HiperClient(f"http://{script.endpoint}", tokens=Tokens(), retry_for=1) as client,
    ):
        try:
            await client.download("f", target, **options)  # type: ignore[arg-type]  # options are bool
        finally:
            left.append(len(script.answers))
    return script


left: list[int] = []  # answers that nobody asked for, of each download


@pytest.mark.parametrize("before", [[PORTAL], [broken(3), PORTAL], [broken(3), answer(404), answer(302)]])
async def test_what_a_gateway_says_is_waited_out(tmp_path: Path, before: list[bytes]) -> None:
    (tmp_path / "f").write_bytes(b"the good old file")
    head = ours(200, b"", length=8, ETag=ETAG, Repr_Digest=DIGEST, Connection="close")
    await download(tmp_path / "f", head, *before, rest(3) if len(before) > 1 or before[0] != PORTAL else whole())
    assert (tmp_path / "f").read_bytes() == BODY


async def test_a_portal_that_stays_costs_neither_the_file_nor_the_bytes_that_are_here(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"the good old file")
    head = ours(200, b"", length=8, ETag=ETAG, Repr_Digest=DIGEST, Connection="close")
    with pytest.raises(HiperError):
        await download(tmp_path / "f", head, broken(3), *([PORTAL] * 50))
    assert (tmp_path / "f").read_bytes() == b"the good old file"
    assert (tmp_path / "f.part").read_bytes() == BODY[:3]


@pytest.mark.parametrize(
    "then",
    [
        rest(3),
        rest(3, etag="", digest=""),  # by If-Range
        rest(3, etag=""),
        rest(3, etag=f"W/{ETAG}"),
        whole(),  # something ignores ranges
        whole(etag=f"W/{ETAG}"),
        whole(etag=""),
    ],
)
async def test_an_etag_that_a_proxy_removed_or_weakened_breaks_no_resume(then: bytes) -> None:
    stream = BytesIO()
    script = await download(stream, broken(3), then)
    assert (stream.getvalue(), len(script.requests)) == (BODY, 2)


@pytest.mark.parametrize("etag", ["", f"W/{ETAG}"])
async def test_without_a_strong_etag_from_the_begin_a_stream_is_resumed(etag: str) -> None:
    stream = BytesIO()
    await download(stream, broken(3, etag), rest(3, etag))
    assert stream.getvalue() == BODY


async def test_without_an_etag_another_version_is_known_by_its_digest(tmp_path: Path) -> None:
    other = digest_field(hashlib.sha256(b"ABCDEFGH").digest())
    answers = broken(3, etag=""), rest(3, etag="", digest=other), whole(b"ABCDEFGH", "", other)
    await download(tmp_path / "f", *answers)
    assert (tmp_path / "f").read_bytes() == b"ABCDEFGH"
    with pytest.raises(SourceChangedError):
        await download(BytesIO(), *answers)


@pytest.mark.parametrize(
    "strange",
    [
        rest(3, begins=2),
        rest(3, etag='"8-b"'),
        rest(3, digest=digest_field(bytes(32))),
        rest(3, total=9),
        whole(b"abcdefghi"),  # the same version with another size
        whole(digest=digest_field(bytes(32))),
        ours(203, BODY, ETag=ETAG, Repr_Digest=DIGEST),
        ours(204, b"", ETag=ETAG),
        whole(gzip.compress(BODY), coding="gzip"),
        ours(206, BODY[3:], ETag=ETAG),
        ours(206, BODY[3:] + b"ij", ETag=ETAG, Content_Range="bytes 3-7/8"),  # more than the file has
    ],
)
async def test_an_answer_that_does_not_fit_is_not_used_and_asked_for_again(tmp_path: Path, strange: bytes) -> None:
    await download(tmp_path / "f", broken(3), strange, rest(3))
    assert (tmp_path / "f").read_bytes() == BODY
    with pytest.raises(GatewayError, match="a gateway answered with"):
        await download(tmp_path / "g", broken(3), strange, strange, strange, rest(3))
    assert left[-1] == 2, "it is given up after three failures"
    assert (tmp_path / "g.part").read_bytes() == BODY[:3]


@pytest.mark.parametrize("strange", [rest(0), whole(gzip.compress(BODY), coding="gzip"), ours(203, BODY, ETag=ETAG)])
async def test_a_first_answer_that_nobody_asked_for_is_not_the_file(tmp_path: Path, strange: bytes) -> None:
    await download(tmp_path / "f", strange, whole())
    assert (tmp_path / "f").read_bytes() == BODY


async def test_a_range_that_ends_too_early_is_not_taken_for_the_rest(tmp_path: Path) -> None:
    short = ours(206, BODY[3:6], ETag=ETAG, Content_Range="bytes 3-7/8")
    await download(tmp_path / "f", broken(3, digest=""), short, rest(6, digest=""))
    assert (tmp_path / "f").read_bytes() == BODY


async def test_a_digest_that_was_known_before_the_break_counts_after_it(tmp_path: Path) -> None:
    damaged = ours(206, b"DEFGH", ETag=ETAG, Content_Range="bytes 3-7/8")
    with pytest.raises(ChecksumError):
        await download(tmp_path / "f", broken(3), damaged)
    assert names(tmp_path) == []


async def test_what_is_known_is_known_to_the_next_process_too(tmp_path: Path) -> None:
    with pytest.raises(HiperError):
        await download(tmp_path / "f", broken(3))
    damaged = ours(206, b"DEFGH", ETag=ETAG, Content_Range="bytes 3-7/8")
    with pytest.raises(ChecksumError):
        await download(tmp_path / "f", damaged)
    assert names(tmp_path) == []


async def test_a_body_without_an_end_needs_a_digest_to_be_whole(tmp_path: Path) -> None:
    endless = b"HTTP/1.1 200 OK\r\nX-Request-Id: 1\r\nETag: %b\r\n%bConnection: close\r\n\r\nabc"
    digest = f"Repr-Digest: {DIGEST}\r\n".encode()
    with pytest.raises(ChecksumError):
        await download(tmp_path / "f", endless % (ETAG.encode(), digest))
    with pytest.raises(GatewayError, match="without a size or a digest"):
        await download(tmp_path / "f", *[endless % (ETAG.encode(), b"")] * 3)
    assert names(tmp_path) == []


async def test_a_stream_with_wrong_bytes_is_not_said_to_be_kept_away() -> None:
    with pytest.raises(ChecksumError) as caught:
        await download(BytesIO(), whole(b"ABCDEFGH"))
    assert "do not use what was written" in caught.value.hint
