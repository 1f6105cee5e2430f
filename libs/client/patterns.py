"""Which files on the server a command means: names, and patterns that are compared with the listing."""

import unicodedata
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from libs.client.client import HiperClient
from libs.client.errors import HiperError, NotFoundError
from libs.client.models import FileEntry
from libs.common.files.names import check_filename
from libs.common.problems import Problem


def is_pattern(name: str) -> bool:
    return any(sign in name for sign in "*?[")


async def chosen(hiper: HiperClient, names: Sequence[str], owner: str | None) -> tuple[list[str], list[HiperError]]:
    """The names that are meant, each once and in order, and an error for each pattern that no complete file matches.

    In a pattern `*` stands for any characters, `?` for one, `[abc]` for one of these, and `**` for any folders. As in a
    shell, none of them stands for a slash, nor for a dot at the begin. A file whose own name looks like a pattern is
    meant by that name."""
    listing: list[FileEntry] = []
    if any(map(is_pattern, names)):
        listing = [entry async for entry in hiper.list(owner=owner)]
    there = {entry.filename for entry in listing}
    found: dict[str, None] = {}
    errors: list[HiperError] = []
    for name in (unicodedata.normalize("NFC", name) for name in names):
        fitting = [name] if not is_pattern(name) or name in there else _matches(name, listing)
        if not fitting:
            errors.append(NotFoundError(f"no complete file matches {name!r}", "see what is there: hiper ls"))
        found.update(dict.fromkeys(fitting))
    return list(found), errors


def _matches(pattern: str, listing: Iterable[FileEntry]) -> list[str]:
    """Only names that the server may give: another one could lead out of the directory."""
    names = (entry.filename for entry in listing if entry.status == "complete")
    wanted = pattern.split("/")
    return sorted(name for name in names if _fits(name.split("/"), wanted) and _is_valid(name))


def _fits(segments: list[str], pattern: list[str]) -> bool:
    if not pattern:
        return not segments
    first, *rest = pattern
    if first == "**":
        hidden = (n for n, segment in enumerate(segments) if segment.startswith("."))
        return any(_fits(segments[n:], rest) for n in range(next(hidden, len(segments)) + 1))
    return bool(segments) and _is_like(segments[0], first) and _fits(segments[1:], rest)


def _is_like(segment: str, pattern: str) -> bool:
    return fnmatchcase(segment, pattern) and segment.startswith(".") <= pattern.startswith(".")


def _is_valid(name: str) -> bool:
    try:
        check_filename(name)
    except Problem:
        return False
    return True
