"""Rows for tests."""

from libs.common.fleet.rows import UploadRow

NOW = 1_800_000_000.0  # seconds since the epoch
SESSION = "0123456789abcdef"


def upload(filename: str = "log.bin", owner: str = "device-1", **fields: object) -> UploadRow:
    """100 of 1,000 bytes are there, the newest a second ago."""
    row = UploadRow(owner, filename, SESSION, 1000, 100, 100, NOW - 1, False)
    return row._replace(**fields)  # type: ignore[arg-type]  # each test names the fields that it means
