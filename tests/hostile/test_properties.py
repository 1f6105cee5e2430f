"""What comes from outside, against references that are too simple to be wrong."""

import contextlib
import hashlib
import struct
import uuid
from base64 import b64encode
from collections.abc import Iterator
from typing import Literal
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.common.files.extents import Extent
from libs.common.files.names import check_filename
from libs.common.files.pins import parse_tags
from libs.common.problems import Kind, Problem
from libs.common.storage._checks import check_key
from libs.common.uploads.layout import FileId, chunks_prefix, file_key, record_key, rejected_prefix, runs_prefix
from services.ingest.ranges import parse_range
from services.ingest.wire import Claim, parse_content_range, parse_header
from tests.hostile.serving import served
from tests.unit.ingest.running import token_for

pytestmark = pytest.mark.no_cover  # other tests reach the same lines; to trace these takes twice their time

quick = settings(database=None)
near = st.integers(0, 40) | st.sampled_from([2**31 - 1, 2**31, 2**32 - 1])


@quick
@given(start=near, end=near, checksum=st.integers(0, 255), total=near | st.just(2**32))
def test_a_header_is_taken_if_its_bytes_are_in_the_file(start: int, end: int, checksum: int, total: int) -> None:
    header = struct.pack(">IIB", start, end, checksum)
    if start <= end < total:
        assert parse_header(header, total) == Claim(Extent(start, end + 1), total, checksum)
    elif start == end == total == 0:
        assert parse_header(header, total) == Claim(Extent(0, 0), 0, checksum)
    else:
        with pytest.raises(Problem) as refused:
            parse_header(header, total)
        assert refused.value.kind is Kind.BAD_RANGE


@quick
@given(
    start=near,
    end=near,
    said=near | st.just("*"),
    total=near | st.none(),
    mark=st.sampled_from(["bytes ", "bytes=", "Bytes ", "bits "]),
)
def test_a_content_range_is_taken_if_it_agrees_with_the_file(
    start: int, end: int, said: int | Literal["*"], total: int | None, mark: str
) -> None:
    """The device may leave the size of the file out of either, or of both while it does not know it."""
    field, size = f"{mark}{start}-{end}/{said}", total if said == "*" else said
    with contextlib.suppress(Problem):
        assert parse_content_range(field, total) == Claim(Extent(start, end + 1), size)
        assert mark == "bytes "
        assert start <= end
        assert size is None or end < size
        assert total in (None, size)
        return
    assert mark != "bytes " or start > end or total not in (None, size) or (size is not None and end >= size)


@quick
@given(st.text(max_size=40) | st.from_regex(r"\Abytes [0-9]*-?[0-9]*/?[0-9*]*\Z"))
def test_no_content_range_is_more_than_refused(field: str) -> None:
    with contextlib.suppress(Problem):
        claim = parse_content_range(field, 10)
        assert 0 <= claim.extent.start < claim.extent.end <= 10


@quick
@given(first=near | st.none(), last=near | st.none(), total=st.integers(0, 30), missing=st.integers(0, 30))
def test_a_range_gives_the_bytes_that_it_names_as_far_as_they_are_there(
    first: int | None, last: int | None, total: int, missing: int
) -> None:
    available = max(0, total - missing)
    field = f"bytes={'' if first is None else first}-{'' if last is None else last}"
    if first is None:
        named = [] if last is None else list(range(total))[max(0, total - last) :]
    else:
        named = [at for at in range(total) if at >= first and (last is None or at <= last)]
    there = [at for at in named if at < available]
    if (first is None and last is None) or (first is not None and last is not None and first > last):
        assert parse_range(field, total, available) is None
    elif there:
        assert parse_range(field, total, available) == Extent(there[0], there[-1] + 1)
    else:
        with pytest.raises(Problem) as refused:
            parse_range(field, total, available)
        assert refused.value.kind is Kind.RANGE_NOT_SATISFIABLE


@quick
@given(st.text(max_size=60))
def test_no_range_and_no_tag_is_more_than_ignored(field: str) -> None:
    with contextlib.suppress(Problem):
        extent = parse_range(field, 10, 10)
        assert extent is None or 0 <= extent.start < extent.end <= 10
    assert all(tag and "," not in tag for tag in parse_tags(field))


@quick
@given(
    st.text(st.characters(codec=None), max_size=8)
    | st.text(st.sampled_from("./\\ \0\n\x7f\u0085\u202e\u200b\ud800e\u0301é%2F"), max_size=8)
    | st.sampled_from(["é" * 127, "é" * 128, "x" * 255, "x" * 256, "a__XLDIR__"])
)
def test_a_name_that_is_taken_is_a_key_in_every_store_and_stays_within_its_owners_files(name: str) -> None:
    with contextlib.suppress(Problem):
        file = FileId("car-7", check_filename(name))
        below = (chunks_prefix(file, "0a"), runs_prefix(file, "0a"), rejected_prefix(file))
        for key in (record_key(file), *(f"{prefix}x" for prefix in below)):
            check_key(key)
            assert "car-7" in key.split("/")
            assert ".." not in key.split("/")
        check_key(file_key(file))
        assert file_key(file) == f"files/car-7/{name}"


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with served(tmp_path_factory.mktemp("properties")) as (url, running):
        headers = {"Authorization": f"Bearer {token_for(running)}"}
        with httpx.Client(base_url=url, headers=headers, timeout=30) as client:
            yield client


