"""What the S3 store makes of answers that a healthy MinIO does not give (see tests/contract/test_store.py)."""

import asyncio
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
import structlog

from libs.common.storage import (
    Fence,
    FenceExpired,
    ObjectNotFound,
    PartInfo,
    StoreFull,
    StoreUnavailable,
    Stream,
    UploadNotFound,
    list_all,
    read,
)
from libs.common.storage._s3_client import new_session
from libs.common.storage._s3_sign import Signer
from libs.common.storage.minio import MinioStore
from tests.unit.scripted_server import HANG_UP, Script, answer, error, scripted

NOON = 1_795_348_800.0  # DATE of the scripted answers
PARTS = [PartInfo(1, 5, "e1")]
EMPTY_PAGE = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
UNFINISHED = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na"
DELETED = b"<DeleteResult></DeleteResult>"
COMPLETED = b"<CompleteMultipartUploadResult></CompleteMultipartUploadResult>"
EXPIRED = error(403, "AccessDenied", "Request has expired")
NOT_YET = error(403, "AccessDenied", "Request is not valid yet")
SLOW_DOWN = error(503, "SlowDown")


@asynccontextmanager
async def store_that_hears(
    *answers: bytes, clock: Callable[[], float] = lambda: NOON, region: str = "us-east-1"
) -> AsyncIterator[tuple[MinioStore, Script]]:
    async with scripted(answers) as script:
        store = MinioStore(
            endpoint=script.endpoint,
            access_key="access",
            secret_key="very-secret",
            bucket="bucket",
            region=region,
            clock=clock,
        )
        try:
            yield store, script
        finally:
            await store.close()


class TestSigning:
    def test_the_url_is_that_of_amazons_own_example(self) -> None:
        """https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html"""
        signer = Signer(
            "examplebucket.s3.amazonaws.com",
            "AKIAIOSFODNN7EXAMPLE",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            secure=True,
        )
        url = signer.url("GET", "/test.txt", {}, {}, issued=1369353600, seconds=86400)
        assert url.query["X-Amz-Signature"] == "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
        assert str(url).startswith("https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=")

    def test_a_default_port_is_not_signed_because_no_client_sends_it(self) -> None:
        with_port, without = (
            Signer(host, "a", "b").url("GET", "/", {}, {}, issued=0, seconds=1) for host in ("h:80", "h")
        )
        assert with_port.query == without.query

    def test_a_signer_does_not_tell_its_secret(self) -> None:
        assert "very-secret" not in repr(Signer("h", "a", "very-secret"))


class TestTryingAgain:
    async def test_a_read_is_tried_again_while_the_store_is_busy(self) -> None:
        async with store_that_hears(SLOW_DOWN, HANG_UP, answer(200, EMPTY_PAGE)) as (store, script):
            assert (await store.list("")).objects == []
            assert len(script.requests) == 3

    async def test_a_read_is_not_tried_for_ever(self) -> None:
        async with store_that_hears(*[SLOW_DOWN] * 9) as (store, script):
            with pytest.raises(StoreUnavailable, match="503 SlowDown"):
                await store.list_parts("k", "u")
            assert len(script.requests) == 3

    async def test_a_listing_that_breaks_off_is_tried_again(self) -> None:
        half = answer(200, EMPTY_PAGE[:20], length=len(EMPTY_PAGE), Connection="close")
        async with store_that_hears(half, HANG_UP, answer(200, EMPTY_PAGE)) as (store, _):
            assert (await store.list("")).objects == []

    async def test_a_refusal_is_not_tried_again(self) -> None:
        async with store_that_hears(*[error(403, "InvalidAccessKeyId")] * 9) as (store, script):
            with pytest.raises(StoreUnavailable, match="InvalidAccessKeyId: check MINIO_ACCESS_KEY"):
                await store.list("")
            assert len(script.requests) == 1

    async def test_a_store_without_room_is_full(self) -> None:
        async with store_that_hears(*[error(507, "XMinioStorageFull")] * 9) as (store, _):
            with pytest.raises(StoreFull, match="the store is full"):
                await store.put("k", b"x")

    async def test_a_busy_store_refuses_a_write_at_once(self) -> None:
        async with store_that_hears(*[SLOW_DOWN] * 9) as (store, script):
            with pytest.raises(StoreUnavailable, match="SlowDown"):
                await store.put("k", b"x")
            assert len(script.requests) == 1

    @pytest.mark.parametrize(
        ("call", "said"),
        [
            (lambda store: store.put("k", b"body"), answer(200)),
            (lambda store: store.put("k", Stream(4, twice)), answer(200)),
            (lambda store: store.put_part("k", "u", 1, Stream(4, twice)), answer(200, ETag='"e"')),
            (lambda store: store.delete_many(["k"]), answer(200, DELETED)),
            (lambda store: store.complete_multipart("k", "u", PARTS), answer(200, COMPLETED)),
            (lambda store: store.abort_multipart("k", "u"), answer(204)),
        ],
    )
    async def test_a_kept_connection_that_the_store_closed_is_no_failure(
        self, call: Callable[[MinioStore], Awaitable[object]], said: bytes
    ) -> None:
        async with store_that_hears(answer(200, EMPTY_PAGE), HANG_UP, said) as (store, script):
            await store.list("")
            await call(store)
            assert len(script.requests) == 3
            assert script.bodies[1] == script.bodies[2]
            assert script.connections == 2


