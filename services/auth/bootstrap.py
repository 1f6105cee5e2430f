"""Secrets for a server that was started without any: made once, kept in a file."""

import contextlib
import os
import secrets
import stat
from pathlib import Path

import structlog

from libs.common.settings import MIN_SECRET_BYTES, ConfigurationError

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)


def load_or_create_secret(path: Path) -> str:
    """The secret in the file; a new one of 64 random bytes (hex) if there is no file yet.

    Only the owner may read a file that this made (mode 0600). Processes that start together get the same secret:
    the file appears whole, and once. Warns of a file that others can read. Raises ConfigurationError for a file
    that cannot be read or is too short.
    """
    try:
        if not path.exists():
            _create(path)
        secret = path.read_text(encoding="utf-8").strip()
        exposed = os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be used for a secret: {error}") from error
    if len(secret.encode()) < MIN_SECRET_BYTES:
        raise ConfigurationError(f"{path} has a secret of less than {MIN_SECRET_BYTES} bytes: delete the file")
    if exposed:
        log.warning("secret_file_exposed", path=str(path), remedy=f"chmod 600 {path}")
    return secret


def _create(path: Path) -> None:
    _make_folder(path.parent)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(secrets.token_hex(64) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was faster: its secret counts
            os.link(draft, path)  # unlike a rename, it never replaces
    finally:
        draft.unlink()


def _make_folder(path: Path) -> None:
    """With the missing ones above it, for the owner alone (`Path.mkdir` gives its mode to the last only)."""
    if not path.is_dir():
        _make_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