SIZE = 24
CONTENT, OTHER = bytes(range(SIZE)), bytes(range(SIZE // 2)) + bytes(range(100, 100 + SIZE // 2))
DAMAGE = {
    "none": None,
    "a byte flipped": "checksum-mismatch",
    "cut short": "malformed-chunk",
    "too long": "malformed-chunk",
    "no header": "malformed-chunk",
    "beyond the end": "bad-range",
    "backwards": "bad-range",
    "another digest": "digest-mismatch",
    "no digest": "bad-digest",
    "another size": "total-size-conflict",
}
steps = st.lists(
    st.tuples(
        st.integers(0, SIZE - 1),
        st.integers(1, SIZE),
        st.sampled_from([CONTENT] * 3 + [OTHER]),
        st.sampled_from([*DAMAGE]),
    ),
    min_size=1,
    max_size=12,
)


def chunk(http: httpx.Client, name: str, content: bytes, start: int, end: int, damage: str) -> httpx.Response:
    """Bytes [start, end) of a content in the header form, damaged on their way."""
    payload = content[start:end]
    first, last = {"beyond the end": (start, SIZE), "backwards": (end, start)}.get(damage, (start, end - 1))
    body = struct.pack(">IIB", first, last, sum(payload) % 256) + payload
    headers = {}
    match damage:
        case "a byte flipped":
            body = body[:-1] + bytes([body[-1] ^ 1])
        case "cut short":
            body = body[:-1]
        case "too long":
            body += b"x"
        case "no header":
            body = body[:5]
        case "another digest":
            headers["Content-Digest"] = f"sha-256=:{b64encode(hashlib.sha256(b'x').digest()).decode()}:"
        case "no digest":
            headers["Content-Digest"] = "sha-256=:AAAA:"
    total = SIZE + 1 if damage == "another size" else SIZE
    return http.post("/upload", params={"filename": name, "total_size": total}, content=body, headers=headers)


@settings(max_examples=25, database=None, suppress_health_check=list(HealthCheck))
@given(steps)
def test_an_upload_is_what_a_simple_model_says(http: httpx.Client, steps: list[tuple[int, int, bytes, str]]) -> None:
    """Chunks in any order, overlapping, with other bytes and with damage: the model is a dictionary of bytes."""
    name, model = f"{uuid.uuid4().hex}.bin", dict[int, int]()
    for start, length, content, damage in steps:
        if damage == "another size" and not model:
            continue  # it would open an upload of that size
        end = min(SIZE, start + length)
        answer = chunk(http, name, content, start, end, damage)
        slug = DAMAGE[damage]
        if slug is None and any(model.get(at, content[at]) != content[at] for at in range(start, end)):
            slug = "content-conflict"
        if slug is None:
            model |= {at: content[at] for at in range(start, end)}
            assert answer.status_code == 200, answer.text
            assert answer.json()["next_expected_byte"] == prefix(model)
        else:
            assert answer.json()["type"] == f"urn:hiper:problem:{slug}", (damage, answer.text)
    if model:
        check(http, name, model)


def prefix(model: dict[int, int]) -> int:
    return next(at for at in range(SIZE + 1) if at not in model)


def check(http: httpx.Client, name: str, model: dict[int, int]) -> None:
    status = http.get(f"/files/{name}/status").json()
    assert status["next_expected_byte"] == prefix(model)
    assert status["received_bytes"] == len(model)
    missing = {at for start, end in status["missing_ranges"] for at in range(start, end)}
    assert missing == set(range(SIZE)) - model.keys()
    if prefix(model):
        answer = http.get(f"/files/{name}", headers={"Range": "bytes=0-"})
        assert answer.content == bytes(model[at] for at in range(prefix(model)))


@settings(max_examples=60, database=None, suppress_health_check=list(HealthCheck))
@given(
    path=st.binary(max_size=12)
    | st.sampled_from([b"..", b"../../etc/passwd", b"..\\..", b"%2e%2e/", b"\xff", b"a/../b"]),
    query=st.text(st.sampled_from("owner=filename=total_size&%2e%00%ff;+.f"), max_size=30),
)
def test_no_address_is_a_server_error_or_shows_what_is_not_ours(http: httpx.Client, path: bytes, query: str) -> None:
    for method in ("GET", "HEAD", "DELETE"):
        url = f"/files/{quote(path, safe='').replace('.', '%2E')}?{query}"
        assert http.request(method, url).status_code in {400, 401, 403, 404}
    url = f"/upload?filename={quote(path, safe='')}&owner={quote(path, safe='')}&total_size=1"
    assert http.post(url, content=b"x").status_code in {400, 403}
