"""The storage layout: every key is built and parsed here, and nowhere else.

Temporary bucket (`{ab}` = first two hex digits of sha256(owner), so that no directory grows without bound)::

    uploads/{ab}/{owner}/{filename}/=record
    chunks/{ab}/{owner}/{filename}/={session}/{part:05d}/{start:016d}-{length:08d}-{sha256[:16]}

Permanent bucket::

    files/{owner}/{filename}
    partials/{owner}/{filename}/={session}/{start:016d}-{length}-{random}
    rejected/{owner}/{filename}/={session}/{start:016d}-{length}-{random}
    fleet/uploads.jsonl.gz
    fleet/devices.jsonl.gz
    fleet/seen/{replica}.jsonl.gz
    feed/{day}/{hour and minute}/{store time in ms:013d}-{outcome}-{session}-{owner}
    webhooks/{id}.json
    webhooks/=notifier

Auth bucket::

    devices/{device_id}.json
    revoked.json

Every bucket that a service writes to (written and deleted when it starts, to see what the store allows and keeps)::

    probes/{random}

A segment that begins with `=` is the protocol's own. No filename has such a segment, so `/=` ends the filename.
"""

import hashlib
import re
import secrets
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from libs.common.files.extents import Extent
from libs.common.files.names import valid_filename, valid_owner

MIN_PART_SIZE = 8 * 1024 * 1024  # bytes
UNKNOWN_PART_SIZE = 64 * 1024 * 1024  # bytes, of a file whose length is not known yet
MAX_PARTS = 10_000  # of a multipart upload, by the S3 API
RECORD = "=record"
REVOKED = "revoked.json"
DEVICES = "devices/"
PROBES = "probes/"
FLEET_UPLOADS = "fleet/uploads.jsonl.gz"
FLEET_DEVICES = "fleet/devices.jsonl.gz"
SEEN = "fleet/seen/"
FEED = "feed/"
WEBHOOKS = "webhooks/"
NOTIFIER = "webhooks/=notifier"  # which process delivers
FEED_CLOCK = "feed/=clock"  # no object is ever there: asking for it tells the store's time
_RECORD = re.compile(r"uploads/(?P<ab>[^/]+)/(?P<owner>[^/]+)/(?P<name>.+)/=record", re.DOTALL)
_CHUNK = re.compile(
    r"chunks/(?P<ab>[^/]+)/(?P<owner>[^/]+)/(?P<name>.+)/=(?P<session>[0-9a-f]{16})/(?P<part>[0-9]{5})/"
    r"(?P<start>[0-9]{16})-(?P<length>[0-9]{8,16})-(?P<digest>[0-9a-f]{16})",
    re.DOTALL,
)
_RUN = re.compile(
    r"(?:partials|rejected)/(?P<owner>[^/]+)/(?P<name>.+)/=(?P<session>[0-9a-f]{16})/"
    r"(?P<start>[0-9]{16})-(?P<length>[0-9]{1,16})-[0-9a-f]{8}",
    re.DOTALL,
)
_SEEN = re.compile(r"fleet/seen/[0-9a-f]{16}\.jsonl\.gz")
_ENTRY = re.compile(
    r"feed/[0-9-]{10}/[0-9]{4}/(?P<time>[0-9]{13})-(?P<outcome>[a-z]+)-(?P<session>[0-9a-f]{16})-(?P<owner>[^/]+)"
)
_WEBHOOK = re.compile(r"webhooks/(?P<webhook>[0-9a-f]{16})\.json")
_FILE = re.compile(r"files/(?P<owner>[^/]+)/(?P<name>.+)", re.DOTALL)


class ForeignKey(ValueError):
    """This module does not build such a key. Another program put the object there, for example the console of a store
    that keeps folders as objects. It is left alone, and stops nothing."""


class FileId(NamedTuple):
    """The name of a file: its owner (a device id, or `fleet`) and its filename, which may hold `/`."""

    owner: str
    filename: str