async def twice() -> AsyncIterator[bytes]:
    yield b"bo"
    yield b"dy"


class TestTime:
    @pytest.mark.parametrize(("hours", "refusal"), [(-3, EXPIRED), (3, NOT_YET)])
    async def test_a_clock_that_is_wrong_is_set_right_by_the_first_answer_and_told_once(
        self, hours: int, refusal: bytes
    ) -> None:
        wrong = NOON + hours * 3600
        with structlog.testing.capture_logs() as logs:
            async with store_that_hears(refusal, answer(200), answer(200), clock=lambda: wrong) as (
                store,
                script,
            ):
                await store.put("k", b"x")
                await store.put("k", b"x")
        assert ["20261122T120000Z" in request for request in script.requests] == [False, True, True]
        assert [(entry["log_level"], entry["seconds"]) for entry in logs] == [("warning", -hours * 3600)]

    @pytest.mark.parametrize("refusal", [EXPIRED, NOT_YET, error(403, "RequestTimeTooSkewed")])
    async def test_a_store_that_takes_no_time_is_reported_as_such(self, refusal: bytes) -> None:
        async with store_that_hears(refusal, refusal) as (store, _):
            with pytest.raises(StoreUnavailable, match="clocks of this machine and of the store differ"):
                await store.put("k", b"x")

    async def test_a_fence_signs_with_the_time_of_the_look_and_lives_for_a_lease(self) -> None:
        async with store_that_hears(answer(200, EMPTY_PAGE), EXPIRED, clock=lambda: NOON + 7) as (
            store,
            script,
        ):
            fence = (await store.list("")).fence
            assert fence == Fence(NOON)
            with pytest.raises(FenceExpired):
                await store.put("k", b"", fence=fence)
        assert "X-Amz-Date=20261122T120000Z&X-Amz-Expires=2&" in script.requests[1]

    async def test_a_fence_is_on_the_request_that_makes_the_object_and_not_on_its_body(self) -> None:
        """The store checks a fence when a head arrives: a body may come long after."""
        opened = answer(200, b"<InitiateMultipartUploadResult><UploadId>u-1</UploadId></InitiateMultipartUploadResult>")
        part = answer(200, b"", ETag='"e"')
        async with store_that_hears(opened, part, EXPIRED, answer(204, b"")) as (store, script):
            with pytest.raises(FenceExpired):
                await store.put("k", b"the bytes", fence=Fence(NOON))
            fenced = ["X-Amz-Expires=2&" in request for request in script.requests]
            assert fenced == [False, False, True, False]
            assert script.bodies[1] == b"the bytes"
            assert script.requests[3].startswith("DELETE ")
            assert "uploadId=u-1" in script.requests[3]

    async def test_a_slow_look_counts_from_its_beginning(self) -> None:
        async with store_that_hears(answer(200, EMPTY_PAGE)) as (store, script):
            script.pause = 0.4
            assert (await store.list("")).fence == Fence(NOON - 1)

    async def test_a_look_at_a_store_without_a_clock_is_no_look(self) -> None:
        async with store_that_hears(answer(200, EMPTY_PAGE, date="")) as (store, _):
            with pytest.raises(StoreUnavailable, match="does not tell its time"):
                await store.list("")


