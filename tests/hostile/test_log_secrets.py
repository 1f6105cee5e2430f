"""No log line holds a secret, a token or a signed URL, whatever goes wrong, at the most talkative level."""

import json
import re
import time
from pathlib import Path

import httpx

from tests.backends import MinioServer, RabbitmqServer
from tests.e2e.conftest import backend_env
from tests.e2e.processes import SECRETS, Deployment, Process, embedded, running
from tests.ports import free_port
from tests.unit.ingest.talk import framed

DEBUG = {"LOG_LEVEL": "DEBUG"}
WRONG = "wrong-secret-of-the-log-test"
SHAPES = {
    "a token": r"eyJ[\w-]{10,}",
    "a signed URL": r"X-Amz-(Signature|Credential|Security-Token)(?!=\*\*\*)",
    "a password in a URL": r"://(?!user:password@)[^/\s:@]+:(?!\*\*\*@)[^/\s@]+@",  # but not in an example
    "a secret as a parameter": r"(client_secret|access_token)=(?!\*\*\*)\S",
    "an Authorization header": r"(?i)(bearer|basic) [\w+/=-]{20,}",
}


def assert_discreet(log: str, *secrets: str) -> None:
    assert "request" in log
    for secret in (*SECRETS.values(), WRONG, *secrets):
        assert secret not in log, f"a secret is in the log: {_around(log, re.escape(secret))}"
    for what, shape in SHAPES.items():
        assert not re.search(shape, log), f"{what} is in the log: {_around(log, shape)}"


def _around(log: str, pattern: str) -> str:
    match = re.search(f"(?m)^.*{pattern}.*$", log)
    return match.group()[:1000] if match else ""


def talk(auth: str, api: str) -> list[str]:
    """Does what devices and attackers do. Returns the secrets that came up."""
    with httpx.Client(timeout=30) as http:
        form = {"grant_type": "client_credentials", "client_id": "admin"}
        admin = http.post(f"{auth}/token", data=form | {"client_secret": SECRETS["ADMIN_SECRET"]}).json()[
            "access_token"
        ]
        http.post(f"{auth}/token", data=form | {"client_secret": WRONG})
        http.post(f"{auth}/token", data=form | {"client_secret": WRONG, "grant_type": "password"})
        http.post(f"{auth}/token", params={"client_secret": WRONG}, data=form)
        http.post(f"{auth}/token", auth=("admin", WRONG), data={"grant_type": "client_credentials"})
        bearer = {"Authorization": f"Bearer {admin}"}
        made = http.post(f"{auth}/devices", json={"device_id": "car-7"}, headers=bearer).json()
        http.post(f"{auth}/devices", json={"device_id": "car-8", "client_secret": WRONG}, headers=bearer)
        form = {"grant_type": "client_credentials", "client_id": "car-7", "client_secret": made["client_secret"]}
        token = http.post(f"{auth}/token", data=form).json()["access_token"]
        upload(http, api, token)
        for bad in (token[:-4] + "AAAA", token + "." + token, "x" * 9000):
            http.get(f"{api}/files", headers={"Authorization": f"Bearer {bad}"})
        http.get(
            f"{api}/files",
            params={"access_token": token, "limit": "many"},
            headers={"Authorization": f"Bearer {token}"},
        )
        http.get(f"{api}/{token}")
        http.request("BREW", f"{api}/files", headers={"Authorization": f"Basic {token}"})
        return [admin, token, made["client_secret"]]


def upload(http: httpx.Client, api: str, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    query = {"filename": "trip.log", "total_size": "5"}
    assert http.post(f"{api}/upload", params=query, content=framed(b"bytes"), headers=headers).status_code == 200
    deadline = time.monotonic() + 60
    while http.get(f"{api}/files/trip.log/status", headers=headers).json()["status"] != "complete":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert http.get(f"{api}/files/trip.log", headers=headers).content == b"bytes"


def words(secret: str, token: str) -> str:
    """What a library may say in an error: a secret of the settings, and others by their form."""
    return f"at {secret} with {token} for https://me:{WRONG}@host/f?X-Amz-Signature=0a1b&client_secret={WRONG}"


def test_one_process_logs_no_secret_even_in_a_traceback(tmp_path: Path) -> None:
    with embedded(tmp_path, **DEBUG) as deployment:
        secrets = talk(deployment.auth, deployment.apis[0])
        attributes = next(tmp_path.glob("data/perm/.hiper/meta/files/car-7/trip.log"))
        attributes.write_text(json.dumps({words(SECRETS["ADMIN_SECRET"], secrets[1]): 1}))  # its error quotes this
        token = {"access_token": secrets[1]}
        headers = {"Authorization": f"Bearer {secrets[1]}"}
        answer = httpx.delete(f"{deployment.apis[0]}/files/trip.log", params=token, headers=headers)
        assert answer.status_code == 500
        log = deployment.logs()
    assert re.search(r"TypeError.*at \*\*\*", log)
    assert_discreet(log, *secrets)


def test_services_log_no_secret_whether_their_backends_are_there_or_not(
    tmp_path: Path, minio: MinioServer, rabbitmq: RabbitmqServer
) -> None:
    env = {**SECRETS, **DEBUG, **backend_env(minio, rabbitmq)}
    well = {
        name: Process(f"services.{name}", env, tmp_path / f"{name}.log") for name in ("auth", "ingest", "assembler")
    }
    astray = {
        "no-store": {"MINIO_ENDPOINT": f"127.0.0.1:{free_port()}"},
        "store-refuses": {"MINIO_SECRET_KEY": WRONG},
        "no-broker": {"RABBITMQ_URL": f"amqp://hiper:{WRONG}@127.0.0.1:{free_port()}/"},
        "broker-refuses": {"RABBITMQ_URL": f"amqp://hiper:{WRONG}@127.0.0.1:{rabbitmq.port}/"},
    }
    troubles = {name: "store unavailable" if "store" in name else "broker" for name in astray}
    ill = {name: Process("services.ingest", env | more, tmp_path / f"{name}.log") for name, more in astray.items()}
    with running(well):
        for process in ill.values():
            process.start(wait=False)
        secrets = talk(well["auth"].url, well["ingest"].url)
        deadline = time.monotonic() + 60
        while silent := [name for name, words in troubles.items() if words not in ill[name].log.read_text()]:
            assert time.monotonic() < deadline, f"tell nothing of what is away: {silent}"
            time.sleep(0.1)
        for process in ill.values():
            process.kill()
        log = Deployment(well | ill, [], "", "").logs()
    assert_discreet(log, minio.secret_key if minio.secret_key != minio.access_key else WRONG, *secrets)
