"""The images: built by the classic builder, small in rights, and able to run."""

import json
import os
import subprocess
from typing import Any

import pytest

from tests.backends import MINIO_SOURCE, minio_image
from tests.deploy.chart import COMPONENTS
from tests.deploy.conftest import PIP_SETTINGS, docker
from tests.deploy.test_runbook_commands import IN_IMAGE

ABSENT = ("pip", "pip3", "gcc", "cc", "make")
NOT_FOUND = 127  # the engine's answer where there is no such program


@pytest.fixture(scope="module")
def image(hiper_image: str) -> str:
    return hiper_image


def _run(image: str, *arguments: str, entrypoint: str = "") -> subprocess.CompletedProcess[str]:
    """Runs the image as the chart does: no rights, no network, nothing to write to but /tmp."""
    confined = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--network", "none"]
    chosen = ["--entrypoint", entrypoint] if entrypoint else []
    return docker("run", "--rm", *confined, *chosen, image, *arguments, check=False)


def _config(image: str) -> dict[str, Any]:
    (described,) = json.loads(docker("image", "inspect", image).stdout)
    config: dict[str, Any] = described["Config"]
    return config


def test_it_runs_as_a_user_without_rights_and_leaves_health_to_the_orchestrator(image: str) -> None:
    config = _config(image)
    assert config["User"] == "10001:10001"
    assert not config.get("Healthcheck")
    assert (config["Entrypoint"], config["Cmd"]) == (["python", "-m"], ["services.ingest"])


def test_its_labels_say_what_it_is(image: str) -> None:
    labels = _config(image)["Labels"]
    names = {"title", "licenses", "source", "version", "revision"}
    assert {f"org.opencontainers.image.{name}" for name in names} <= labels.keys()
    assert not any("created" in label for label in labels)  # the same source gives the same labels, whenever
    if not os.environ.get("HIPER_IMAGE"):
        assert labels["org.opencontainers.image.version"] == "1.2.3"


def test_it_tells_nothing_of_where_its_packages_came_from(image: str) -> None:
    kept = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", image).stdout + json.dumps(_config(image))
    assert [name for name in PIP_SETTINGS if name in kept] == []


@pytest.fixture(scope="module")
def tools(image: str) -> set[str]:
    """Those of ABSENT and IN_IMAGE that the image has. Asked once: a container takes a second."""
    each = " ".join(sorted({*ABSENT, *IN_IMAGE}))
    script = f"for tool in {each}; do command -v $tool > /dev/null && echo $tool; done; true"
    done = _run(image, "-c", script, entrypoint="sh")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize("tool", ABSENT)
def test_it_has_no_compiler_and_no_installer(tools: set[str], tool: str) -> None:
    assert tool not in tools


@pytest.mark.parametrize("tool", sorted(IN_IMAGE))
def test_it_has_what_the_runbooks_call(tools: set[str], tool: str) -> None:
    assert tool in tools


def test_it_has_no_module_to_install_with(image: str) -> None:
    modules = ("pip", "ensurepip", "setuptools", "json")
    script = f"from importlib.util import find_spec; print([name for name in {modules} if find_spec(name)])"
    assert _run(image, "-c", script, entrypoint="python").stdout == "['json']\n"


def test_every_service_is_in_it_with_its_imports(image: str) -> None:
    """Each in an interpreter of its own, in one container."""
    each = [f"python -c 'import services.{name}.app; import uvloop, aio_pika, minio' || exit" for name in COMPONENTS]
    done = _run(image, "-c", "\n".join(each), entrypoint="sh")
    assert done.returncode == 0, done.stderr


def test_a_wrong_configuration_ends_it_with_code_2_and_a_word_of_help(image: str) -> None:
    done = _run(image)
    assert (done.returncode, done.stdout) == (2, "")
    assert "SECRET_KEY is not set" in done.stderr


def test_the_command_line_client_is_in_it(image: str) -> None:
    assert _run(image, "--version", entrypoint="hiper").stdout.startswith("hiper ")


def test_modules_are_compiled_in_a_way_that_every_build_repeats(image: str) -> None:
    """PEP 552: 1 after the magic number says hashed and not checked; 0 would be a time stamp."""
    code = "import services.ingest.app as app; print(open(app.__cached__, 'rb').read(8)[4:].hex())"
    assert _run(image, "-c", code, entrypoint="python").stdout == "01000000\n"


# -- MinIO


@pytest.fixture(scope="module")
def minio_config(engine: None) -> dict[str, Any]:
    """Of the image that the tests' MinIO runs in, if it is the one of deploy/images/minio."""
    config = _config(minio_image())
    if (config.get("Labels") or {}).get("org.opencontainers.image.title") != "MinIO":
        pytest.skip("MINIO_IMAGE was not built by deploy/images/minio")
    return config


def test_minio_runs_as_a_user_without_rights(minio_config: dict[str, Any]) -> None:
    assert minio_config["User"] == "10001:10001"
    assert not minio_config.get("Healthcheck")


def test_minio_says_which_commit_it_is_and_runs_without_rights(minio_config: dict[str, Any]) -> None:
    version: str = minio_config["Labels"]["org.opencontainers.image.version"]
    assert f"\nARG MINIO_VERSION={version}\n" in (MINIO_SOURCE / "Dockerfile").read_text(encoding="utf-8")
    assert _run(minio_image(), "--version").stdout.startswith("minio version")


def test_minio_is_alone_in_its_image(minio_config: dict[str, Any]) -> None:
    assert _run(minio_image(), entrypoint="/bin/sh").returncode == NOT_FOUND
