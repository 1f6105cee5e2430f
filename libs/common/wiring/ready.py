"""`python -m libs.common.wiring.ready`: what the service in this container says of itself. Images have no curl.

Asks /readyz on PORT and METRICS_PORT of this machine. Prints the answer; ends with 0 if it is ready, else with 1.
"""

import http.client
import json
import sys

from libs.common.settings import ConfigurationError
from libs.common.web.serving import load_settings

_TIMEOUT = 5  # seconds


def readiness(port: int) -> tuple[bool, str]:
    """Whether the service on a port is ready, and its own words. Raises OSError where none answers HTTP there."""
    connection = http.client.HTTPConnection("localhost", port, timeout=_TIMEOUT)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        text = answer.read(65_536).decode(errors="replace")
    except http.client.HTTPException as error:
        raise OSError(f"port {port} does not speak HTTP: {error!r}") from None
    finally:
        connection.close()
    return answer.status == http.client.OK, _words(text)


def _words(text: str) -> str:
    try:
        return str(json.loads(text)["detail"])
    except (ValueError, KeyError, TypeError):
        return text


def main() -> None:
    try:
        settings = load_settings()
    except ConfigurationError as error:
        sys.exit(f"configuration error: {error}")
    troubles = []
    for port in dict.fromkeys((settings.port, settings.worker_port)):
        try:
            ready, words = readiness(port)
        except OSError as error:
            troubles.append(f"port {port}: {error}")
            continue
        print("ready" if ready else f"not ready. {words}")
        sys.exit(0 if ready else 1)
    sys.exit(f"nothing answers: {'; '.join(troubles)}")


if __name__ == "__main__":
    main()
