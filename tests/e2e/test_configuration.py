"""A configuration that cannot work ends the process with 2, and names the setting."""

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from minio.credentials.providers import StaticProvider
from minio.minioadmin import MinioAdmin

from tests.backends import MinioServer, RabbitmqServer
from tests.e2e.conftest import backend_env
from tests.e2e.processes import ROOT, SECRETS

Env = dict[str, str]
READ_ONLY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetObject"], "Resource": ["arn:aws:s3:::*"]}],
}


def ended(directory: Path, service: str, env: Env) -> str:
    """What a service says that ends with 2."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **SECRETS, "PORT": "0", **env}
    command = [sys.executable, "-m", f"services.{service}"]
    done = subprocess.run(command, env=environment, cwd=directory, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def reason(said: str) -> str:
    (line,) = [line for line in said.splitlines() if line.startswith("configuration error: ")]
    return line


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"SECRET_KEY": "short"}, "SECRET_KEY: is 5 bytes long; it must have at least 32 (try: openssl rand -hex 32)"),
        ({"SECRET_KEY": ""}, "SECRET_KEY is not set"),
        ({"ADMIN_SECRET": "x"}, "ADMIN_SECRET: is 1 bytes long; it must have at least 32 (try: openssl rand -hex 32)"),
        ({"SECRET_KEY_PREVIOUS": "x" * 31}, "SECRET_KEY_PREVIOUS: is 31 bytes long; it must have at least 32"),
        ({"ALGORITHM": "none"}, "ALGORITHM: Input should be 'HS256'"),
        ({"MAX_CHUNK_SIZE": "10", "MAX_FILE_SIZE": "9"}, "MAX_CHUNK_SIZE (10) must not be larger than MAX_FILE_SIZE"),
        ({"ALGORITHM": "RS256"}, "JWKS_URL, PUBLIC_KEY_FILES or PRIVATE_KEY_FILE must be set"),
        ({"ALGORITHM": "RS256", "PRIVATE_KEY_FILE": "/no/such.pem"}, "PRIVATE_KEY_FILE: /no/such.pem cannot be read"),
        ({"ALGORITHM": "RS256", "PRIVATE_KEY_FILE": __file__}, "is no PEM private key"),
        ({"RABBITMQ_URL": "http://broker"}, "RABBITMQ_URL: must look like amqp://"),
        ({"MINIO_ENDPOINT": "http://store:9000"}, "MINIO_ENDPOINT: is 'http://store:9000'; it must be host:port"),
        ({"DRAIN_TIMEOUT": "soon"}, "DRAIN_TIMEOUT: Input should be a valid number"),
        ({"AUTH_DIR": f"{__file__}/auth"}, "test_configuration.py/auth may not be made"),
    ],
)
def test_settings_that_cannot_work(tmp_path: Path, env: Env, words: str) -> None:
    assert words in reason(ended(tmp_path, "auth", env))


def test_a_store_that_is_away_is_waited_for_and_told_once(tmp_path: Path) -> None:
    env = {"OBJECT_STORE": "minio", "MINIO_ENDPOINT": "127.0.0.1:1", "START_TIMEOUT": "2"}
    said = ended(tmp_path, "assembler", env)
    assert said.count("store unavailable, will keep trying") == 1
    assert "does not answer for 2 s" in reason(said)
    assert "MINIO_ENDPOINT=" in reason(said)


async def test_a_store_that_refuses(tmp_path: Path, minio: MinioServer, rabbitmq: RabbitmqServer) -> None:
    env = backend_env(minio, rabbitmq)
    wrong_key, wrong_secret = env | {"MINIO_ACCESS_KEY": "nobody"}, env | {"MINIO_SECRET_KEY": "wrong-secret"}
    of_key, of_secret = await asyncio.gather(  # each tries for seconds
        asyncio.to_thread(ended, tmp_path, "ingest", wrong_key),
        asyncio.to_thread(ended, tmp_path, "janitor", wrong_secret),
    )
    assert "MINIO_ACCESS_KEY" in reason(of_key)
    assert "MINIO_SECRET_KEY" in reason(of_secret)


@pytest.fixture
def reader(minio: MinioServer, tmp_path: Path) -> Iterator[Env]:
    """A user of the store who may read everything and write nothing."""
    credentials = StaticProvider(minio.access_key, minio.secret_key)
    admin = MinioAdmin(endpoint=minio.endpoint, credentials=credentials, secure=False)
    name, policy = f"reader-{uuid.uuid4().hex[:8]}", tmp_path / "policy.json"
    policy.write_text(json.dumps(READ_ONLY))
    admin.user_add(name, "reader-secret")
    admin.policy_add(name, str(policy))
    admin.policy_set(name, user=name)
    yield {"MINIO_ACCESS_KEY": name, "MINIO_SECRET_KEY": "reader-secret"}
    admin.user_remove(name)
    admin.policy_remove(name)


def test_a_bucket_without_rights(tmp_path: Path, minio: MinioServer, rabbitmq: RabbitmqServer, reader: Env) -> None:
    env = backend_env(minio, rabbitmq)
    place = f"AUTH_BUCKET={env['AUTH_BUCKET']} of MINIO_ENDPOINT={minio.endpoint}"
    assert f"{place} may not be made, or seen" in reason(ended(tmp_path, "auth", env | reader))
    with subprocess.Popen(
        [sys.executable, "-m", "services.auth"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **SECRETS, "PORT": "0", **env},
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:  # makes the bucket
        assert process.stderr is not None
        for line in process.stderr:
            if "startup complete" in line:
                break
        process.terminate()
    assert f"{place} may not be written" in reason(ended(tmp_path, "auth", env | reader))


def test_a_broker_that_refuses(tmp_path: Path, minio: MinioServer, rabbitmq: RabbitmqServer) -> None:
    env = backend_env(minio, rabbitmq) | {"RABBITMQ_URL": rabbitmq.url.replace("guest:guest", "guest:wr0ng-pass")}
    said = ended(tmp_path, "assembler", env)
    assert "RABBITMQ_URL: the broker refuses its user name or password" in reason(said)
    assert "wr0ng-pass" not in said


def check(directory: Path, env: Env, *arguments: str) -> tuple[int, str]:
    """Exit code and output of `hiper config check`."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "COLUMNS": "200", **SECRETS, **env}
    command = [sys.executable, "-m", "libs.client.cli", "config", "check", *arguments]
    done = subprocess.run(command, env=environment, cwd=directory, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_config_check_shows_what_is_in_force_and_tries_it(
    tmp_path: Path, minio: MinioServer, rabbitmq: RabbitmqServer
) -> None:
    env = backend_env(minio, rabbitmq)
    (tmp_path / ".env").write_text("STALE_THRESHOLD=77\n")
    code, said = check(tmp_path, env, "--json")
    found = json.loads(said)
    assert code == 0, said
    assert {row["name"]: row["trouble"] for row in found["checks"]} == dict.fromkeys(
        ("keys", "temp bucket", "perm bucket", "auth bucket", "broker"), ""
    )
    settings = {row["name"]: (row["value"], row["source"]) for row in found["settings"]}
    assert settings["STALE_THRESHOLD"] == ("77.0", ".env")
    assert settings["TEMP_BUCKET"] == (env["TEMP_BUCKET"], "environment")
    assert settings["SECRET_KEY"] == ("***", "environment")
    assert settings["RABBITMQ_URL"][0].startswith("amqp://guest:***@")


def test_config_check_for_one_service_tries_what_it_needs_and_makes_nothing(tmp_path: Path) -> None:
    """In a container of a deployment that runs, where a bucket that vanished waits for the operator (decision 22)."""
    code, said = check(tmp_path, {}, "--json", "--service", "assembler")
    assert code == 1
    assert [row["name"] for row in json.loads(said)["checks"] if row["trouble"]] == ["temp bucket", "perm bucket"]
    assert not (tmp_path / "data").exists()


def test_config_check_says_what_does_not_work(tmp_path: Path, minio: MinioServer, rabbitmq: RabbitmqServer) -> None:
    env = backend_env(minio, rabbitmq)
    code, said = check(tmp_path, env | {"MINIO_SECRET_KEY": "wr0ng-secret"})
    assert code == 1
    assert "check MINIO_SECRET_KEY" in said
    assert not any(secret in said for secret in ("wr0ng-secret", *SECRETS.values()))
    code, said = check(tmp_path, {"PORT": "x"})
    assert (code, said.startswith("error: PORT:")) == (2, True)
