"""Write the parts of the code that documents repeat: `python -m scripts.generate_docs`.

Settings, problem types, the storage layout, events, metrics, alerts, the scaling model, and test vectors. In a document
they stand between `<!-- generated: NAME -->` and `<!-- end -->`; docs/vectors.json and .env.example are written whole.
"""

import dataclasses
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin
from urllib.parse import quote, urlencode

import yaml
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from libs.client.wire import HEADER, content_range, encode_chunk
from libs.common.bus.events import EVENT_TYPES
from libs.common.files.extents import Extent
from libs.common.problems import Kind
from libs.common.security import audit
from libs.common.settings import Settings
from libs.common.uploads import layout
from scripts import scaling
from scripts.metrics import METRICS
from scripts.problem_advice import ADVICE, DEVICE_KINDS

ROOT = Path(__file__).parents[1]
ALERTS = ROOT / "deploy" / "helm" / "hiper" / "files" / "alerts.yaml"
BLOCK = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
MAIN_SETTINGS = (
    "host", "port", "secret_key", "admin_secret", "access_token_expire_minutes", "object_store", "temp_upload_dir",
    "perm_upload_dir", "minio_endpoint", "minio_access_key", "minio_secret_key", "temp_bucket", "perm_bucket",
    "event_bus", "rabbitmq_url", "max_chunk_size", "max_file_size", "stale_threshold", "cleanup_interval",
    "recovery_interval",
)  # fmt: skip


# -- settings


def default_of(field: FieldInfo) -> str:
    """A setting's default as one writes it in the environment; empty for none."""
    value = field.default
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, BaseModel):
        return value.model_dump_json(exclude_defaults=True)
    if isinstance(value, list | dict):
        return json.dumps(value)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def settings_table(names: Iterable[str]) -> str:
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for name in names:
        field = Settings.model_fields[name]
        default = default_of(field)
        shown = f"`{default}`{_rounded(field)}" if default else ""
        rows.append(f"| `{name.upper()}` | {shown} | {field.description}{_choices(field)} |")
    return "\n".join(rows)


def _rounded(field: FieldInfo) -> str:
    """A large number of bytes for people to read."""
    if isinstance(field.default, int) and field.default >= 2**20:
        power = (field.default.bit_length() - 1) // 10
        return f" ({field.default >> 10 * power} {'KMGT'[power - 1]}iB)"
    return ""


def _choices(field: FieldInfo) -> str:
    """The values that a setting can have, where they are a closed set."""
    values = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    return " One of " + ", ".join(f"`{value}`" for value in values) + "." if values else ""


def env_example() -> str:
    lines = ["# Copy to .env and change what you need. Every setting is here with its default, commented out.",
             "# Sizes are in bytes, times in seconds, unless the name says otherwise."]  # fmt: skip
    for name, field in Settings.model_fields.items():
        none = field.default is None
        lines += ["", f"# {field.description}{_choices(field).replace('`', '')}{' Default: none.' if none else ''}"]
        lines.append(f"#{name.upper()}={'private.pem' if none else default_of(field)}")
    return "\n".join(lines) + "\n"


# -- problems


def problems_table() -> str:
    rows = [
        "| `type`: `urn:hiper:problem:`... | status | title | `Retry-After` | what to do |",
        "|---|---|---|---|---|",
    ]
    for kind in Kind:
        wait = "" if kind.retry_after is None else f"{kind.retry_after} s"
        rows.append(f"| `{kind.slug}` | {kind.status} | {kind.title} | {wait} | {ADVICE[kind]} |")
    return "\n".join(rows)


def device_problems_table() -> str:
    rows = ["| status | `urn:hiper:problem:`... | what the device does |", "|---|---|---|"]
    rows += [f"| {kind.status} | `{kind.slug}` | {ADVICE[kind]} |" for kind in Kind if kind in DEVICE_KINDS]
    return "\n".join(rows)


# -- layout and events


def storage_layout() -> str:
    """The docstring of libs/common/uploads/layout.py below its first line."""
    text = (layout.__doc__ or "").partition("\n\n")[2].rstrip()
    return f"```text\n{text.replace('::', ':')}\n```"


def events_table() -> str:
    rows = ["| event | from | what it says | assembler acts on it |", "|---|---|---|---|"]
    for event in EVENT_TYPES:
        source, _, says = " ".join((event.__doc__ or "").split()).partition(": ")
        rows.append(f"| `{event.__name__}` | {source.lower()} | {says} | {'yes' if event.for_assembler else ''} |")
    return "\n".join(rows)


def audit_table() -> str:
    rows = ["| event | from | meaning | fields of its own |", "|---|---|---|---|"]
    for event in audit.EVENTS:
        source, _, says = " ".join((event.__doc__ or "").split()).partition(": ")
        names = ", ".join(f"`{field.name}`" for field in dataclasses.fields(event))
        rows.append(f"| `{event.name()}` | {source.lower()} | {says} | {names} |")
    return "\n".join(rows)


# -- metrics and alerts


def metrics_table() -> str:
    rows = ["| metric | kind | labels | what | of |", "|---|---|---|---|---|"]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        rows.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} | {metric.source} |")
    return "\n".join(rows)


def alerts_table() -> str:
    rows = ["| alert | severity | after |", "|---|---|---|"]
    for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            page = f"[{rule['alert']}](runbooks/{rule['alert']}.md)"
            rows.append(f"| {page} | {rule['labels']['severity']} | {rule['for']} |")
    return "\n".join(rows)


# -- test vectors


