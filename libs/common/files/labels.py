"""Labels: short pairs of key and value that a device gives to a file."""

import re
from collections.abc import Iterable, Mapping

from libs.common.problems import Kind, Problem

MAX_LABELS = 10
KEY = "[a-z0-9][a-z0-9._-]{0,31}"
VALUE = "[!-+\\--~](?:[ -+\\--~]{0,126}[!-+\\--~])?"  # 1 to 128 printable ASCII characters but the comma
_LABEL = re.compile(f"({KEY})=({VALUE})")
_METADATA = "labels"  # S3 keeps at most 2 KiB of metadata; ten of the longest labels are 1,619 bytes


def parse_labels(fields: Iterable[str]) -> dict[str, str]:
    """The labels of Hiper-Label fields: `key=value`, several separated by commas. Raises BAD_LABEL."""
    labels: dict[str, str] = {}
    for text in (one.strip(" \t") for field in fields for one in field.split(",")):
        match = _LABEL.fullmatch(text)
        if not match:
            raise Problem(
                Kind.BAD_LABEL,
                f"Hiper-Label holds {text[:80]!r}; it must be like drive=0417. A key has 1 to 32 characters of "
                "a-z, 0-9, '.', '_' and '-'; a value has 1 to 128 printable ASCII characters without a comma.",
            )
        if labels.setdefault(match[1], match[2]) != match[2]:
            raise Problem(Kind.BAD_LABEL, f"Hiper-Label gives {match[1]!r} two values.")
    if len(labels) > MAX_LABELS:
        raise Problem(Kind.BAD_LABEL, f"Hiper-Label holds {len(labels)} labels; at most {MAX_LABELS} are allowed.")
    return labels


def join_labels(labels: Mapping[str, str]) -> str:
    """One field that parse_labels reads; empty where there are none."""
    return ",".join(f"{key}={value}" for key, value in labels.items())


def to_metadata(labels: Mapping[str, str]) -> dict[str, str]:
    """As metadata of an object, in one entry: proxies before a store drop header fields with dots in their names."""
    return {_METADATA: join_labels(labels)} if labels else {}


def from_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """The labels of an object. Another program may have written what is not one: that is left out."""
    found = (_LABEL.fullmatch(text) for text in metadata.get(_METADATA, "").split(","))
    return {match[1]: match[2] for match in found if match}
