"""What a client sees of a process that is told to leave."""

import http.client
import signal
from pathlib import Path

from tests.e2e.processes import embedded


def test_a_process_that_leaves_answers_what_comes_and_asks_to_close_the_connection(tmp_path: Path) -> None:
    with embedded(tmp_path, SHUTDOWN_DELAY="1") as deployment:
        process = deployment.processes["serve"]
        kept = http.client.HTTPConnection("127.0.0.1", process.port, timeout=10)
        assert _asked(kept) == (200, None)
        assert process.popen is not None
        process.popen.send_signal(signal.SIGTERM)
        answers = []
        while kept.sock:  # http.client drops it when it is asked to
            answers.append(_asked(kept))
        assert {status for status, _ in answers} == {200}
        assert answers[-1][1] == "close"
        fresh = http.client.HTTPConnection("127.0.0.1", process.port, timeout=10)
        assert _asked(fresh) == (200, "close")
        assert process.popen.wait(timeout=30) == 0


def _asked(connection: http.client.HTTPConnection) -> tuple[int, str | None]:
    connection.request("GET", "/livez")
    answer = connection.getresponse()
    answer.read()
    return answer.status, answer.headers["Connection"]
