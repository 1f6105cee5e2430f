"""No address leads out of the caller's files, on either store: not to read, not to write, not to delete.

The targets go out as they stand here: a client library would tidy them up."""

import asyncio
import re
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest
from minio import Minio

from libs.common.settings import Settings
from tests.backends import MinioServer
from tests.hostile.raw import Answer, wired
from tests.hostile.serving import served
from tests.unit.ingest.running import OWNER, files_below, token_for
from tests.unit.ingest.talk import framed

pytestmark = pytest.mark.no_cover  # other tests reach the same lines; to trace these takes twice their time

OTHER = "car-8"
OURS, THEIRS, OUTSIDE = b"what is ours", b"what is theirs", b"what is outside"
FLEETS = re.compile(r"/fleet/(uploads|devices|seen/[0-9a-f]+)\.jsonl\.gz$")
OUR_OUTCOMES = re.compile(rf"/feed/[0-9-]+/[0-9]+/[0-9]{{13}}-complete-[0-9a-z]+-{OWNER}$")
Things = dict[str, bytes | str]  # all that there is, by path or by bucket and key: bytes or an etag

NAMES = (
    *("..", ".", "%2e%2e", ".%2e", "%2E.", "%2e", "..%20", "%20", "..%00", "%00", "mine%00", "mine%00.txt"),
    *("../x", "..%2Fx", "%2e%2e%2fx", "%2e%2e/x", "../../x", "..%2F..%2Fx", "a/../../x", "a%2F..%2F..%2Fx", "./x"),
    *("..\\x", "..%5Cx", "%2e%2e%5cx", "..%5C..%5Cx", "a%5C..%5C..%5Cx", "C:%5Cx", "%5C%5Chost%5Cshare"),
    *("/etc/passwd", "%2Fetc%2Fpasswd", "//etc/passwd", "%2F%2Fetc%2Fpasswd", "file:%2F%2F%2Fetc%2Fpasswd"),
    *("..%2F{other}%2Ftheirs", "../{other}/theirs", "%2F{other}%2Ftheirs", "..%5C{other}%5Ctheirs"),
    *("mine/../../{other}/theirs", "mine%2F..%2F..%2F{other}%2Ftheirs", "..%2F..%2Ffiles%2F{other}%2Ftheirs"),
    *("..%2F..%2F..%2Foutside.txt", "../../../outside.txt", "{outside}", "..%2F.hiper%2Fx", "%2F.hiper%2Fx"),
    *("%c0%ae%c0%ae%c0%afx", "%c0%af", "%e0%80%af", "%f0%80%80%af", "%c0%80", "%ff", "%ed%a0%80", "%c0%2e"),
    *("....%2F%2Fx", "%2F..;%2Fx", "..%0d%0ax", "..%0a", "mine%0a", "mine%7f", "%C2%85"),
    *("=record", "d%2F=record", "d/=0123456789abcdef/x", "d%2Fstatus", "d__XLDIR__/x"),
)
PLAIN = (  # what looks as if, but is a name like any other
    *("%252e%252e%252fx", "%252e%252e", "%25c0%25ae", "..x", "...", ".hiper", "..;", "~", "%ef%bc%8e%ef%bc%8f"),
    *("%2525", "C:", "files", "auth", "{other}", "%e2%80%ae", "CON", "-rf", "%24(id)", "*"),
    *("d%2F{other}%2Ftheirs", "d/files/{other}/theirs", "d%2F..;%2Fx", "d%2F.hiper%2Fx", "d/.../x", "d/%252e%252e/x"),
)  # fmt: skip
OPERATIONS = (
    "POST /upload?filename={}&total_size=1",
    "POST /upload/{}?filename=x&total_size=1",
    *(f"{method} /files/{{}}{more}" for method in ("GET", "HEAD") for more in ("", "/status", f"?owner={OTHER}")),
    *("GET /files/mine/{}", "DELETE /files/mine/../{}"),
    *(f"DELETE /files/{{}}{more}" for more in ("", "/status", f"?owner={OTHER}")),
)
AS_OWNER = (  # by a caller who may read and write for the whole fleet
    *(f"{method} /files/{path}?owner={{}}" for method in ("GET", "DELETE") for path in ("mine", "theirs")),
    *("GET /files?owner={}", "GET /files/theirs/status?owner={}", "POST /upload?filename=mine&total_size=1&owner={}"),
)
OF_THE_OTHER = (
    *(f"{method} /files/theirs?owner={OTHER}" for method in ("GET", "HEAD", "DELETE")),
    *(f"GET /files/theirs/status?owner={OTHER}", f"GET /files?owner={OTHER}"),
    f"POST /upload?filename=theirs&total_size=1&owner={OTHER}",
)
FLEET = "files:read files:write fleet:read fleet:write"


