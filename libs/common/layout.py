"""The storage layout: every key is built and parsed here, and nowhere else.

Temporary bucket (`{ab}` = first two hex digits of sha256(owner), so that no directory grows without bound)::

    sessions/{ab}/{owner}/{filename}/{session}/open
    sessions/{ab}/{owner}/{filename}/{session}/writer/{replica}
    sessions/{ab}/{owner}/{filename}/{session}/digest/sha-256/{hex}
    sessions/{ab}/{owner}/{filename}/{session}/assembly/{upload_id}
    sessions/{ab}/{owner}/{filename}/{session}/closing/{cancel|park|reject}
    sessions/{ab}/{owner}/{filename}/{session}/closed/{cancel|park|reject}
    chunks/{ab}/{owner}/{filename}/{session}/{part:05d}/{start:016d}-{length:08d}-{sha256[:16]}[-{attempt}]

Permanent bucket::

    files/{owner}/{filename}
    partials/{owner}/{filename}/{session}/{start:016d}-{length}
    rejected/{owner}/{filename}/{session}/{start:016d}-{length}
    digests/{owner}/{filename}/{session}/sha-256/{hex}                      (checked against the complete file)

Auth bucket::

    devices/{device_id}.json
    revoked.json

Every bucket that a service writes to (written and deleted when it starts, to see that it may)::

    probe
"""

import hashlib
import re
import secrets
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

from libs.common.extents import Extent
from libs.common.names import valid_filename, valid_owner

MIN_PART_SIZE = 8 * 1024 * 1024  # bytes
MAX_PARTS = 10_000  # of a multipart upload, by the S3 API
_PLAIN = "-plain"
Reason = Literal["cancel", "park", "reject"]
REASONS: tuple[Reason, ...] = get_args(Reason)
REVOKED = "revoked.json"
DEVICES = "devices/"
PROBE = "probe"
_SESSION = re.compile(r"[0-9]{1,16}-[^/]+")
_FACT = re.compile(
    r"open|writer/[^/]+|digest/sha-256/[0-9a-f]{64}|assembly/.+|(closing|closed)/(cancel|park|reject)", re.DOTALL
)
_CHUNK = re.compile(r"([0-9]{5})/([0-9]{16})-([0-9]{8,16})-([0-9a-f]{16})(-[0-9a-f]+)?")
_RUN = re.compile(r"([0-9]{16})-([0-9]{1,16})")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ForeignKey(ValueError):
    """The key is none that this module builds. Somebody else put the object there, for example the console of a store
    that keeps folders as objects: it is left alone, and stops nothing."""


class FileId(NamedTuple):
    """Who a file belongs to (a device id, or `fleet`) and its name."""

    owner: str
    filename: str


class ChunkKey(NamedTuple):
    """What the key of a stored chunk says."""

    file: FileId
    session: str
    part: int
    extent: Extent
    digest: str  # first 16 hex digits of the payload's SHA-256


class SessionFact(NamedTuple):
    """What the key of a session's object says: one fact, such as `open` or `closing/park`."""

    file: FileId
    session: str
    fact: str


class RunKey(NamedTuple):
    """What the key of a partial or rejected run of bytes says."""

    file: FileId
    session: str
    extent: Extent


def part_size(total_size: int) -> int:
    """Bytes in each part but the last: 8 MiB, doubled until the file has at most 10,000 parts."""
    size = MIN_PART_SIZE
    while total_size > size * MAX_PARTS:
        size *= 2
    return size