class ChunkKey(NamedTuple):
    """What the key of a stored extent says. `digest`: the first 16 hex digits of its SHA-256."""

    file: FileId
    session: str
    part: int
    extent: Extent
    digest: str


class RunKey(NamedTuple):
    """What the key of a run, or of rejected bytes, says."""

    file: FileId
    session: str
    extent: Extent


class EntryKey(NamedTuple):
    """What the key of an entry of the feed says. `time`: the store's, in milliseconds since the epoch. `session`: as
    `session_tag` writes it."""

    time: int
    outcome: str
    session: str
    owner: str


def part_size(total_size: int | None) -> int:
    """Bytes in each part but the last: 8 MiB, doubled until the file has at most 10,000 parts; 64 MiB while the
    length is unknown."""
    if total_size is None:
        return UNKNOWN_PART_SIZE
    size = MIN_PART_SIZE
    while total_size > size * MAX_PARTS:
        size *= 2
    return size


def new_session() -> str:
    """The id of one upload of a name: random, and never used again."""
    return secrets.token_hex(8)


def new_version() -> str:
    """The version of a record: new in every write, so that no etag comes back."""
    return secrets.token_hex(12)


def fanout(owner: str) -> str:
    return hashlib.sha256(owner.encode()).hexdigest()[:2]


def probe_key() -> str:
    """A new key for a trial; no other process uses it."""
    return f"{PROBES}{secrets.token_hex(8)}"


# -- records


def records_root() -> str:
    return _root("uploads")


def records_prefix(owner: str, begin: str = "") -> str:
    """Of the records of an owner's names that begin with `begin`, and perhaps of others."""
    return _root("uploads", fanout(owner), owner) + _listable(begin)


def record_key(file: FileId) -> str:
    return f"uploads/{fanout(file.owner)}/{file.owner}/{file.filename}/{RECORD}"


def parse_record_key(key: str) -> FileId:
    """Raises ForeignKey."""
    found = _match(_RECORD, key)
    return _file_in(found["ab"], found["owner"], found["name"])


# -- chunks


def chunks_root(ab: str = "", owner: str = "") -> str:
    return _root("chunks", ab, owner)


def chunks_prefix(file: FileId, session: str) -> str:
    return f"chunks/{fanout(file.owner)}/{file.owner}/{file.filename}/={session}/"


def part_prefix(file: FileId, session: str, part: int) -> str:
    return f"{chunks_prefix(file, session)}{part:05d}/"


def chunk_key(file: FileId, session: str, part: int, extent: Extent, sha256_hex: str) -> str:
    name = f"{extent.start:016d}-{extent.length:08d}-{sha256_hex[:16]}"
    return f"{part_prefix(file, session, part)}{name}"


def parse_chunk_key(key: str) -> ChunkKey:
    """Raises ForeignKey."""
    found = _match(_CHUNK, key)
    file = _file_in(found["ab"], found["owner"], found["name"])
    return ChunkKey(file, found["session"], int(found["part"]), _extent(found), found["digest"])


# -- permanent storage


def files_prefix(owner: str, begin: str = "") -> str:
    """Of an owner's files whose names begin with `begin`, and perhaps of others."""
    return f"files/{owner}/{_listable(begin)}"


def file_key(file: FileId) -> str:
    return f"files/{file.owner}/{file.filename}"


def parse_file_key(key: str) -> FileId:
    """Raises ForeignKey."""
    found = _match(_FILE, key)
    return _file(found["owner"], found["name"])


def partials_root(owner: str = "") -> str:
    return _root("partials", owner)


def files_root() -> str:
    return _root("files")


def rejected_root(owner: str = "") -> str:
    return _root("rejected", owner)


def run_key(file: FileId, session: str, extent: Extent) -> str:
    """A new key for a run; never used again."""
    return f"partials/{file.owner}/{file.filename}/={session}/{_run(extent)}"


def runs_prefix(file: FileId, session: str) -> str:
    return f"partials/{file.owner}/{file.filename}/={session}/"


