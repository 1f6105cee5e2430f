"""Where a process can be reached, and where only its operators reach it."""

import urllib.error
import urllib.request
from pathlib import Path

from tests.e2e.processes import embedded
from tests.ports import free_port


def status(host: str, port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_process_is_reached_by_both_families_and_metrics_have_a_port_of_their_own(tmp_path: Path) -> None:
    metrics = free_port()
    for host in ("localhost", "::"):
        with embedded(tmp_path, HOST=host, METRICS_PORT=str(metrics)) as deployment:
            port = deployment.processes["serve"].port
            for address in ("127.0.0.1", "[::1]"):
                found = [
                    status(address, at, path) for at in (port, metrics) for path in ("/readyz", "/metrics", "/docs")
                ]
                assert found == [200, 404, 200, 200, 200, 404]
            assert deployment.processes["serve"].stop() == 0
