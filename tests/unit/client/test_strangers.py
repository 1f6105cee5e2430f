"""What the client makes of answers that are not from a HiPER server, and of none."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from libs.client import HiperClient, transport
from libs.client.errors import AnswerError, GatewayError, HiperError, ServerAwayError, TlsError, UntrustedServerError
from libs.common.problems import Kind, Problem
from tests.unit.client.live import LiveServer
from tests.unit.client.tls_edge import Tls

OURS = "X-Request-Id: 1"  # what every answer of the server carries
Stranger = Callable[[bytes], Awaitable[str]]


class Tokens:
    """A token without asking anybody."""

    async def token(self) -> str:
        return "token"

    def expire(self, token: str) -> None:
        raise AssertionError("no stranger here answers 401")


@pytest.fixture
async def stranger() -> AsyncIterator[Stranger]:
    """Starts something that says the same to everybody who asks, and tells its address. Nothing: says nothing."""
    servers: list[asyncio.Server] = []
    writers: list[asyncio.StreamWriter] = []

    async def start(answer: bytes) -> str:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            await reader.read(1000)
            writer.write(answer)
            if answer:
                await asyncio.sleep(0.02)  # so that what was sent is seen before the end
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        servers.append(server)
        return f"127.0.0.1:{server.sockets[0].getsockname()[1]}"

    yield start
    for writer in writers:
        writer.close()
        await writer.wait_closed()
    for server in servers:
        server.close()
        await server.wait_closed()


def http(status: str, content_type: str, body: str, *more: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}", *more]
    return "\r\n".join([*head, "", body]).encode()


async def ask(address: str, *, scheme: str = "http", retry_for: float = 0) -> HiperError:
    async with HiperClient(f"{scheme}://{address}", tokens=Tokens(), retry_for=retry_for) as client:
        with pytest.raises(HiperError) as caught:
            await client.status("f")
        return caught.value


async def test_a_web_page_is_not_taken_for_an_answer(stranger: Stranger) -> None:
    address = await stranger(http("200 OK", "text/html", "<p>Welcome</p>"))
    error = await ask(address)
    assert isinstance(error, GatewayError)
    assert str(error) == f"a gateway answered 200 OK instead of http://{address}"
    assert (error.retry, "portal" in error.hint) == ("yes", True)


async def test_what_answers_like_another_service_is_not_taken_for_the_server(stranger: Stranger) -> None:
    error = await ask(await stranger(http("200 OK", "application/json", "{}", OURS)))
    assert "not like a HiPER server" in str(error)


async def test_a_redirect_is_named_and_not_followed(stranger: Stranger) -> None:
    address = await stranger(http("301 Moved", "text/html", "", "Location: https://files.example/"))
    assert str(await ask(address)) == f"a gateway sends us from http://{address} to https://files.example/"


@pytest.mark.parametrize(
    ("status", "retry"),
    [("502 Bad Gateway", "yes"), ("404 Not Found", "yes"), ("511 Login", "yes"), ("302 Found", "yes"),
     ("400 Bad Request", "few"), ("401 Unauthorized", "few"), ("407 Proxy Login", "no"), ("308 Moved", "no")],
)  # fmt: skip
async def test_a_gateway_s_page_says_nothing_about_a_file(stranger: Stranger, status: str, retry: str) -> None:
    error = await ask(await stranger(http(status, "text/html", "<p>sorry</p>", OURS)))
    assert (type(error), error.retry) == (GatewayError, retry)


@pytest.mark.parametrize("type_", ["https://example.com/not-found", "urn:other:problem:not-found"])
async def test_a_problem_of_another_service_says_nothing_about_a_file(stranger: Stranger, type_: str) -> None:
    body = json.dumps({"type": type_, "title": "Not Found", "status": 404})
    error = await ask(await stranger(http("404 Not Found", "application/problem+json", body, OURS)))
    assert type(error) is GatewayError


async def test_a_problem_of_the_server_is_its_own_even_from_where_no_request_id_is(stranger: Stranger) -> None:
    """The parser of the server's requests answers before any service hears of the request."""
    body = json.dumps(Problem(Kind.HEADERS_TOO_LARGE, "fewer").document())
    error = await ask(await stranger(http("431 Too Large", "application/problem+json", body)))
    assert (type(error), str(error)) == (AnswerError, "The request's headers are too large: fewer")