def rejected_key(file: FileId, session: str, extent: Extent) -> str:
    """A new key for bytes that are kept of a rejected upload."""
    return f"{rejected_prefix(file)}={session}/{_run(extent)}"


def rejected_prefix(file: FileId) -> str:
    return f"rejected/{file.owner}/{file.filename}/"


def parse_run_key(key: str) -> RunKey:
    """The key of a run, or of rejected bytes. Raises ForeignKey."""
    found = _match(_RUN, key)
    return RunKey(_file(found["owner"], found["name"]), found["session"], _extent(found))


def _run(extent: Extent) -> str:
    return f"{extent.start:016d}-{extent.length}-{secrets.token_hex(4)}"


# -- the fleet at a glance


def new_seen_key() -> str:
    """Where one process of ingest says which devices it saw; no other process uses it."""
    return f"{SEEN}{secrets.token_hex(8)}.jsonl.gz"


def is_seen_key(key: str) -> bool:
    return bool(_SEEN.fullmatch(key))


# -- the feed


def entry_key(entry: EntryKey) -> str:
    """Keys of entries are in the order of their times."""
    return f"{entries_from(entry.time)}-{entry.outcome}-{entry.session}-{entry.owner}"


def entries_from(time: int) -> str:
    """Every entry of `time` (milliseconds since the epoch, by the store) or later has a greater key, and no other."""
    return f"{FEED}{datetime.fromtimestamp(time // 1000, UTC):%Y-%m-%d/%H%M}/{time:013d}"


def parse_entry_key(key: str) -> EntryKey:
    """Raises ForeignKey."""
    found = _match(_ENTRY, key)
    entry = EntryKey(int(found["time"]), found["outcome"], found["session"], found["owner"])
    if not valid_owner(entry.owner) or entry_key(entry) != key:
        raise ForeignKey(key)
    return entry


def session_tag(file: FileId, session: str) -> str:
    """A session as keys of the feed write it. A file that was put there by hand has its etag for a session, in any
    form, and files with the same bytes have the same: of those, 16 hex digits of a digest of name and session."""
    if re.fullmatch("[0-9a-f]{16}", session):
        return session
    return hashlib.sha256(f"{file.filename}/={session}".encode()).hexdigest()[:16]


def webhook_key(webhook: str) -> str:
    return f"{WEBHOOKS}{webhook}.json"


def is_webhook_id(text: str) -> bool:
    return bool(re.fullmatch("[0-9a-f]{16}", text))


def parse_webhook_key(key: str) -> str:
    """Raises ForeignKey."""
    return _match(_WEBHOOK, key)["webhook"]


# -- auth


def device_key(device_id: str) -> str:
    return f"{DEVICES}{device_id}.json"


def parse_device_key(key: str) -> str:
    """Raises ForeignKey."""
    device_id = key.removeprefix(DEVICES).removesuffix(".json")
    if key != device_key(device_id) or not valid_owner(device_id):
        raise ForeignKey(key)
    return device_id


def _match(form: re.Pattern[str], key: str) -> re.Match[str]:
    found = form.fullmatch(key)
    if not found:
        raise ForeignKey(key)
    return found


@lru_cache(10_000)
def _file(owner: str, filename: str) -> FileId:
    if not (valid_owner(owner) and valid_filename(filename)):
        raise ForeignKey(f"{owner}/{filename}")
    return FileId(owner, filename)


def _file_in(ab: str, owner: str, filename: str) -> FileId:
    if ab != fanout(owner):
        raise ForeignKey(f"{ab}/{owner}")
    return _file(owner, filename)


def _extent(found: re.Match[str]) -> Extent:
    return Extent(int(found["start"]), int(found["start"]) + int(found["length"]))


def _listable(begin: str) -> str:
    """As much of it as stores look for: a last segment of dots or spaces would lead elsewhere."""
    return begin if begin.rpartition("/")[2].strip(" .") else begin[: begin.rfind("/") + 1]


def _root(*segments: str) -> str:
    return "/".join(segment for segment in segments if segment) + "/"