def part_count(total_size: int) -> int:
    """How many parts a file has; an empty one has none."""
    return -(-total_size // part_size(total_size))


def part_extent(total_size: int, part: int) -> Extent:
    """The bytes of part number `part`, counted from 0."""
    size = part_size(total_size)
    return Extent(part * size, min(total_size, (part + 1) * size))


def new_replica() -> str:
    """A random name for one running ingest process, never used again."""
    return secrets.token_hex(4)


def new_session(total_size: int, replica: str = "", *, plain: bool = False) -> str:
    """A session id, `{total_size}-{nonce}`. The nonce begins with the replica that opens the session and is
    therefore its first writer; the rest is random. `-plain` follows where the upload begins with nothing below it (no
    partial file) and has the media type that its filename suggests: so a look shows it, and nobody has to ask."""
    return f"{total_size}-{replica or new_replica()}{secrets.token_hex(8)}{_PLAIN if plain else ''}"


def is_plain(session: str) -> bool:
    return session.endswith(_PLAIN)


def total_size_of(session: str) -> int:
    """The total size in bytes that a session's id carries."""
    return int(session.partition("-")[0])


def opener_of(session: str) -> str:
    """The replica that opened a session."""
    return session.partition("-")[2][:8]


def fanout(owner: str) -> str:
    return hashlib.sha256(owner.encode()).hexdigest()[:2]


# -- sessions


def sessions_root(ab: str = "", owner: str = "") -> str:
    return _root("sessions", ab, owner)


def sessions_prefix(file: FileId) -> str:
    return f"sessions/{fanout(file.owner)}/{file.owner}/{file.filename}/"


def session_prefix(file: FileId, session: str) -> str:
    return f"{sessions_prefix(file)}{session}/"


def fact_key(file: FileId, session: str, fact: str) -> str:
    return f"{session_prefix(file, session)}{fact}"


def writer_fact(replica: str) -> str:
    return f"writer/{replica}"


def digest_fact(sha256_hex: str) -> str:
    return f"digest/sha-256/{sha256_hex}"


def assembly_fact(upload_id: str) -> str:
    return f"assembly/{upload_id}"


def closing_fact(reason: Reason) -> str:
    return f"closing/{reason}"


def closed_fact(reason: Reason) -> str:
    return f"closed/{reason}"


def parse_session_key(key: str) -> SessionFact:
    """Raises ForeignKey."""
    match key.split("/", 5):
        case ["sessions", ab, owner, filename, session, fact] if _SESSION.fullmatch(session) and _FACT.fullmatch(fact):
            return SessionFact(_file_in(ab, owner, filename), session, fact)
    raise ForeignKey(key)


# -- chunks


def chunks_root(ab: str = "", owner: str = "") -> str:
    return _root("chunks", ab, owner)


def chunks_prefix(file: FileId, session: str) -> str:
    return f"chunks/{fanout(file.owner)}/{file.owner}/{file.filename}/{session}/"


def part_prefix(file: FileId, session: str, part: int) -> str:
    return f"{chunks_prefix(file, session)}{part:05d}/"


def new_attempt() -> str:
    """What tells one put of a chunk from another of the same bytes, where several replicas write."""
    return secrets.token_hex(4)


def chunk_key(file: FileId, session: str, extent: Extent, sha256_hex: str, attempt: str = "") -> str:
    part = extent.start // part_size(total_size_of(session))
    name = f"{extent.start:016d}-{extent.length:08d}-{sha256_hex[:16]}"
    return f"{part_prefix(file, session, part)}{name}{attempt and '-'}{attempt}"


def parse_chunk_key(key: str) -> ChunkKey:
    """Raises ForeignKey, also where the numbers do not fit one another."""
    match key.split("/", 5):
        case ["chunks", ab, owner, filename, session, rest] if _SESSION.fullmatch(session):
            if found := _CHUNK.fullmatch(rest):
                part, extent, total_size = int(found[1]), _extent(found[2], found[3]), total_size_of(session)
                if extent.end <= total_size and part == extent.start // part_size(total_size):
                    return ChunkKey(_file_in(ab, owner, filename), session, part, extent, found[4])
    raise ForeignKey(key)


# -- permanent


def file_key(file: FileId) -> str:
    return f"files/{file.owner}/{file.filename}"


def files_prefix(owner: str) -> str:
    return f"files/{owner}/"


def parse_file_key(key: str) -> FileId:
    """Raises ForeignKey."""
    match key.split("/"):
        case ["files", owner, filename]:
            return _file(owner, filename)
    raise ForeignKey(key)


def partials_root(owner: str = "") -> str:
    return f"partials/{owner}/" if owner else "partials/"


def partials_prefix(file: FileId, session: str = "") -> str:
    return f"partials/{file.owner}/{file.filename}/" + (f"{session}/" if session else "")


def rejected_root(owner: str) -> str:
    return f"rejected/{owner}/"


def rejected_prefix(file: FileId, session: str = "") -> str:
    return f"rejected/{file.owner}/{file.filename}/" + (f"{session}/" if session else "")


def digests_prefix(file: FileId, session: str = "") -> str:
    return f"digests/{file.owner}/{file.filename}/" + (f"{session}/sha-256/" if session else "")


def parse_digest_key(key: str) -> str:
    """The digest of a key below `digests_prefix` of a session. Raises ForeignKey."""
    digest = key.rpartition("/")[2]
    if not _SHA256.fullmatch(digest):
        raise ForeignKey(key)
    return digest


def run_key(prefix: str, extent: Extent) -> str:
    """A key below `partials_prefix` or `rejected_prefix` of a session."""
    return f"{prefix}{extent.start:016d}-{extent.length}"


def parse_run_key(key: str) -> RunKey:
    """Of a partial file or rejected bytes. Raises ForeignKey."""
    match key.split("/"):
        case ["partials" | "rejected", owner, filename, session, name] if _SESSION.fullmatch(session):
            found = _RUN.fullmatch(name)
            if found and (extent := _extent(found[1], found[2])).end <= total_size_of(session):
                return RunKey(_file(owner, filename), session, extent)
    raise ForeignKey(key)


# -- auth


def device_key(device_id: str) -> str:
    return f"{DEVICES}{device_id}.json"


def parse_device_key(key: str) -> str:
    """Raises ForeignKey."""
    device_id = key.removeprefix(DEVICES).removesuffix(".json")
    if key != device_key(device_id) or not valid_owner(device_id):
        raise ForeignKey(key)
    return device_id


@lru_cache(10_000)
def _file(owner: str, filename: str) -> FileId:
    if not (valid_owner(owner) and valid_filename(filename)):
        raise ForeignKey(f"{owner}/{filename}")
    return FileId(owner, filename)


def _file_in(ab: str, owner: str, filename: str) -> FileId:
    if ab != fanout(owner):
        raise ForeignKey(f"{ab}/{owner}")
    return _file(owner, filename)


def _extent(start: str, length: str) -> Extent:
    return Extent(int(start), int(start) + int(length))


def _root(kind: str, ab: str, owner: str) -> str:
    return "/".join(part for part in (kind, ab, owner) if part) + "/"