class TestAnswers:
    async def test_a_body_that_breaks_off_is_unavailable_after_the_good_blocks(self) -> None:
        said = answer(200, b"good", length=10, Connection="close")
        async with store_that_hears(said) as (store, _), store.get("k") as blocks:
            assert await anext(blocks) == b"good"
            with pytest.raises(StoreUnavailable, match="broke off"):
                await anext(blocks)

    async def test_an_answer_that_ignores_the_range_is_not_taken_for_it(self) -> None:
        async with store_that_hears(answer(200, b"the whole")) as (store, _):
            with pytest.raises(StoreUnavailable, match="something else"):
                await read(store, "k", 4, 6)

    @pytest.mark.parametrize(
        ("code", "expected"),
        [("InternalError", StoreUnavailable), ("NoSuchUpload", UploadNotFound), ("InvalidPart", ValueError)],
    )
    async def test_an_error_that_comes_as_a_success_is_an_error(self, code: str, expected: type[Exception]) -> None:
        said = answer(200, f"\n <Error><Code>{code}</Code></Error>".encode())
        async with store_that_hears(said) as (store, _):
            with pytest.raises(expected):
                await store.complete_multipart("k", "u", PARTS)

    async def test_an_answer_that_is_not_xml_is_unavailable(self) -> None:
        async with store_that_hears(answer(200, b"<html"), answer(200, b"<html"), error(502, "")) as (
            store,
            _,
        ):
            with pytest.raises(StoreUnavailable, match="not XML"):
                await store.list("")
            with pytest.raises(StoreUnavailable, match="not XML"):
                await store.delete_many(["k"])
            with pytest.raises(StoreUnavailable, match="502"):
                await store.put("k", b"")

    @pytest.mark.parametrize("body", [b"<Error><Code>InternalError</Code></Error>", b"<html><p>Maintenance</p></html>"])
    async def test_a_200_that_is_not_the_answer_is_unavailable(self, body: bytes) -> None:
        """Not an empty bucket, nor an object that is deleted."""
        async with store_that_hears(*[answer(200, body)] * 6) as (store, _):
            for call in (
                store.list("sessions/"),
                store.delete_many(["k"]),
                store.list_parts("k", "u"),
                store.create_multipart("k", part_size=9),
                store.put("k", store.origin("chunk", 9)),
                store.put_part("k", "u", 1, store.origin("chunk", 9)),
            ):
                with pytest.raises(StoreUnavailable, match=r"InternalError|no \w+Result"):
                    await call

    async def test_an_error_page_of_a_proxy_is_unavailable(self) -> None:
        async with store_that_hears(answer(502, b"<html><p>Bad Gateway")) as (store, _):
            with pytest.raises(StoreUnavailable, match="502 without saying why"):
                await store.put("k", b"")

    async def test_a_redirect_is_refused_because_the_url_is_signed(self) -> None:
        async with store_that_hears(answer(307, Location="http://127.0.0.1:1/")) as (store, _):
            with pytest.raises(StoreUnavailable, match="307"):
                await store.put("k", b"")

    async def test_an_answer_without_a_body_is_told_apart_by_its_status(self) -> None:
        async with store_that_hears(answer(404), answer(404, X_Minio_Error_Code="NoSuchBucket")) as (
            store,
            _,
        ):
            with pytest.raises(ObjectNotFound):
                await store.stat("k")
            with pytest.raises(StoreUnavailable, match="NoSuchBucket: the bucket is gone"):
                await store.stat("k")

    async def test_an_object_that_could_not_be_deleted_is_unavailable(self) -> None:
        fine = "<Error><Key>a</Key><Code>NoSuchKey</Code></Error>"
        bad = "<Error><Key>b</Key><Code>InternalError</Code></Error>"
        said = [answer(200, f"<DeleteResult>{rows}</DeleteResult>".encode()) for rows in (fine, fine + bad)]
        async with store_that_hears(*said) as (store, _):
            await store.delete_many(["a", "b"])
            with pytest.raises(StoreUnavailable, match="InternalError"):
                await store.delete_many(["a", "b"])

    async def test_an_empty_page_that_is_not_the_last_is_unavailable(self) -> None:
        page = answer(200, b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>")
        async with store_that_hears(page) as (store, _):
            with pytest.raises(StoreUnavailable, match="empty"):
                await list_all(store, "sessions/")

    async def test_parts_come_in_pages(self) -> None:
        day = "2026-11-22T12:00:00.500Z"

        def page(numbers: Sequence[int], rest: str) -> bytes:
            rows = "".join(
                f'<Part><PartNumber>{n}</PartNumber><Size>5</Size><ETag>"e{n}"</ETag>'
                f"<LastModified>{day}</LastModified></Part>"
                for n in numbers
            )
            return answer(200, f"<ListPartsResult>{rest}{rows}</ListPartsResult>".encode())

        more = "<IsTruncated>true</IsTruncated><NextPartNumberMarker>1000</NextPartNumberMarker>"
        first = page(range(1, 1001), more)
        async with store_that_hears(first, page([1001], "<IsTruncated>false</IsTruncated>")) as (
            store,
            script,
        ):
            parts = await store.list_parts("k", "u")
        assert [part.number for part in parts] == list(range(1, 1002))
        assert parts[-1] == PartInfo(1001, 5, "e1001")
        assert parts[-1].modified == NOON + 0.5
        assert "part-number-marker=1000" in script.requests[1]


class TestBucket:
    async def test_a_bucket_that_another_process_makes_at_the_same_moment_is_made(self) -> None:
        said = [answer(404), error(409, "OperationAborted"), answer(200)]
        async with store_that_hears(*said) as (store, script):
            await store.ensure()
        assert [request.split("?")[0] for request in script.requests] == [
            "HEAD /bucket",
            "PUT /bucket",
            "HEAD /bucket",
        ]

    async def test_a_bucket_is_made_in_its_region(self) -> None:
        async with store_that_hears(answer(404), answer(200), region="eu-west-1") as (store, script):
            await store.ensure()
        assert b"<LocationConstraint>eu-west-1</LocationConstraint>" in script.bodies[1]

    async def test_a_bucket_that_may_not_be_made_is_unavailable(self) -> None:
        said = [answer(404), error(403, "AccessDenied", "no"), answer(404)]
        async with store_that_hears(*said) as (store, _):
            with pytest.raises(StoreUnavailable, match="AccessDenied: the access key is not allowed"):
                await store.ensure()

    async def test_buckets_share_a_session_that_outlives_them(self) -> None:
        session = new_session()
        async with scripted([answer(200, EMPTY_PAGE), answer(200, EMPTY_PAGE)]) as script:
            for bucket in ("temp", "perm"):
                store = MinioStore(
                    endpoint=script.endpoint, access_key="a", secret_key="b", bucket=bucket, session=session
                )
                await store.list("")
                await store.close()
        assert script.connections == 1
        assert not session.closed
        await session.close()

    async def test_a_bucket_that_was_never_asked_closes(self) -> None:
        await MinioStore(endpoint="127.0.0.1:1", access_key="a", secret_key="b", bucket="c").close()


class TestConnections:
    async def test_answers_that_are_being_read_keep_no_other_call_waiting(self) -> None:
        """A hundred connections are all that one pool has."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while head := await reader.readuntil(b"\r\n\r\n"):
                    writer.write(answer(200, EMPTY_PAGE) if b"list-type" in head else UNFINISHED)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        store = MinioStore(endpoint=f"{host}:{port}", access_key="a", secret_key="b", bucket="c")
        async with server, AsyncExitStack() as stack:
            stack.push_async_callback(store.close)
            for _ in range(100):
                await anext(await stack.enter_async_context(store.get("a")))
            async with asyncio.timeout(5):
                await store.list("")


class TestBrokenBodies:
    async def test_a_store_that_does_not_answer_is_given_up(self) -> None:
        begun = time.monotonic()
        async with store_that_hears(answer(200)) as (store, script):
            script.pause = 60
            with pytest.raises(StoreUnavailable, match="Timeout"):
                await store.put("k", b"x")
        assert time.monotonic() - begun < 5

    async def test_no_failure_tells_the_url_because_it_is_signed(self) -> None:
        """aiohttp's own errors do, for answers that are not HTTP and for bodies that raise OSError."""

        async def broken() -> AsyncIterator[bytes]:
            yield b"x"
            raise OSError("the spool file is gone")

        async with store_that_hears(b"not HTTP\r\n\r\n", HANG_UP) as (store, _):
            with pytest.raises(StoreUnavailable) as from_store:
                await store.put("k", b"x")
            with pytest.raises(OSError, match="spool file") as from_body:
                await store.put("k", Stream(2, broken))
        for raised in (from_store.value, from_body.value):
            assert "X-Amz" not in "".join(traceback.format_exception(raised))

    async def test_a_body_that_is_given_up_is_not_sent_to_its_end(self) -> None:
        go_on, received = asyncio.Event(), asyncio.Queue[int]()

        async def read_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await go_on.wait()
            received.put_nowait(len(await reader.read()))
            writer.close()

        async def blocks() -> AsyncIterator[bytes]:
            yield bytes(32 * 2**20)

        async with listening(read_late) as store:
            put = asyncio.create_task(store.put("k", Stream(32 * 2**20, blocks)))
            await asyncio.sleep(0.3)
            put.cancel()
            with pytest.raises(asyncio.CancelledError):
                await put
            go_on.set()
            assert await received.get() < 32 * 2**20


@asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[MinioStore]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    endpoint = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    store = MinioStore(endpoint=endpoint, access_key="a", secret_key="b", bucket="c")
    async with server:
        try:
            yield store
        finally:
            await store.close()
