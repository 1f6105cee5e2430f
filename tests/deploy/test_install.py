"""The chart on a real cluster: installed, broken, upgraded, used and removed."""

import os
import secrets
import time
from typing import Any

import pytest

from tests.deploy.chart import COMPONENTS, merge
from tests.deploy.cluster import Namespace, load
from tests.deploy.test_chart_network import ARROWS

SECRET_KEY, ADMIN_SECRET = secrets.token_hex(32), secrets.token_hex(32)
LIFE = 100  # seconds of the upload during which everything happens

_before: set[str] = set()  # what was in the namespace before the release
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def values(hiper_image: str) -> dict[str, Any]:
    """The chart's values for a try-out: one MinIO and one RabbitMQ whose data live as long as their pods."""
    minio = os.environ.get("MINIO_IMAGE", "hiper-minio:latest")
    rabbitmq = os.environ.get("RABBITMQ_IMAGE", "rabbitmq:4")
    load([hiper_image, minio, rabbitmq])
    repository, _, tag = hiper_image.rpartition(":")
    return {
        "image": {"repository": repository, "tag": tag},
        "tokens": {"existingSecret": "my-tokens"},
        "admin": {"existingSecret": "my-admin"},
        # The pods of these tests ask faster than a device may.
        "settings": {"recoveryInterval": 5, "limitsClasses": {"default": {"requests_per_second": 0}}},
        "dev": {
            "enabled": True,
            "minio": {"image": minio, "persistence": {"enabled": False}},
            "rabbitmq": {"image": rabbitmq, "persistence": {"enabled": False}},
        },
        "tests": {"size": 20_000_000},
    }


@pytest.fixture(scope="module")
def release(namespace: Namespace, values: dict[str, Any]) -> Namespace:
    """The namespace with the chart installed in it."""
    namespace.secret("my-tokens", SECRET_KEY=SECRET_KEY)
    namespace.secret("my-admin", ADMIN_SECRET=ADMIN_SECRET)
    _before.update(namespace.everything())
    namespace.install(values)
    return namespace


def _client(seconds: float) -> dict[str, str]:
    return {
        "HIPER_INGEST": "http://hiper-ingest",
        "HIPER_AUTH": "http://hiper-auth",
        "ADMIN_SECRET": ADMIN_SECRET,
        "SECONDS": str(seconds),
    }


def _changed(values: dict[str, Any], number: int) -> dict[str, Any]:
    """The same release with an annotation that makes every pod of the services a new one."""
    annotation = {"podAnnotations": {"example.com/roll": str(number)}}
    return merge(values, dict.fromkeys(COMPONENTS, annotation))


def test_an_upload_outlives_every_pod_of_every_component_and_an_upgrade(
    release: Namespace, values: dict[str, Any], hiper_image: str
) -> None:
    release.start_pod("slow-car", "paced_upload.py", hiper_image, _client(LIFE))
    ended = time.monotonic() + LIFE
    for component in ("ingest", "assembler", "janitor", "auth", "rabbitmq"):
        release.end_pods(component)
    release.install(_changed(values, 1))
    assert release.phase("slow-car") == "Running", "the upload was over before everything had happened: make it longer"
    print(f"everything happened, {ended - time.monotonic():.0f} s of the upload were left")
    result = release.result("slow-car")
    print(result)
    assert result["equal"]


def test_an_upgrade_fails_no_request(release: Namespace, values: dict[str, Any], hiper_image: str) -> None:
    release.start_pod("impatient", "no_second_try.py", hiper_image, _client(60))
    release.kubectl("wait", "pod/impatient", "--for=condition=Ready", "--timeout=60s")
    release.install(_changed(values, 2))
    assert release.phase("impatient") == "Running", "the requests were over before the upgrade was"
    result = release.result("impatient")
    print(result["requests"], "requests,", len(result["failed"]), "failed")
    assert result["requests"] > 200
    assert result["failed"] == []


def test_the_tests_of_the_chart_pass(release: Namespace) -> None:
    assert "Succeeded" in release.helm("test", "hiper", "--timeout=180s")


def test_secrets_show_neither_in_the_values_nor_in_a_configmap(release: Namespace) -> None:
    told = release.helm("get", "all", "hiper") + release.kubectl("get", "configmap", "-o", "yaml")
    assert SECRET_KEY not in told
    assert ADMIN_SECRET not in told


def test_a_release_whose_secret_has_a_shared_key_goes_on_with_it(release: Namespace) -> None:
    """As chart 0.1 left it, which signed with HS256 unless told otherwise."""
    assert release.kubectl("get", "configmap", "hiper", "-o", "jsonpath={.data.ALGORITHM}") == "HS256"


def test_a_secret_without_the_key_that_is_asked_for_is_refused_before_anything_changes(
    release: Namespace, values: dict[str, Any]
) -> None:
    with pytest.raises(AssertionError, match=r"tokens\.existingSecret: the Secret my-tokens has no private\.pem"):
        release.install(merge(values, {"tokens": {"algorithm": "EdDSA"}}))


def test_auth_alone_can_sign_by_a_key_that_the_chart_makes(release: Namespace, values: dict[str, Any]) -> None:
    """Rolled out for real, so that the keys that ingest reads from auth verify what auth signs."""
    release.install(merge(values, {"tokens": {"existingSecret": ""}}))
    assert release.kubectl("get", "configmap", "hiper", "-o", "jsonpath={.data.ALGORITHM}") == "EdDSA"
    assert "Succeeded" in release.helm("test", "hiper", "--timeout=180s")
    pods = release.kubectl("get", "pod", "-l", "app.kubernetes.io/component!=auth", "-o", "yaml")
    assert "private" not in pods.lower()


@pytest.mark.skipif(not os.environ.get("CLUSTER_STARTED"), reason="needs a cluster whose node is this machine")
def test_pods_connect_along_the_arrows_of_the_network_policies(release: Namespace) -> None:
    """That they can do without any other way; this cluster's network does not enforce policies."""
    made = release.connections()
    assert ("ingest", "auth", 8000) in made  # for the keys of the test before
    assert made <= ARROWS | {("ingest", "auth", 8000)}


def test_uninstalling_leaves_nothing(release: Namespace) -> None:
    release.helm("uninstall", "hiper", "--wait")
    deadline = time.monotonic() + 60
    while (left := release.everything() - _before) and time.monotonic() < deadline:
        time.sleep(1)
    assert left == set()
