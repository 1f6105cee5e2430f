"""Whose address a line of the audit trail names: the client's, and a proxy's word for it only where it is trusted."""

import json
from pathlib import Path

import httpx
import pytest

from tests.e2e.processes import embedded

FORWARDED = "203.0.113.9, 198.51.100.7"  # the first may be the client's own invention


@pytest.mark.parametrize(
    ("trusted", "sent", "address"),
    [
        ("127.0.0.1,::1", FORWARDED, "198.51.100.7"),
        ("127.0.0.0/8,198.51.100.0/24", FORWARDED, "203.0.113.9"),
        ("127.0.0.1", "\\x1b[2J<b>", "unknown"),
        ("192.0.2.1", FORWARDED, "127.0.0.1"),
    ],
    ids=["the last address", "beyond a trusted network", "no address", "a stranger's word"],
)
def test_a_failed_login_names_the_address(tmp_path: Path, trusted: str, sent: str, address: str) -> None:
    trail = tmp_path / "audit.log"
    env = {"FORWARDED_ALLOW_IPS": trusted, "AUDIT_LOG": str(trail), "LOG_FORMAT": "json", "LOG_LEVEL": "ERROR"}
    with embedded(tmp_path, **env) as deployment:
        form = {"grant_type": "client_credentials", "client_id": "car-7", "client_secret": "wrong"}
        answer = httpx.post(f"{deployment.auth}/token", data=form, headers={"X-Forwarded-For": sent})
        assert answer.status_code == 401
    lines = [json.loads(line) for line in trail.read_text().splitlines()]
    assert [(line["event"], line["actor"], line["address"]) for line in lines] == [
        ("authentication_failed", "car-7", address)
    ]
