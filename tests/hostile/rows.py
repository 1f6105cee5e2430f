"""Requests as no HTTP library would send them, one a row."""

from dataclasses import dataclass

BODY = b"five!"


@dataclass(frozen=True)
class Row:
    """What is sent, and the statuses of the answers to it. `stores`: names that it may store a file under."""

    sent: bytes
    statuses: tuple[int, ...]
    stays: bool = False  # open, after the last answer
    hangs_up: bool = False
    stores: tuple[str, ...] = ()


def get(target: str = "/livez", version: str = "1.1", *fields: str) -> bytes:
    return "\r\n".join((f"GET {target} HTTP/{version}", "Host: x", *fields, "", "")).encode("latin-1")


def upload(name: str, *fields: str, version: str = "1.1") -> bytes:
    """The head of a chunk of the five bytes of a file, but for its length."""
    own = ("Host: x", "Authorization: Bearer {token}", "Content-Range: bytes 0-4/5")
    line = f"POST /upload?filename={name}&total_size=5 HTTP/{version}"
    return "\r\n".join((line, *own, *fields, "", "")).encode("latin-1")


SIZED, CHUNKED = "Content-Length: 5", "Transfer-Encoding: chunked"
SMUGGLED = upload("smuggled", SIZED) + BODY
ROWS = {
    # -- the request line
    "nothing but a line break": Row(b"\r\n\r\n", ()),
    "a word": Row(b"GET\r\n\r\n", (400,)),
    "no version": Row(b"GET /livez\r\n\r\n", (400,)),
    "a version that is none": Row(get(version="x.y"), (400,)),
    "HTTP/9.9": Row(get(version="9.9"), (400,)),
    "the preface of HTTP/2": Row(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400,)),
    "a TLS hello": Row(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n", (400,)),
    "null bytes": Row(bytes(64), (400,)),
    "a method in lower case": Row(b"get /livez HTTP/1.1\r\nHost: x\r\n\r\n", (400,)),
    "a method that nobody knows": Row(b"BREW /livez HTTP/1.1\r\nHost: x\r\n\r\n", (400,)),
    "CONNECT": Row(b"CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n", (400,)),
    "OPTIONS of everything": Row(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", (404,), stays=True),
    "a null byte in the target": Row(get("/files/a\0b"), (400,)),
    "a space in the target": Row(get("/files/a b"), (400,)),
    "a byte that is not ASCII in the target": Row(get("/files/\xff"), (400,)),
    "a target without a slash": Row(get("livez"), (400,)),
    "an absolute target": Row(get("http://x/livez"), (200,), stays=True),
    "an absolute target of another host": Row(get("http://evil.example/files"), (401,), stays=True),
    "a target that looks like a host": Row(get("//evil.example/files"), (404,), stays=True),
    "a fragment in the target": Row(get("/livez#x"), (200,), stays=True),
    # -- the header fields
    "no colon": Row(get("/livez", "1.1", "Nonsense"), (400,)),
    "a space before the colon": Row(get("/livez", "1.1", "X-A : b"), (400,)),
    "a field without a name": Row(get("/livez", "1.1", ": b"), (400,)),
    "a null byte in a name": Row(get("/livez", "1.1", "X-\0: b"), (400,)),
    "a null byte in a value": Row(get("/livez", "1.1", "X-A: \0"), (400,)),
    "a folded line": Row(get("/livez", "1.1", "X-A: b", " c"), (400,)),
    "a bare line feed": Row(b"GET /livez HTTP/1.1\nHost: x\n\n", (400,)),
    "a carriage return alone": Row(get("/livez", "1.1", "X-A: b\rX-B: c"), (400,)),
    "Host twice": Row(get("/files", "1.1", "Host: y"), (400,), stays=True),
    "no Host": Row(b"GET /livez HTTP/1.1\r\n\r\n", (400,)),
    "101 fields": Row(get("/livez", "1.1", *(f"X-{n}: a" for n in range(101))), (431,)),
    "more bytes than fit": Row(get("/livez", "1.1", "X-Long: " + "a" * 33_000), (431,)),
    "a target longer than fits": Row(get("/" + "a" * 33_000), (431,)),
    "a query longer than fits": Row(get("/files?after=" + "a" * 5000), (400,), stays=True),
    "headers that never end": Row(get()[:-2] + b"X-A: b\r\n", ()),
    # -- the length of a body
    "two lengths": Row(upload("two", SIZED, "Content-Length: 6") + BODY, (400,)),
    "the same length twice": Row(upload("same", SIZED, SIZED) + BODY, (400,)),
    "a list of lengths": Row(upload("list", "Content-Length: 5, 5") + BODY, (400,)),
    "a length with a sign": Row(upload("sign", "Content-Length: +5") + BODY, (400,)),
    "a length below zero": Row(upload("below", "Content-Length: -5") + BODY, (400,)),
    "a length in hex": Row(upload("hex", "Content-Length: 0x5") + BODY, (400,)),
    "a length without digits": Row(upload("none", "Content-Length: ") + BODY, (400,)),
    "a length beyond 64 bits": Row(upload("beyond", "Content-Length: 99999999999999999999") + BODY, (400,)),
    "a length of 9 exabytes": Row(upload("exa", "Content-Length: 9000000000000000000") + BODY, (400,), stays=True),
    "no length": Row(upload("no-length"), (400,), stays=True),
    # Without a checksum what came is kept.
    "a body that is too short, and silence": Row(upload("short", SIZED) + BODY[:4], (408,), stores=("short",)),
    "a body that is too short, and an end": Row(
        upload("short-end", SIZED) + BODY[:4], (), hangs_up=True, stores=("short-end",)
    ),
    "a body that is too long": Row(upload("long", SIZED) + BODY + b"more\r\n\r\n", (200,), stores=("long",)),
    # -- chunked bodies
    "good": Row(
        upload("good", CHUNKED) + b"2;x=y\r\nfi\r\n3\r\nve!\r\n0\r\n\r\n", (200,), stays=True, stores=("good",)
    ),
    "a size that is no number": Row(upload("nan", CHUNKED) + b"g\r\nfive!\r\n0\r\n\r\n", (400,)),
    "a size below zero": Row(upload("minus", CHUNKED) + b"-5\r\nfive!\r\n0\r\n\r\n", (400,)),
    "a size with 0x": Row(upload("0x", CHUNKED) + b"0x5\r\nfive!\r\n0\r\n\r\n", (400,)),
    "a size beyond 64 bits": Row(upload("17f", CHUNKED) + b"f" * 17 + b"\r\nfive!\r\n0\r\n\r\n", (400,)),
    "no size": Row(upload("sizeless", CHUNKED) + b"\r\nfive!\r\n0\r\n\r\n", (400,)),
    "more than the size": Row(upload("more", CHUNKED) + b"4\r\nfive!\r\n0\r\n\r\n", (400,)),
    "sizes that end in a line feed": Row(upload("lf", CHUNKED) + b"5\nfive!\n0\n\n", (400,)),
    "no last chunk, and silence": Row(upload("lastless", CHUNKED) + b"5\r\nfive!\r\n", (408,)),
    "no last chunk, and an end": Row(upload("lastless-end", CHUNKED) + b"5\r\nfive!\r\n", (), hangs_up=True),
    "more chunks than the range": Row(upload("six", CHUNKED) + b"6\r\nsix..!\r\n0\r\n\r\n", (400,), stays=True),
    # -- two who could read it differently
    "a length and chunks": Row(upload("cl-te", "Content-Length: 4", CHUNKED) + b"0\r\n\r\n" + SMUGGLED, (400,)),
    "chunks and a length": Row(upload("te-cl", CHUNKED, "Content-Length: 4") + b"0\r\n\r\n" + SMUGGLED, (400,)),
    "chunked, then another coding": Row(
        upload("te-te", "Transfer-Encoding: chunked, identity") + b"0\r\n\r\n" + SMUGGLED, (400,)
    ),
    "a coding that nobody knows": Row(upload("te-x", "Transfer-Encoding: xchunked") + b"0\r\n\r\n" + SMUGGLED, (400,)),
    "chunked, disguised by a space": Row(
        upload("te-sp", "Transfer-Encoding : chunked", SIZED) + b"0\r\n\r\n" + SMUGGLED, (400,)
    ),
    "chunked, disguised by a tab": Row(
        upload("te-tab", "Transfer-Encoding:\x0bchunked", SIZED) + b"0\r\n\r\n" + SMUGGLED, (400,)
    ),
    "chunks in HTTP/1.0": Row(
        upload("te-1.0", CHUNKED, version="1.0") + b"5\r\nfive!\r\n0\r\n\r\n", (200,), stores=("te-1.0",)
    ),
    "a body of GET is no request": Row(
        get("/livez", "1.1", f"Content-Length: {len(get())}") + get() * 2, (200, 200), stays=True
    ),
    # -- one behind the other
    "pipelined": Row(get() + get("/nowhere") + get(), (200, 404, 200), stays=True),
    "pipelined behind an upload": Row(upload("first", SIZED) + BODY + get(), (200, 200), stays=True, stores=("first",)),
    "pipelined behind what is refused": Row(upload("..", SIZED) + BODY + get(), (400, 200), stays=True),
    "pipelined behind the last": Row(get("/livez", "1.1", "Connection: close") + SMUGGLED, (200,)),
    "pipelined before what is no HTTP": Row(get() + get("/nowhere") + bytes(64), (200, 404)),
    "a hundred at once": Row(get() * 100, (200,) * 100, stays=True),
    "HTTP/1.0": Row(get(version="1.0"), (200,)),
    "HTTP/1.0, kept alive": Row(get("/livez", "1.0", "Connection: keep-alive"), (200,), stays=True),
    "asks before it sends": Row(
        upload("expects", SIZED, "Expect: 100-continue") + BODY, (100, 200), stays=True, stores=("expects",)
    ),
    "asks before it sends what is refused": Row(upload("..", SIZED, "Expect: 100-continue") + BODY, (400,), stays=True),
    "a WebSocket": Row(
        get(
            "/files",
            "1.1",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ),
        (401,),
        stays=True,
    ),
    "HTTP/2 by upgrade": Row(
        get("/livez", "1.1", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMA"),
        (200,),
        stays=True,
    ),
    "a body of auth that does not come": Row(
        b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        b"Content-Length: 20\r\n\r\ngrant_type",
        (408,),
    ),
    "no HTTP behind what is answered slowly": Row(
        upload("slowly", SIZED) + BODY + bytes(50_000), (200,), stores=("slowly",)
    ),
}