def vector(
    name: str, filename: str, total_size: int, start: int, payload: bytes, offset: int, *, raw: bool = False
) -> dict[str, Any]:
    """A chunk that a server takes, into an upload that has no other; `offset` is next_expected_byte then."""
    extent = Extent(start, start + len(payload))
    headers = {"Content-Range": content_range(extent, total_size)} if raw else {}
    body = payload if raw else encode_chunk(start, payload) if payload else HEADER.pack(0, 0, 0)
    return {
        "name": name,
        "query": _query(filename, total_size),
        "headers": headers,
        "start": start,
        "payload": payload.hex(),
        "body": body.hex(),
        "answer": {"status": 200, "filename": filename, "next_expected_byte": offset},
    }


def wrong(name: str, filename: str, total_size: int, body: bytes, kind: Kind) -> dict[str, Any]:
    """A chunk that a server refuses."""
    answer = {"status": kind.status, "type": f"urn:hiper:problem:{kind.slug}"}
    return {"name": name, "query": _query(filename, total_size), "headers": {}, "body": body.hex(), "answer": answer}


def _query(filename: str, total_size: int) -> str:
    return urlencode({"filename": filename, "total_size": total_size}, quote_via=quote, safe="")


GIB = 2**30


def vectors() -> list[dict[str, Any]]:
    """Every vector is an upload of its own."""
    hello, little = encode_chunk(0, b"hello"), bytes.fromhex("00000000 04000000 14") + b"hello"
    exclusive, off_by_one = HEADER.pack(0, 5, 0x14) + b"hello", HEADER.pack(0, 4, 0x15) + b"hello"
    return [
        vector("first chunk: `hello` as bytes 0 to 4 of 12", "v01.txt", 12, 0, b"hello", 5),
        vector("last chunk, sent first: a gap before it", "v02.txt", 12, 5, b", world", 0),
        vector("one byte: start and end are equal", "v03.bin", 1, 0, b"\x2a", 1),
        vector("the sum wraps: 255 + 255 = 510 = 254 mod 256", "v04.bin", 2, 0, b"\xff\xff", 2),
        vector("offsets are big-endian", "v05.bin", 0x01020306, 0x01020304, b"\xff\x02", 0),
        vector("a name that needs encoding", "Fährt 7+1 100%.log", 3, 0, b"abc", 3),
        vector("the highest bytes that a header reaches", "v07.bin", 4 * GIB, 4 * GIB - 2, b"ab", 0),
        vector("the raw form of the first vector", "v08.txt", 12, 0, b"hello", 5, raw=True),
        vector("beyond 4 GiB: only the raw form", "v09.bin", 5 * GIB, 4 * GIB, b"ab", 0, raw=True),
        vector("an empty file, with a header", "v10.bin", 0, 0, b"", 0),
        vector("an empty file, in the raw form", "v11.bin", 0, 0, b"", 0, raw=True),
        wrong("wrong checksum", "v12.txt", 12, off_by_one, Kind.CHECKSUM_MISMATCH),
        wrong("end exclusive instead of inclusive", "v13.txt", 12, exclusive, Kind.MALFORMED_CHUNK),
        wrong("little-endian", "v14.txt", 12, little, Kind.BAD_RANGE),
        wrong("payload cut short", "v15.txt", 12, hello[:-1], Kind.MALFORMED_CHUNK),
        wrong("a header for a file over 4 GiB", "v16.bin", 4 * GIB + 1, hello, Kind.OFFSET_TOO_LARGE),
    ]


def vectors_file() -> str:
    return json.dumps(vectors(), indent=2, ensure_ascii=False) + "\n"


def vectors_text() -> str:
    return "```text\n" + "\n\n".join(map(_vector_text, vectors())) + "\n```"


def _vector_text(case: dict[str, Any]) -> str:
    body = bytes.fromhex(case["body"])
    cut = 0 if "Content-Range" in case["headers"] else 9
    lines = [f"# {case['name']}", f"query    {case['query']}"]
    lines += [f"{name}: {value}" for name, value in case["headers"].items()]
    if cut:
        lines.append("header   " + "  ".join(part.hex(" ") for part in (body[:4], body[4:8], body[8:9])))
    lines.append("payload  " + (body[cut:].hex(" ") or "(none)"))
    answer = case["answer"]
    more = answer.get("type") or f"next_expected_byte {answer['next_expected_byte']}"
    return "\n".join([*lines, f"answer   {answer['status']}, {more}"])


# -- writing


BLOCKS: dict[str, Callable[[], str]] = {
    "main-settings": lambda: settings_table(MAIN_SETTINGS),
    "settings": lambda: settings_table(Settings.model_fields),
    "problems": problems_table,
    "device-problems": device_problems_table,
    "storage-layout": storage_layout,
    "events": events_table,
    "audit": audit_table,
    "vectors": vectors_text,
    "metrics": metrics_table,
    "alerts": alerts_table,
    "scaling": scaling.table,
}
WITH_BLOCKS = (
    "README.md",
    "docs/architecture.md",
    "docs/errors.md",
    "docs/events.md",
    "docs/observability.md",
    "docs/protocol.md",
    "docs/scaling.md",
    "docs/security.md",
    "docs/settings.md",
)
WHOLE: dict[str, Callable[[], str]] = {"docs/vectors.json": vectors_file, ".env.example": env_example}


def renewed(text: str) -> str:
    """A document with its generated blocks as they should be. Raises KeyError for a block of an unknown name."""
    return BLOCK.sub(lambda found: f"{found[1]}{BLOCKS[found[2]]()}\n{found[3]}", text)


def documents() -> dict[str, str]:
    """Path below the repository's root to contents."""
    partly = {path: renewed((ROOT / path).read_text(encoding="utf-8")) for path in WITH_BLOCKS}
    return partly | {path: write() for path, write in WHOLE.items()}


def main() -> None:
    for path, text in documents().items():
        (ROOT / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
