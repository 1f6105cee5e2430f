"""The image of the services, built once for all tests that need it, and a place on a real cluster."""

import os
import subprocess
import uuid
from collections.abc import Iterator

import pytest

from tests.deploy.chart import ROOT, require
from tests.deploy.cluster import Namespace

DOCKERFILE = ROOT / "deploy" / "images" / "hiper" / "Dockerfile"
PIP_SETTINGS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT")  # this machine's, handed on to the build


def docker(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [require("docker"), *arguments]
    env = {**os.environ, "DOCKER_BUILDKIT": "0"}
    return subprocess.run(command, capture_output=True, text=True, check=check, env=env)


@pytest.fixture(scope="session")
def hiper_image(engine: None) -> Iterator[str]:
    """HIPER_IMAGE, if somebody built it from these sources; else built here on PYTHON_IMAGE, and removed."""
    if built := os.environ.get("HIPER_IMAGE"):
        yield built
        return
    tag = f"hiper-test/hiper:{uuid.uuid4().hex[:8]}"
    arguments = {name: os.environ[name] for name in PIP_SETTINGS if name in os.environ}
    arguments |= {"VERSION": "1.2.3", "REVISION": "abc", "SOURCE": "https://example.com/hiper"}
    if base := os.environ.get("PYTHON_IMAGE"):
        arguments["BASE_IMAGE"] = base
    given = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    made = docker("build", "-q", "-f", str(DOCKERFILE), "-t", tag, *given, str(ROOT), check=False)
    assert made.returncode == 0, made.stdout[-2000:] + made.stderr[-2000:]
    yield tag
    docker("image", "rm", tag)


@pytest.fixture(scope="module")
def namespace() -> Iterator[Namespace]:
    """A new namespace of the cluster that KUBECONFIG names. Without one the test is left out, unless E2E=required."""
    if not os.environ.get("KUBECONFIG"):
        if os.environ.get("E2E") == "required":
            pytest.fail("E2E=required, but KUBECONFIG names no cluster")
        pytest.skip("needs a Kubernetes cluster (KUBECONFIG)")
    require("kubectl")
    found = Namespace(f"hiper-test-{uuid.uuid4().hex[:6]}")
    found.create()
    try:
        yield found
    finally:
        found.delete()
