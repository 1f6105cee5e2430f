"""ADMIN_API_PORT, on a server as operators run it."""

import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from tests.e2e.processes import embedded
from tests.ports import free_port


def ask(url: str, body: bytes | None = None, token: str = "", media_type: str = "") -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, body, headers | ({"Content-Type": media_type} if media_type else {}))
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_a_server_with_a_port_for_the_admin_registers_devices_there_alone(tmp_path: Path) -> None:
    inside = free_port()
    with embedded(tmp_path, ADMIN_API_PORT=str(inside), PORT="0") as deployment:
        public, private = deployment.auth, f"http://127.0.0.1:{inside}"
        form = {
            "grant_type": "client_credentials",
            "client_id": "admin",
            "client_secret": deployment.admin_secret,
        }
        status, answer = ask(f"{public}/token", urllib.parse.urlencode(form).encode())
        assert status == 200
        token = json.loads(answer)["access_token"]
        device = json.dumps({"device_id": "car-7"}).encode()
        assert ask(f"{public}/devices", device, token, "application/json")[0] == 404
        assert ask(f"{private}/devices", device, token, "application/json")[0] == 201
        assert f"http://localhost:{inside} alone (ADMIN_API_PORT)" in deployment.logs()
