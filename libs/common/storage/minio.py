"""The object store in MinIO, or any other S3: presigned URLs, asked for with aiohttp."""

import base64
import hashlib
import math
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime

import aiohttp

from libs.common.storage import (
    Body,
    ConditionFailed,
    Fence,
    Fetched,
    Listing,
    ObjectInfo,
    ObjectNotFound,
    Origin,
    StoreUnavailable,
)
from libs.common.storage._checks import check_condition, check_key, check_prefix
from libs.common.storage._s3_client import ONCE_MORE, READ_AGAIN, Answer, Request, S3Client
from libs.common.storage._s3_errors import NoSuchRange, Refused, document_failure, failure
from libs.common.storage._s3_multipart import META, S3Multipart, attributes, condition, copied, parsed
from libs.common.storage._s3_sign import KeyRing, Signer
from libs.common.storage._s3_time import answered_at
from libs.common.storage._s3_xml import (
    can_carry,
    deletion,
    listed_objects,
    location,
)

BLOCK = 2**20  # bytes, the most that a get yields at once
BATCH = 1000  # keys in one DeleteObjects request, by the S3 API
GRACE = 0.25  # seconds by which a fence may outlast a lease that begins with the look


def server_side_encryption(kind: str, key_id: str = "") -> dict[str, str]:
    """Headers that ask the store to encrypt a new object: with a key of its own (`s3`), or with one of a key
    management service (`kms`; without a key id, with the bucket's default).
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/serv-side-encryption.html"""
    if kind == "none":
        return {}
    header = "x-amz-server-side-encryption"
    key = {f"{header}-aws-kms-key-id": key_id} if key_id else {}
    return {header: "aws:kms" if kind == "kms" else "AES256", **key}


