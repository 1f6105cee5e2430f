"""What each call costs the store, by itself: the floor under everything that is built of such calls."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.load import MIB, random_bytes, together
from benchmarks.servers import HOST, Store, cpu
from benchmarks.systems import empty_bucket, make_bucket
from benchmarks.wire import Connection, expect
from libs.common.storage import PartInfo
from libs.common.storage._s3_xml import Document, completion

AT_ONCE = 8  # connections
KIB = 1024
BUCKET, OTHER = "calls-from", "calls-to"
XML = b"Content-Type: application/xml\r\n"
Call = Callable[[Connection, int], None]


class Calls:
    """The calls, on objects `{size}/{n}` of one bucket."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, size: int) -> Call:
        body = random_bytes(size)
        return lambda peer, n: self._ask(peer, "PUT", f"/{BUCKET}/{size}/{n}", body)

    def get(self, size: int) -> Call:
        return lambda peer, n: self._ask(peer, "GET", f"/{BUCKET}/{size}/{n}")

    def head(self, size: int) -> Call:
        return lambda peer, n: self._ask(peer, "HEAD", f"/{BUCKET}/{size}/{n}")

    def delete(self, size: int) -> Call:
        return lambda peer, n: self._ask(peer, "DELETE", f"/{BUCKET}/{size}/{n}")

    def list(self, prefix: str) -> Call:
        query = {"list-type": "2", "max-keys": "1000", "prefix": prefix}
        return lambda peer, n: self._ask(peer, "GET", f"/{BUCKET}", query=query)

    def copy(self, size: int) -> Call:
        def call(peer: Connection, n: int) -> None:
            self._copy(peer, f"/{BUCKET}/{size}/{n}", f"/{OTHER}/{size}/{n}")

        return call

    def part(self, size: int, *, copied: bool) -> Call:
        """An upload of one part."""

        def call(peer: Connection, n: int) -> None:
            key = f"/{OTHER}/parts/{n}"
            target = self._store.target("POST", key, {"uploads": ""})
            upload = Document(expect(peer.ask("POST", target), 200).body).text("UploadId")
            place = {"partNumber": "1", "uploadId": upload}
            if copied:
                etag = Document(self._copy(peer, f"/{BUCKET}/{size}/{n}", key, place)).text("ETag").strip('"')
            else:
                answer = peer.ask("PUT", self._store.target("PUT", key, place), b"", random_bytes(size))
                etag = expect(answer, 200).field("ETag").strip('"')
            body = completion([PartInfo(1, size, etag)])
            expect(peer.ask("POST", self._store.target("POST", key, {"uploadId": upload}), XML, body), 200)

        return call

    def _ask(
        self,
        peer: Connection,
        method: str,
        path: str,
        body: bytes | memoryview = b"",
        query: Mapping[str, str] | None = None,
    ) -> None:
        expect(peer.ask(method, self._store.target(method, path, query), b"", body, keep=False), 200, 204)

    def _copy(self, peer: Connection, source: str, path: str, query: Mapping[str, str] | None = None) -> bytes:
        signed = {"x-amz-copy-source": source}
        fields = b"x-amz-copy-source: %s\r\n" % source.encode()
        return expect(peer.ask("PUT", self._store.target("PUT", path, query, signed), fields), 200).body


def measure(store: Store, say: Callable[[str], None]) -> list[dict[str, Any]]:
    for bucket in (BUCKET, OTHER):
        make_bucket(store, bucket)
    calls = Calls(store)
    plan: list[tuple[str, int, Call]] = [
        ("PUT of nothing", 400, calls.put(0)),
        ("LIST, 400 keys", 40, calls.list("0/")),
        ("LIST, nothing", 200, calls.list("none/")),
        ("HEAD", 400, calls.head(0)),
        ("DELETE", 400, calls.delete(0)),
        *_of_size("10 KiB", 10 * KIB, 200, calls),
        *_of_size("64 KiB", 64 * KIB, 200, calls),
        *_of_size("1 MiB", MIB, 80, calls),
        *_of_size("8 MiB", 8 * MIB, 24, calls),
    ]
    rows = [_row(store, *each) for each in plan]
    for row in rows:
        say(f"store calls: {row}")
    for bucket in (BUCKET, OTHER):
        empty_bucket(store, bucket)
    return rows


def _of_size(name: str, size: int, count: int, calls: Calls) -> list[tuple[str, int, Call]]:
    return [
        (f"PUT, {name}", count, calls.put(size)),
        (f"GET, {name}", count, calls.get(size)),
        (f"copy, {name}", count, calls.copy(size)),
        (f"multipart upload of one part, {name}", count, calls.part(size, copied=False)),
        (f"the same, its part copied, {name}", count, calls.part(size, copied=True)),
    ]


def _row(store: Store, name: str, count: int, call: Call) -> dict[str, Any]:
    peers = [Connection(HOST, store.port) for _ in range(AT_ONCE)]

    def work(first: int) -> None:
        for n in range(first, count, AT_ONCE):
            call(peers[first], n)

    used, began = cpu([store.program])["minio"], time.monotonic()
    together([lambda first=first: work(first) for first in range(AT_ONCE)])  # type: ignore[misc]
    seconds = time.monotonic() - began
    time.sleep(0.2)
    used = cpu([store.program])["minio"] - used
    for peer in peers:
        peer.close()
    return {
        "call": name,
        "ms of processor time of MinIO": 1000 * used / count,
        f"ms, {AT_ONCE} in flight": 1000 * seconds / count,
    }
