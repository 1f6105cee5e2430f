"""Sizes, times and names as people write and read them."""

import re
from datetime import datetime

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]i?)?b?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes in `8MiB`, `1.5 GB`, `64k` or `4096`. Raises ValueError, also for less than a byte."""
    match = _SIZE.fullmatch(text.strip())
    size = int(float(match[1]) * _UNITS[(match[2] or "").lower()]) if match else 0
    if size < 1:
        raise ValueError(f"{text!r} is not a size: write 8MiB, 500kB or 4096")
    return size


def format_size(size: float) -> str:
    """`0 B`, `1023 B`, `1.0 KiB`, `20.0 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def when(moment: datetime | None) -> str:
    """In the time zone of this machine; `?` where it is not known."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}" if moment else "?"


def printable(name: str) -> str:
    """A name that cannot move the cursor or colour the terminal: control characters are written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
