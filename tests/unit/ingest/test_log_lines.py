"""A log line of a request says who asked, and about which file."""

from typing import Any

import structlog
from structlog.testing import capture_logs

from tests.unit.ingest.talk import Device, accepted
from tests.unit.keyrings import SECRET

ABOUT = {"subject": "car-7", "owner": "car-7", "file": "drive.bin"}


async def line_of(device: Device, method: str, path: str, **more: Any) -> dict[str, Any]:
    """What a request writes when it has been answered."""
    with capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        await device.ask(method, path, headers={"X-Request-Id": "r-1"} | more.pop("headers", {}), **more)
    (line,) = [line for line in lines if line["event"] == "request" and line.get("request_id") == "r-1"]
    return dict(line)


async def test_an_upload_names_device_owner_and_file(device: Device) -> None:
    chunk = {"headers": {"Content-Range": "bytes 0-2/5"}, "content": b"hel"}
    line = await line_of(device, "POST", "/upload", params={"filename": "drive.bin", "total_size": "5"}, **chunk)
    assert line.items() >= {**ABOUT, "route": "/upload", "status": 200}.items()


async def test_every_route_of_a_file_names_it(device: Device) -> None:
    accepted(await device.chunk("drive.bin", b"hello", 0, 2))
    for method, path in (
        ("GET", "/files/drive.bin/status"),
        ("GET", "/files/drive.bin"),
        ("DELETE", "/files/drive.bin"),
    ):
        line = await line_of(device, method, path)
        assert line.items() >= ABOUT.items(), path


async def test_no_line_holds_a_token_or_a_secret(device: Device) -> None:
    with capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        await device.status("drive.bin")
        await device.ask("POST", "/token", data={"grant_type": "client_credentials", "client_secret": SECRET})
    assert device.token not in str(lines)
    assert SECRET not in str(lines)
