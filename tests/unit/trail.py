"""Reads the audit trail that a test causes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from structlog.testing import capture_logs

from libs.common.security.audit_trail import STREAM


@contextmanager
def audited() -> Iterator[list[dict[str, Any]]]:
    """The lines that are written meanwhile, without the tokens that the test itself fetches."""
    found: list[dict[str, Any]] = []
    with capture_logs() as lines:
        yield found
    found += [dict(line) for line in lines if line.get("stream") == STREAM and line["event"] != "token_issued"]