class MinioStore(S3Multipart):
    """One bucket. Several stores can share a session (`_s3_client.new_session`).

    Fences: the store refuses a request that arrives later than LEASE after the look's Date (whole seconds, so up to
    1 s earlier). What a fence is on never has a body of the object's.
    """

    def __init__(
        self,
        *,
        endpoint: str,
        access_key: str,
        secret_key: str,
        bucket: str,
        region: str = "us-east-1",
        secure: bool = False,
        session: aiohttp.ClientSession | None = None,
        clock: Callable[[], float] = time.time,
        tls: ssl.SSLContext | None = None,
        encryption: Mapping[str, str] | None = None,
        session_token: str = "",
        keys: KeyRing | None = None,
        virtual_host: bool = False,
    ) -> None:
        """`endpoint` is host:port. Without a session the store makes its own, with `tls` on its connections.
        `encryption`: see `server_side_encryption`; `keys`, `virtual_host`: see `S3Client`."""
        signer = Signer(endpoint, access_key, secret_key, region, secure, session_token)
        client = S3Client(signer, bucket, session, clock, tls, keys, virtual_host=virtual_host)
        super().__init__(client, encryption or {})
        self._region = region
        self._bucket = bucket

    async def ensure(self) -> None:
        if await self._is_there():
            return
        try:
            await self._client.send(Request(method="PUT", body=location(self._region)))
        except Refused:
            if not await self._is_there():  # else another process was faster
                raise

    async def _is_there(self) -> bool:
        try:
            await self._client.send(Request(method="HEAD", pauses=READ_AGAIN))
        except (ObjectNotFound, Refused):
            return False
        return True

    async def close(self) -> None:
        await self._client.close()

    def origin(self, key: str, size: int) -> Origin:
        check_key(key)
        return Origin(self._bucket, key, size)

    async def put(
        self,
        key: str,
        body: Body,
        *,
        absent: bool = False,
        match: str = "",
        fence: Fence | None = None,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        check_key(key)
        check_condition(body, absent, match)
        headers = {**attributes(content_type, metadata), **self._encryption, **condition(absent, match)}
        if isinstance(body, Origin):
            headers["x-amz-metadata-directive"] = "REPLACE"
            return (await copied(self._client, key, body, headers=headers, fence=fence)).text("ETag")
        request = Request(method="PUT", key=key, headers=headers, body=body, fence=fence)
        if fence is None or absent or match or not request.size:
            etag = (await self._sent(request, match)).headers.get("ETag", "")
            if (absent or match) and not etag:
                raise StoreUnavailable(f"{key}: the store does not tell the etag")
            return etag
        # The store checks the fence when a request's head arrives, but its body may arrive at any time after that.
        # So the body goes first, as a part, and what the fence is on is the request that makes it the object.
        upload = await self.create_multipart(key, part_size=request.size, content_type=content_type, metadata=metadata)
        try:
            part = await self.put_part(key, upload, 1, body)
            await self.complete_multipart(key, upload, [part], fence=fence)
            return ""
        except BaseException:
            await self.abort_multipart(key, upload)
            raise

    async def _sent(self, request: Request, match: str) -> Answer:
        try:
            return await self._client.send(request)
        except ObjectNotFound:
            if match:  # so AWS and versitygw say that no object is there to be replaced
                raise ConditionFailed(request.key) from None
            raise

    @asynccontextmanager
    async def get(
        self, key: str, start: int = 0, end: int | None = None, *, etag: str = ""
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        response = await self._open(key, start, end, etag)
        if response is None:
            yield _nothing()
            return
        try:
            yield self._client.blocks(response, BLOCK)
        finally:
            response.close()

    async def _open(self, key: str, start: int, end: int | None, etag: str) -> aiohttp.ClientResponse | None:
        """None where the object holds no byte of the range."""
        check_key(key)
        if end is not None and end <= start:
            if etag not in ("", (await self.stat(key)).etag):
                raise ObjectNotFound(key)
            return None
        headers = {"If-Match": etag} if etag else {}
        ranged = bool(start or end)
        if ranged:
            headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        try:
            response = await self._client.open(Request(method="GET", key=key, headers=headers, pauses=READ_AGAIN))
        except NoSuchRange:
            return None
        except ConditionFailed:
            raise ObjectNotFound(key) from None  # it is not any more the one that had the etag
        if ranged and response.status != 206:
            response.close()
            raise StoreUnavailable(f"{key}: asked for a range, and got something else")
        return response

    async def fetch(self, key: str, *, known: str = "") -> Fetched:
        check_key(key)
        headers = {"If-None-Match": known} if known else {}
        request = Request(method="GET", key=key, headers=headers, pauses=READ_AGAIN, accepts=(304, 404))
        answer = await self._client.send(request)
        fence = Fence(_looked_at(answer))
        if answer.status == 304:
            return Fetched(fence, unchanged=True)
        if answer.status == 404:
            failed = document_failure(answer.body, f"GET {key}", False, 404)
            if not isinstance(failed, ObjectNotFound):
                raise failed  # the bucket is gone
            return Fetched(fence)
        modified = parsedate_to_datetime(answer.headers["Last-Modified"]).timestamp()
        info = ObjectInfo(key, len(answer.body), modified, etag=answer.headers["ETag"])
        return Fetched(fence, info, answer.body)

    async def stat(self, key: str) -> ObjectInfo:
        check_key(key)
        headers = (await self._client.send(Request(method="HEAD", key=key, pauses=READ_AGAIN))).headers
        metadata = {
            name.lower().removeprefix(META): value for name, value in headers.items() if name.lower().startswith(META)
        }
        modified = parsedate_to_datetime(headers["Last-Modified"]).timestamp()
        about = headers.get("Content-Type", ""), metadata, headers.get("ETag", "")
        return ObjectInfo(key, int(headers["Content-Length"]), modified, *about)

    async def list(self, prefix: str, *, start_after: str = "", limit: int = 1000) -> Listing:
        check_prefix(prefix)
        query = {"list-type": "2", "encoding-type": "url", "max-keys": str(limit), "prefix": prefix}
        if start_after:
            query["start-after"] = start_after
        answer = await self._client.send(Request(method="GET", query=query, pauses=READ_AGAIN))
        document = parsed(answer.body, "ListBucketResult", f"GET {prefix}")
        truncated = document.text("IsTruncated") == "true"
        return Listing(listed_objects(document), truncated, Fence(_looked_at(answer)))

    async def delete(self, key: str, *, match: str = "", fence: Fence | None = None) -> None:
        check_key(key)
        # By POST: the HTTP client sends a DELETE again, on its own, where the store closed the connection.
        await self._delete([key], fence, etag=match, pauses=())

    async def delete_many(self, keys: Sequence[str], *, fence: Fence | None = None) -> None:
        for key in keys:
            check_key(key)
        plain = [key for key in keys if can_carry(key)]
        for at in range(0, len(plain), BATCH):
            await self._delete(plain[at : at + BATCH], fence)
        for key in keys:
            if not can_carry(key):
                await self._client.send(Request(method="DELETE", key=key, fence=fence))

    async def _delete(
        self, keys: Sequence[str], fence: Fence | None, *, etag: str = "", pauses: tuple[float, ...] = ONCE_MORE
    ) -> None:
        body = deletion(keys, etag)
        md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        request = Request(
            method="POST",
            query={"delete": ""},
            headers={"Content-MD5": md5, "Content-Type": "application/xml"},
            body=body,
            fence=fence,
            pauses=pauses,
        )
        document = parsed((await self._client.send(request)).body, "DeleteResult", "POST ?delete", fence)
        for key, code, message in document.records("Error", "Key", "Code", "Message"):
            if code not in ("NoSuchKey", "PreconditionFailed"):
                raise failure(f"DELETE {key}", fence is not None, 403, code, message)


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


def _looked_at(answer: Answer) -> float:
    """The store's time when the look began. The Date is of its end, and whole seconds are all that can be signed: a
    look that took more than GRACE makes the fence shorter rather than longer."""
    date = answered_at(answer.headers)
    if date is None:
        raise StoreUnavailable("the store does not tell its time")
    return date - max(0, math.ceil(answer.seconds - GRACE))
