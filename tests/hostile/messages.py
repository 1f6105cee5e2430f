"""Odd requests, and the messages that they are by RFC 9112: what a proxy and a server must see alike."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, product

FORGED = "CN=admin"  # in the field in which the edge names the subject of a client certificate
SUBJECT = "X-Client-Subject"


@dataclass(frozen=True)
class Message:
    """One request. `body` is None where the application answers before it reads any."""

    method: str
    target: str
    body: bytes | None


@dataclass(frozen=True)
class Odd:
    """Bytes of one client. A server sees `messages`, or the first of them and then ends the connection; it may refuse
    all of them unless they are `good`."""

    name: str
    sent: bytes
    messages: tuple[Message, ...] = ()
    good: bool = True


@dataclass(frozen=True)
class Framing:
    """How a body is sent. `payload` is None where that can be read in more than one way; it may be refused unless the
    framing is `good`."""

    fields: tuple[str, ...]
    raw: bytes = b""
    payload: bytes | None = b""
    good: bool = True


def head(method: str, target: str, *fields: str, version: str = "HTTP/1.1") -> bytes:
    return "\r\n".join((f"{method} {target} {version}", "Host: x", *fields, "", "")).encode("latin-1")


HIDDEN = head("GET", "/read/hidden", f"{SUBJECT}: {FORGED}")
SIZE, TE = f"Content-Length: {len(HIDDEN)}", "Transfer-Encoding: chunked"
END = b"0\r\n\r\n"


def chunk(data: bytes, size: str = "{:x}", extension: str = "") -> bytes:
    return (size.format(len(data)) + extension).encode() + b"\r\n" + data + b"\r\n"


def bad(*fields: str, raw: bytes = END + HIDDEN) -> Framing:
    return Framing(fields, raw, None, good=False)


FRAMINGS = {
    "no body": Framing(()),
    "a length of 0": Framing(("Content-Length: 0",)),
    "a length": Framing((SIZE,), HIDDEN, HIDDEN),
    "a length with zeros": Framing((f"Content-Length: 000{len(HIDDEN)}",), HIDDEN, HIDDEN),
    "chunks": Framing((TE,), chunk(HIDDEN[:7]) + chunk(HIDDEN[7:]) + END, HIDDEN),
    "chunks in capitals": Framing(("TRANSFER-ENCODING: CHUNKED",), chunk(HIDDEN, "00{:X}") + END, HIDDEN),
    "chunk extensions": Framing((TE,), chunk(HIDDEN, extension=';a=b;c="d;e"') + b"0;f\r\n\r\n", HIDDEN),
    "trailer fields": Framing((TE,), chunk(HIDDEN) + f"0\r\n{SUBJECT}: {FORGED}\r\n\r\n".encode(), HIDDEN),
    "trailer fields that frame": Framing((TE,), chunk(HIDDEN) + b"0\r\nContent-Length: 9\r\n\r\n", HIDDEN, good=False),
    "a trailer field that closes": Framing(
        (TE,), chunk(HIDDEN) + b"0\r\nConnection: close\r\n\r\n", HIDDEN, good=False
    ),
    "underscores": Framing((SIZE, "Transfer_Encoding: chunked", "Content_Length: 0"), HIDDEN, HIDDEN),
    "a length and chunks": bad("Content-Length: 5", TE),
    "chunks and a length": bad(TE, SIZE),
    "two lengths": bad("Content-Length: 0", SIZE, raw=HIDDEN),
    "one length twice": bad(SIZE, SIZE, raw=HIDDEN),
    "a list of lengths": bad(f"{SIZE}, {len(HIDDEN)}", raw=HIDDEN),
    "a length with a sign": bad("Content-Length: +3", raw=b"abc" + HIDDEN),
    "a length in two lines": bad("Content-Length: 0\r\n 9", raw=HIDDEN),
    "a space before the colon": bad("Transfer-Encoding : chunked", SIZE),
    "a tab that is none": bad("Transfer-Encoding:\x0bchunked", SIZE),
    "chunked in two lines": bad("Transfer-Encoding:\r\n chunked"),
    "chunked twice": bad("Transfer-Encoding: chunked, chunked"),
    "chunked in two fields": bad(TE, TE),
    "chunked last": bad("Transfer-Encoding: gzip, chunked", raw=chunk(HIDDEN) + END),
    "identity before chunked": bad("Transfer-Encoding: identity", TE, raw=chunk(HIDDEN) + END),
    "another coding": bad("Transfer-Encoding: xchunked", SIZE),
    "a null byte": bad("X-A: \0", SIZE, raw=HIDDEN),
    "a bare line feed": bad("X-A: b\nTransfer-Encoding: chunked", SIZE),
    "a bare carriage return": bad(f"X-A: b\rX-B: c\r{SIZE}", raw=HIDDEN),
    "a chunk size below zero": bad(TE, raw=b"-1\r\n" + HIDDEN + END),
    "a chunk size with 0x": bad(TE, raw=b"0x1\r\na\r\n" + END),
    "a chunk size beyond 64 bits": bad(TE, raw=b"1" + b"0" * 16 + b"\r\n" + HIDDEN),
    "a line feed in an extension": Framing((TE,), b"2;\nxx\r\n" + END, b"xx", good=False),
    "more than the chunk's size": bad(TE, raw=b"1\r\nab\r\n" + END + HIDDEN),
}
OPTIONS: dict[str, tuple[str, ...]] = {
    "nothing": (),
    "h2c, as Java offers it": ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMA"),
    "a WebSocket": ("Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    "an upgrade to nothing": ("Connection: upgrade", "Upgrade: foo", "Upgrade: bar"),
    "an upgrade that closes": ("Upgrade: foo", "Connection: close, Upgrade"),
    "half an upgrade": ("Connection: Upgrade",),
    "asks first": ("Expect: 100-continue",),
    "asks for more": ("Expect: 200-ok",),
    "closes": ("Connection: close",),
    "closes in one of two": ("Connection: keep-alive", "Connection: close"),
    "options that name fields": ("Connection: Content-Length, Transfer-Encoding, Host, X-Client-Subject",),
    "HTTP/1.0": (),
    "HTTP/1.0, kept": ("Connection: keep-alive",),
}
ROUTES = {"read": "reads the body", "early": "answers before it reads the body"}


def combined() -> Iterator[Odd]:
    """Every framing with every option and both ways to answer, the methods in turn."""
    methods = cycle(("POST", "GET", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH"))
    for number, (framing, option, route) in enumerate(product(FRAMINGS, OPTIONS, ROUTES)):
        method, how, target = next(methods), FRAMINGS[framing], f"/{route}/{number}"
        version = option.partition(",")[0] if option.startswith("HTTP") else "HTTP/1.1"
        sent = head(method, target, *OPTIONS[option], *how.fields, version=version) + how.raw
        yield Odd(f"{method}, {framing}, {option}, {ROUTES[route]}", sent, seen(method, target, how.payload), how.good)


def seen(method: str, target: str, payload: bytes | None) -> tuple[Message, ...]:
    """The application may hear of a message that turns out to be none, and may answer it; it never gets the whole."""
    early = target.startswith("/early/")
    return (Message(method, target, None if early else payload),) if early or payload is not None else ()


def get(target: str) -> Message:
    return Message("GET", target, b"")


UPGRADE = OPTIONS["h2c, as Java offers it"]
A = (Message("POST", "/read/a", HIDDEN),)
THREE = ("/read/one", "/early/two", "/read/three")
SINGLE = (
    Odd("HTTP/2 by its preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HIDDEN),
    Odd("CONNECT", head("CONNECT", "x:80") + HIDDEN),
    Odd("CONNECT with a body", head("CONNECT", "x:80", SIZE) + HIDDEN),
    Odd("HTTP/0.9", b"GET /read/a\r\n" + HIDDEN, (get("/read/a"),), good=False),
    Odd("HTTP/2.0", head("GET", "/read/a", version="HTTP/2.0") + HIDDEN),
    Odd("HTTP/1.2", head("POST", "/read/a", SIZE, version="HTTP/1.2") + HIDDEN, A, good=False),
    Odd("a method in small letters", head("get", "/read/a", SIZE) + HIDDEN),
    Odd("a method that is none", head("BREW", "/read/a", SIZE) + HIDDEN),
    Odd("a space before the method", b" " + head("GET", "/read/a", SIZE) + HIDDEN),
    Odd("tabs in the request line", head("GET\t/read/a\tHTTP/1.1", "", version="") + HIDDEN),
    Odd("a space before the first field", head("GET", "/read/a").replace(b"Host", b" Host") + HIDDEN),
    Odd("a field without a colon", head("POST", "/read/a", "Nonsense", SIZE) + HIDDEN, A, good=False),
    Odd("a field without a name", head("POST", "/read/a", ": b", SIZE) + HIDDEN),
    Odd("lines that end in a line feed", head("POST", "/read/a", SIZE).replace(b"\r\n", b"\n") + HIDDEN, A, good=False),
    Odd("no host", b"GET /read/a HTTP/1.1\r\n\r\n" + HIDDEN),
    Odd("blank lines before", b"\r\n\r\n" + head("GET", "/read/blank"), (get("/read/blank"),)),
    Odd("an absolute target", head("GET", "http://x/read/absolute"), (get("/read/absolute"),)),
    Odd("one behind the other", b"".join(head("GET", target) for target in THREE), (
        get(THREE[0]), Message("GET", THREE[1], None), get(THREE[2]),
    )),
    Odd("one behind the other, each with an upgrade", b"".join(head("GET", target, *UPGRADE) for target in THREE), (
        get(THREE[0]), Message("GET", THREE[1], None), get(THREE[2]),
    )),
    Odd("a body, then another request", head("POST", "/early/a", SIZE, *UPGRADE) + HIDDEN + head("GET", "/read/b"), (
        Message("POST", "/early/a", None), get("/read/b"),
    )),
    Odd("another behind the last", head("GET", "/read/last", "Connection: close") + HIDDEN, (get("/read/last"),)),
    Odd("two different hosts behind an upgrade", head("POST", "/early/c", "Host: y", *UPGRADE, SIZE) + HIDDEN),
    Odd("two different hosts", head("GET", "/read/a", "Host: y")),
    Odd("one host twice", head("GET", "/read/a", "Host: x")),
    Odd("two hosts in HTTP/1.0", head("GET", "/read/a", "Host: x", version="HTTP/1.0")),
)  # fmt: skip
CORPUS = (*combined(), *SINGLE)
