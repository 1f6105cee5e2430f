"""The chart's README, followed to the letter on a real cluster: from an empty namespace to a file in the bucket."""

import os
import re
from collections.abc import Iterator

import pytest

from tests.deploy.chart import CHART, ROOT, require
from tests.deploy.cluster import Namespace, load, run
from tests.deploy.conftest import docker
from tests.ports import free_port

README = (CHART / "README.md").read_text(encoding="utf-8")
REGISTRY = "registry.example.com/hiper"
pytestmark = pytest.mark.timeout(600)


def _commands(about: str) -> str:
    """The commands of the README's block that says something."""
    (block,) = (block for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if about in block)
    return str(block)


@pytest.fixture(scope="module")
def registry(namespace: Namespace, hiper_image: str) -> Iterator[None]:
    """The three images by the names that the README gives them, on the cluster; nothing is pushed."""
    if not os.environ.get("CLUSTER_LOAD"):
        pytest.skip("needs CLUSTER_LOAD: the images of the README are in no registry")
    built = {
        "hiper:0.1.0": hiper_image,
        "hiper-minio:latest": os.environ.get("MINIO_IMAGE", "hiper-minio:latest"),
        "rabbitmq:4": os.environ.get("RABBITMQ_IMAGE", "rabbitmq:4"),
    }
    for name, image in built.items():
        assert f"$REGISTRY/{name}" in _commands("docker push")
        docker("tag", image, f"{REGISTRY}/{name}")
    names = [f"{REGISTRY}/{name}" for name in built]
    load(names)
    yield
    docker("image", "rm", *names)


def _follow(commands: str, namespace: str) -> str:
    """What the commands print, run in a namespace and on ports of this test's own."""
    own = re.sub(r"-n hiper\b", f"-n {namespace}", commands)
    for port in {*re.findall(r"\b(\d+):\d+ &", own)}:
        own = own.replace(port, str(free_port()))
    script = f"cd {ROOT}; REGISTRY={REGISTRY}; trap 'kill $(jobs -p) || true' EXIT\n{own}"
    return run(require("bash"), "-euo", "pipefail", "-c", script)


def test_it_leads_from_an_empty_namespace_to_a_file_in_the_bucket(namespace: Namespace, registry: None) -> None:
    assert "Succeeded" in _follow(_commands("helm install hiper"), namespace.name)
    lines = _follow(_commands("port-forward"), namespace.name).splitlines()
    assert lines.count("hello world") == 2, lines  # from ingest, and from the store
