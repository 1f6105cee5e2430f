"""Fields, names and documents as hypothesis makes them, through the running server; beside it, references that are too
simple to be wrong."""

import hashlib
import json
import re
import struct
import time
import uuid
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from libs.common.files.names import check_filename
from libs.common.problems import Problem
from libs.common.web.bodies import MAX_BODY
from tests.hostile.serving import served
from tests.unit.ingest.running import token_for
from tests.unit.ingest.talk import framed

pytestmark = pytest.mark.no_cover  # other tests reach the same lines; to trace these takes twice their time

SIZE = 24
CONTENT = bytes(range(SIZE))
near = st.integers(0, SIZE + 4) | st.sampled_from([2**31, 2**32 - 1, 2**63, 2**64, 10**18])
field_text = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=40).map(
    str.strip  # the client library sends no others
)
some = settings(max_examples=40, database=None, suppress_health_check=list(HealthCheck))


@dataclass(frozen=True)
class Client:
    """A device and an administrator of one server."""

    http: httpx.Client
    admin: dict[str, str]

    def send(self, name: str, body: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
        raw = [(key.encode(), value.encode("latin-1")) for key, value in (headers or {}).items()]
        query = {"filename": name, "total_size": str(SIZE)}
        answer = self.http.post("/upload", params=query, content=body, headers=raw)
        refused_or(200, answer)
        return answer

    def received(self, name: str) -> int:
        """Bytes that the server says to have of an upload."""
        answer = self.http.get(f"/files/{name}/status")
        return int(answer.json()["received_bytes"]) if answer.status_code == 200 else 0


def refused_or(status: int, answer: httpx.Response) -> None:
    assert answer.status_code == status or (
        400 <= answer.status_code < 500 and answer.headers["content-type"] == "application/problem+json"
    ), (answer.status_code, answer.text)


def new_name() -> str:
    return f"{uuid.uuid4().hex}.bin"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with served(tmp_path_factory.mktemp("properties")) as (url, running):
        bearer = {"Authorization": f"Bearer {token_for(running)}"}
        admin = {"Authorization": f"Bearer {token_for(running, 'admin', 'admin')}"}
        with httpx.Client(base_url=url, headers=bearer, timeout=30) as http:
            yield Client(http, admin)


@pytest.fixture(scope="module")
def file(client: Client) -> dict[str, str]:
    """The header fields of a complete file."""
    client.http.post("/upload", params={"filename": "whole", "total_size": SIZE}, content=framed(CONTENT))
    while client.http.get("/files/whole/status").json()["status"] != "complete":
        time.sleep(0.01)
    return {"path": "/files/whole", **client.http.head("/files/whole").headers}


@some
@given(
    st.binary(max_size=9)
    | st.builds(lambda *numbers: struct.pack(">IIB", *numbers), *[st.integers(0, SIZE + 2)] * 2, st.integers(0, 255)),
    st.integers(0, SIZE),
    st.booleans(),
)
def test_a_chunk_is_stored_if_its_header_is_true(client: Client, header: bytes, length: int, honest: bool) -> None:
    payload = CONTENT[:length]
    if honest and len(header) == 9:
        header = header[:8] + bytes([sum(payload) % 256])
    name = new_name()
    answer = client.send(name, header + payload)
    first, last, checksum = struct.unpack(">IIB", (header + payload).ljust(9, b"\0")[:9])
    rest = (header + payload)[9:]
    true = len(header + payload) >= 9 and first <= last < SIZE and last - first + 1 == len(rest)
    assert (answer.status_code == 200) == (true and sum(rest) % 256 == checksum)
    assert client.received(name) == (len(rest) if answer.status_code == 200 else 0)


@some
@example(0, SIZE, SIZE, None)
@given(near, near, near | st.just(SIZE), st.none() | st.integers(0, SIZE))
def test_a_chunk_is_stored_if_its_content_range_is_true(
    client: Client, first: int, last: int, total: int, length: int | None
) -> None:
    """`length` of the body in bytes; None: as long as the range."""
    named = last - first + 1
    body = (2 * CONTENT)[: max(0, named) if length is None else length]
    name = new_name()
    answer = client.send(name, body, {"Content-Range": f"bytes {first}-{last}/{total}"})
    assert (answer.status_code == 200) == (total == SIZE and first <= last < SIZE and named == len(body))
    assert client.received(name) == (len(body) if answer.status_code == 200 else 0)


@some
@given(field_text, st.sampled_from(["Content-Range", "Content-Digest", "Repr-Digest"]))
def test_no_field_is_more_than_refused(client: Client, field: str, name: str) -> None:
    client.send(new_name(), CONTENT, {**whole_range(), name: field})


GOOD, WRONG = hashlib.sha256(CONTENT), hashlib.sha256(b"another")
MEMBERS = {
    f"sha-256=:{b64encode(GOOD.digest()).decode()}:": "right",
    f"sha-512=:{b64encode(hashlib.sha512(CONTENT).digest()).decode()}:": "of 512",
    f"sha-256=:{b64encode(WRONG.digest()).decode()}:": "wrong",
    "md5=:AAAA:": "unknown",
    **dict.fromkeys(("sha-256=:AAAA:", "sha-256=:====:", "sha-256=abc", "sha-256", ":", '"'), "broken"),
}


@some
@given(st.lists(st.sampled_from([*MEMBERS]), min_size=1, max_size=3, unique_by=lambda member: member[:7]))
def test_a_content_digest_is_checked_whatever_else_is_there(client: Client, members: list[str]) -> None:
    kinds = {MEMBERS[member] for member in members}
    answer = client.send(new_name(), CONTENT, {"Content-Digest": ", ".join(members), **whole_range()})
    assert (answer.status_code == 200) == kinds.isdisjoint({"broken", "wrong"})


@some
@given(st.lists(st.sampled_from([*MEMBERS]), min_size=1, max_size=3, unique_by=lambda member: member[:7]))
def test_a_repr_digest_must_hold_one_that_is_checked(client: Client, members: list[str]) -> None:
    kinds = {MEMBERS[member] for member in members}
    answer = client.send(new_name(), CONTENT, {"Repr-Digest": ", ".join(members), **whole_range()})
    taken = "broken" not in kinds and ("right" in kinds or kinds == {"unknown"})
    assert (answer.status_code == 200) == taken


def whole_range() -> dict[str, str]:
    return {"Content-Range": f"bytes 0-{SIZE - 1}/{SIZE}"}


@some
@given(near | st.just(""), near | st.just(""), st.sampled_from(["etag", "last-modified", "other", "weak", "-"]))
def test_a_range_gives_its_bytes_if_it_is_of_this_version(
    client: Client, file: dict[str, str], first: int | str, last: int | str, held: str
) -> None:
    if_range = {"other": '"another"', "weak": f"W/{file['etag']}"}.get(held) or file.get(held)
    headers = {"Range": f"bytes={first}-{last}"} | ({"If-Range": if_range} if if_range else {})
    answer = client.http.get(file["path"], headers=headers)
    named = [
        at
        for at in range(SIZE)
        if (first == "" and last != "" and at >= SIZE - int(last))
        or (first != "" and at >= int(first) and (last == "" or at <= int(last)))
    ]
    backwards = (first == last == "") or ("" not in (first, last) and int(first) > int(last))
    digits = max(len(str(first)), len(str(last)))
    if held in {"other", "weak"} or backwards or digits > 19:
        assert (answer.status_code, answer.content) == (200, CONTENT)
    elif named:
        assert (answer.status_code, answer.content) == (206, bytes(named))
        assert answer.headers["content-range"] == f"bytes {named[0]}-{named[-1]}/{SIZE}"
    else:
        assert answer.status_code == 416


@some
@given(field_text, field_text)
def test_no_range_is_a_server_error(client: Client, file: dict[str, str], range_: str, if_range: str) -> None:
    fields = {"Range": range_, "If-Range": if_range, "If-Match": "*", "If-None-Match": range_}
    headers = [(name.encode(), value.encode("latin-1")) for name, value in fields.items()]
    answer = client.http.get(file["path"], headers=headers)
    if answer.status_code not in {206, 304}:
        refused_or(200, answer)


@some
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.text("./\\ \n\u202eé\u0301%~", max_size=6))
def test_a_name_comes_back_as_it_went_in_or_is_refused(client: Client, name: str) -> None:
    try:
        check_filename(name)
    except Problem:
        assert client.send(name, framed(CONTENT)).status_code == 400
        return
    answer = client.send(name, framed(CONTENT))
    if answer.status_code == 409:  # it is a folder of another file, or a file is a folder of it
        assert answer.json()["type"] == "urn:hiper:problem:name-conflict"
        return
    assert answer.json()["filename"] == name
    path = f"/files/{quote(name, safe='').replace('.', '%2E')}"
    assert client.http.get(f"{path}/status").json()["filename"] == name
    while (got := client.http.get(path)).status_code == 409:
        time.sleep(0.01)
    assert got.content == CONTENT
    assert unquote(got.headers["content-disposition"].partition("filename*=UTF-8''")[2]) == name.rpartition("/")[2]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
devices = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("device_id", "scopes", "device_class", "client_secret", "more"), values)
)
bodies = (
    (values | devices).map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=40)
    | st.tuples(st.sampled_from([b"[", b'{"device_id":', b"9", b'"']), st.integers(0, MAX_BODY + 2)).map(
        lambda many: many[0] * many[1]
    )
)


@some
@given(bodies, st.sampled_from(["POST /devices", "PATCH /devices/car-9", "POST /token"]))
def test_no_document_is_more_than_refused_by_auth(client: Client, body: bytes, where: str) -> None:
    method, _, path = where.partition(" ")
    headers = client.admin | {"Content-Type": "application/json"}
    answer = client.http.request(method, path, content=body, headers=headers)
    assert (answer.status_code == 413) == (len(body) > MAX_BODY)
    assert answer.status_code in {400, 401, 404, 413} or taken(body)
    assert answer.headers["content-type"] == "application/problem+json" or taken(body)


def taken(body: bytes) -> bool:
    """Whether it asks for a device that there can be."""
    document: Any = json.loads(body)
    ids = document.get("device_id") if isinstance(document, dict) else None
    return isinstance(ids, str) and bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", ids))
