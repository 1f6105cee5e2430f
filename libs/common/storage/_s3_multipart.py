"""Multipart uploads in S3."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from urllib.parse import quote

from libs.common.storage import Body, Fence, Origin, PartInfo, StoreUnavailable, UploadNotFound
from libs.common.storage._checks import check_key, check_metadata, check_part_number, check_parts
from libs.common.storage._s3_client import ONCE_MORE, READ_AGAIN, Request, S3Client
from libs.common.storage._s3_errors import document_failure
from libs.common.storage._s3_xml import Document, completion, listed_parts

JOINING = 15.0  # seconds of silence: S3 joins the parts first, and then sends a blank every 10 s
META = "x-amz-meta-"


class S3Multipart:
    """That half of the port."""

    def __init__(self, client: S3Client, encryption: Mapping[str, str]) -> None:
        """`encryption`: headers with which new objects ask to be encrypted."""
        self._client = client
        self._encryption = encryption

    async def create_multipart(
        self,
        key: str,
        *,
        part_size: int,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        check_key(key)
        headers = {**attributes(content_type, metadata), **self._encryption}
        request = Request(method="POST", key=key, query={"uploads": ""}, headers=headers)
        answer = await self._client.send(request)
        return parsed(answer.body, "InitiateMultipartUploadResult", f"POST {key}").text("UploadId")

    async def put_part(self, key: str, upload_id: str, number: int, body: Body) -> PartInfo:
        check_part_number(number)
        query = {"partNumber": str(number), "uploadId": upload_id}
        if isinstance(body, Origin):
            document = await copied(self._client, key, body, query)
            return PartInfo(number, body.size, document.text("ETag").strip('"'))
        request = Request(method="PUT", key=key, query=query, body=body)
        answer = await self._client.send(request)
        return PartInfo(number, request.size, answer.headers["ETag"].strip('"'))

    async def list_parts(self, key: str, upload_id: str) -> Sequence[PartInfo]:
        parts: list[PartInfo] = []
        marker = "0"
        while marker:
            query = {"uploadId": upload_id, "max-parts": "1000", "part-number-marker": marker}
            request = Request(method="GET", key=key, query=query, pauses=READ_AGAIN)
            document = parsed((await self._client.send(request)).body, "ListPartsResult", f"GET {key}")
            parts += listed_parts(document)
            truncated = document.text("IsTruncated") == "true"
            marker = document.text("NextPartNumberMarker") if truncated else ""
        return parts

    async def complete_multipart(
        self,
        key: str,
        upload_id: str,
        parts: Sequence[PartInfo],
        *,
        absent: bool = False,
        fence: Fence | None = None,
    ) -> None:
        check_parts(parts)
        request = Request(
            method="POST",
            key=key,
            query={"uploadId": upload_id},
            headers={"Content-Type": "application/xml", **condition(absent)},
            body=completion(parts),
            fence=fence,
            pauses=() if absent else ONCE_MORE,  # the second try would be refused for what the first one did
            patience=JOINING,
        )
        answer = await self._client.send(request)
        parsed(answer.body, "CompleteMultipartUploadResult", f"POST {key}", fence)

    async def abort_multipart(self, key: str, upload_id: str) -> None:
        with suppress(UploadNotFound):
            await self._client.send(Request(method="DELETE", key=key, query={"uploadId": upload_id}))


async def copied(
    client: S3Client,
    key: str,
    origin: Origin,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    fence: Fence | None = None,
) -> Document:
    """Let the store copy an object to a key or into a part; what it answers."""
    source = {"x-amz-copy-source": quote(f"/{origin.place}/{origin.key}")}
    request = Request(
        method="PUT",
        key=key,
        query=query or {},
        headers={**source, **(headers or {})},
        fence=fence,
        pauses=ONCE_MORE,
        patience=JOINING,
    )
    answer = await client.send(request)
    return parsed(answer.body, "CopyPartResult" if query else "CopyObjectResult", f"PUT {key}", fence)


def condition(absent: bool, match: str = "") -> dict[str, str]:
    """RFC 9110, section 13.1, as stores take it on writes
    (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html)."""
    return {"If-None-Match": "*"} if absent else {"If-Match": match} if match else {}


def attributes(content_type: str, metadata: Mapping[str, str] | None) -> dict[str, str]:
    meta = {f"{META}{name}": value for name, value in check_metadata(metadata or {}).items()}
    return {"Content-Type": content_type, **meta}


def parsed(body: bytes, root: str, what: str, fence: Fence | None = None) -> Document:
    """The answer of a request that was answered with 200: S3 sends that before it begins, and may end with an error;
    and a proxy may send a page of its own. `root`: the name of the element that is expected."""
    try:
        document = Document(body)
    except ValueError as error:
        raise StoreUnavailable(f"{what}: {error}") from None
    if document.tag == "Error":
        raise document_failure(body, what, fence is not None, 500)
    if document.tag != root:
        raise StoreUnavailable(f"{what}: the store's answer is no {root}")
    return document