@pytest.mark.parametrize("body", ["{", "[]", '"text"'])
async def test_an_error_with_a_broken_document_is_named_by_its_status(stranger: Stranger, body: str) -> None:
    error = await ask(await stranger(http("400 Bad Request", "application/problem+json", body, OURS)))
    assert type(error) is AnswerError
    assert str(error) == "the server answered 400 Bad Request"


async def test_an_answer_that_breaks_off_is_tried_again(stranger: Stranger) -> None:
    address = await stranger(http("200 OK", "application/json", "{}", OURS)[:-1])
    error = await ask(address)
    assert isinstance(error, ServerAwayError)
    assert address in str(error)


async def test_silence_is_not_waited_for_without_end(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "SILENCE_TIMEOUT", 0.1)
    address = await stranger(b"")
    assert str(await ask(address)) == f"cannot reach http://{address}: no answer in time"


async def test_what_does_not_speak_tls_is_asked_a_few_times_for_it_may_be_a_portal(stranger: Stranger) -> None:
    error = await ask(await stranger(b"this is not TLS"), scheme="https", retry_for=30)
    assert (type(error), error.retry) == (TlsError, "few")
    assert "does not speak TLS" in str(error)
    assert "portal" in error.hint


@pytest.mark.parametrize(
    ("alert", "kind", "retry", "words"),
    [
        (80, ServerAwayError, "yes", "TLS broke: TLSV1_ALERT_INTERNAL_ERROR"),
        (112, ServerAwayError, "yes", "TLS broke: TLSV1_UNRECOGNIZED_NAME"),
        (40, TlsError, "few", "no way of TLS in common"),
        (70, TlsError, "few", "no way of TLS in common"),
        (48, TlsError, "no", "does not accept who we are by TLS: unknown ca"),
        (116, TlsError, "no", "does not accept who we are by TLS: certificate required"),
    ],
)
async def test_an_alert_of_tls_is_not_taken_for_a_certificate_of_the_server(
    stranger: Stranger, alert: int, kind: type[HiperError], retry: str, words: str
) -> None:
    fatal = bytes([21, 3, 3, 0, 2, 2, alert])  # RFC 8446, section 6
    error = await ask(await stranger(fatal), scheme="https")
    assert (type(error), error.retry) == (kind, retry)
    assert words in str(error)


async def test_a_certificate_that_nobody_signed_is_not_trusted_and_not_asked_again(
    server: LiveServer, tmp_path: Path
) -> None:
    async with Tls(server, tmp_path) as port:
        error = await ask(f"127.0.0.1:{port}", scheme="https", retry_for=30)
    assert type(error) is UntrustedServerError
    assert "unable to get local issuer certificate" in str(error)
    assert "clock" in error.hint


async def test_a_name_that_is_unknown_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    error = await ask("nowhere.invalid")
    assert str(error).startswith("cannot reach http://nowhere.invalid: ")


async def test_a_range_of_another_version_is_not_appended(stranger: Stranger, tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(b"abc")
    (tmp_path / "f.part.etag").write_text('"mine"')
    address = await stranger(
        http("206 Partial Content", "text/plain", "xyz", 'ETag: "theirs"', "Content-Range: bytes 3-5/6", OURS)
    )
    async with HiperClient(f"http://{address}", tokens=Tokens(), retry_for=0) as client:
        with pytest.raises(HiperError, match="another version"):
            await client.download("f", tmp_path / "f")
    assert (tmp_path / "f.part").read_bytes() == b"abc"


async def test_a_download_that_never_gets_further_ends(stranger: Stranger, tmp_path: Path) -> None:
    """A proxy weakens the ETag, so that each attempt begins anew, and breaks off each time."""
    answer = b'HTTP/1.1 200 OK\r\nX-Request-Id: 1\r\nETag: W/"x"\r\nContent-Length: 9\r\n\r\nabc'
    address = await stranger(answer)
    async with HiperClient(f"http://{address}", tokens=Tokens(), retry_for=1) as client:
        with pytest.raises(ServerAwayError):
            await asyncio.wait_for(client.download("f", tmp_path / "f"), 20)