@dataclass(frozen=True)
class Target:
    """A running server, and how to see all that there is behind and around it."""

    url: str
    settings: Settings
    outside: Path
    everything: Callable[[], Things]
    temp: str = ""  # its own part of everything that is temporary; other tests have theirs on the same MinIO

    async def ask(self, line: str, scopes: str = "files:read files:write") -> Answer:
        """One request, as the caller; a POST brings a byte."""
        head = f"{line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token_for(self.settings, OWNER, scopes)}\r\n"
        body = "Content-Range: bytes 0-0/1\r\nContent-Length: 1\r\n\r\nx"
        async with wired(urlsplit(self.url).port or 0) as wire:
            wire.writer.write((head + (body if line.startswith("POST") else "\r\n")).encode())
            return await wire.answer(to_head=line.startswith("HEAD"))

    def filled(self, name: str) -> str:
        return name.replace("{other}", OTHER).replace("{outside}", quote(str(self.outside), safe=""))


def files_around(root: Path) -> Things:
    """What is below a directory but locks and what is half written, neither of which has a name of an object."""
    found = Things()
    for path in files_below(root):
        if path.suffix != ".lock" and path.name != "lock" and ".hiper/tmp" not in str(path):
            found[str(path.relative_to(root))] = path.read_bytes() if path.exists() else b"gone"
    return but_the_fleets(found)


def but_the_fleets(found: Things) -> Things:
    """Without what the janitor and ingest show of the fleet by their own clocks."""
    return {path: thing for path, thing in found.items() if not FLEETS.search(path)}


def objects_of(minio: MinioServer) -> Things:
    """Every object of every bucket."""
    client = Minio(minio.endpoint, minio.access_key, minio.secret_key, secure=False)
    buckets = [bucket.name for bucket in client.list_buckets()]
    objects = [(bucket, one) for bucket in buckets for one in client.list_objects(bucket, recursive=True)]
    found = {f"{bucket}/{one.object_name}": one.etag or "" for bucket, one in objects}
    return but_the_fleets(found | dict.fromkeys(buckets, ""))


@pytest.fixture(params=["filesystem", "minio"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Target]:
    outside = tmp_path / "outside.txt"
    outside.write_bytes(OUTSIDE)
    if request.param == "filesystem":
        with served(tmp_path / "stores") as (url, settings):
            yield Target(url, settings, outside, lambda: files_around(tmp_path))
        return
    minio: MinioServer = request.getfixturevalue("minio")
    own = {f"{kind}_bucket": f"{kind}-{uuid.uuid4().hex[:8]}" for kind in ("temp", "perm", "auth")}
    login = {"minio_access_key": minio.access_key, "minio_secret_key": minio.secret_key}
    with served(tmp_path / "none", object_store="minio", minio_endpoint=minio.endpoint, **login, **own) as found:
        yield Target(*found, outside, lambda: objects_of(minio) | files_around(tmp_path), f"{own['temp_bucket']}/")


def upload(target: Target, owner: str, name: str, content: bytes) -> None:
    """Send a file and wait until it is complete."""
    bearer = {"Authorization": f"Bearer {token_for(target.settings, owner)}"}
    with httpx.Client(base_url=target.url, headers=bearer) as http:
        query = {"filename": name, "total_size": str(len(content))}
        http.post("/upload", params=query, content=framed(content)).raise_for_status()
        deadline = time.monotonic() + 20
        while http.get(f"/files/{name}/status").json()["status"] != "complete":
            assert time.monotonic() < deadline
            time.sleep(0.02)


async def test_no_address_leads_out_of_the_callers_files(target: Target) -> None:
    upload(target, OWNER, "mine", OURS)
    upload(target, OTHER, "theirs", THEIRS)
    await settled(target)
    before, wrong = target.everything(), list[str]()
    names = [target.filled(name) for name in NAMES]
    asked: list[tuple[str, ...]] = [(line,) for line in OF_THE_OTHER]
    asked += [(form.format(name),) for name in names for form in OPERATIONS]
    asked += [(form.format(name), FLEET) for name in names for form in AS_OWNER]
    for at in range(0, len(asked), 50):
        some = asked[at : at + 50]
        answers = await asyncio.gather(*(target.ask(*one) for one in some))
        for (line, *_), answer in zip(some, answers, strict=True):
            if answer.status not in {400, 403, 404, 405} or any(text in answer.body for text in (THEIRS, OUTSIDE)):
                wrong.append(f"{line}: {answer.status} {answer.body[:80]!r}")
    assert "\n".join(wrong) == ""
    assert target.everything() == before


async def test_what_only_looks_like_a_path_is_a_name_among_the_callers_files(target: Target) -> None:
    upload(target, OTHER, "theirs", THEIRS)
    await settled(target)
    before = target.everything()
    for name in map(target.filled, PLAIN):
        assert (await target.ask(f"POST /upload?filename={name}&total_size=1")).status == 200, name
    await settled(target)
    after = target.everything()
    assert {path: after.get(path) for path in before} == before
    assert all(f"/{OWNER}/" in path or OUR_OUTCOMES.search(path) for path in after.keys() - before.keys())
    for name in map(target.filled, PLAIN):
        assert (await target.ask(f"GET /files/{name.replace('.', '%2E')}")).body == b"x"


async def settled(target: Target) -> None:
    """Wait until nothing of any upload is temporary."""
    deadline = time.monotonic() + 30
    while any(
        path.startswith(target.temp) and ("/sessions/" in path or "/chunks/" in path) for path in target.everything()
    ):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
