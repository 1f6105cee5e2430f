"""`make sbom` lists each package that requirements/run.txt pins, with its hashes. `make sbom-image` lists those
that are installed in an image, its Debian packages and its Python."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.backends import minio_image
from tests.deploy.chart import ROOT
from tests.deploy.conftest import docker


def made(directory: Path) -> str:
    """What the Makefile's command writes; it ends with an error where its document is not of CycloneDX's schema."""
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", "")
    (words,) = (line.split()[1:] for line in recipe.splitlines() if "cyclonedx-py" in line)
    target = directory / "sbom.json"
    program = str(Path(sys.executable).with_name("cyclonedx-py"))
    subprocess.run([program, *words[:-1], str(target), "--validate"], cwd=ROOT, check=True, capture_output=True)
    return target.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SBOM of the wheel."""
    directory = tmp_path_factory.mktemp("wheel")
    made(directory)
    return directory / "sbom.json"


def pinned() -> set[tuple[str, str]]:
    """Name and version of each package; some have more than one, for different versions of Python."""
    text = (ROOT / "requirements/run.txt").read_text(encoding="utf-8")
    return set(re.findall(r"^([\w.-]+)==([^ ;]+)", text, re.MULTILINE))


def test_the_sbom_names_every_package_that_is_pinned_with_its_hashes_and_is_the_same_each_time(
    wheel: Path, tmp_path: Path
) -> None:
    text = wheel.read_text(encoding="utf-8")
    document = json.loads(text)
    assert (document["bomFormat"], document["metadata"]["component"]["name"]) == ("CycloneDX", "hiper-automotive")
    assert {(one["name"], one["version"]) for one in document["components"]} == pinned()
    for one in document["components"]:
        assert one["purl"].startswith("pkg:pypi/")
        assert any(reference.get("hashes") for reference in one["externalReferences"])
    assert made(tmp_path) == text


def test_lock_files_name_no_registry() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        assert "://" not in path.read_text(encoding="utf-8"), path


# -- the image


def ask(image: str, wheel: Path, directory: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "scripts.sbom_image", image, str(wheel), str(directory / "image.json")]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def listed(hiper_image: str, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The SBOM of the image. The script writes none that is not of CycloneDX's schema."""
    directory = tmp_path_factory.mktemp("sbom")
    done = ask(hiper_image, wheel, directory)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads((directory / "image.json").read_text(encoding="utf-8"))
    first = (directory / "image.json").read_bytes()
    ask(hiper_image, wheel, directory)
    assert (directory / "image.json").read_bytes() == first
    return document


def versions(document: dict[str, Any], purl: str) -> dict[str, str]:
    return {one["name"]: one["version"] for one in document["components"] if one.get("purl", "").startswith(purl)}


def inside(image: str, *command: str) -> str:
    return docker("run", "--rm", "--network", "none", "--entrypoint", command[0], image, *command[1:]).stdout


def test_the_image_is_named_by_the_digest_of_its_configuration(listed: dict[str, Any], hiper_image: str) -> None:
    identity = docker("image", "inspect", "-f", "{{.Id}}", hiper_image).stdout.strip()
    component = listed["metadata"]["component"]
    assert (component["type"], component["name"], component["version"]) == ("container", hiper_image, identity)
    (graph,) = listed["dependencies"]
    assert (graph["ref"], len(graph["dependsOn"])) == (component["bom-ref"], len(listed["components"]))


def test_it_names_every_python_package_of_the_image_with_the_hashes_of_the_lock_file(listed: dict[str, Any]) -> None:
    packages = versions(listed, "pkg:pypi/")
    assert packages.pop("hiper-automotive")
    assert {"fastapi", "minio", "uvloop"} <= packages.keys()
    assert packages.items() <= pinned(), "something that no lock file names is in the image"
    for one in listed["components"]:
        if one["name"] in packages and one["purl"].startswith("pkg:pypi/"):
            assert any(reference.get("hashes") for reference in one["externalReferences"]), one["name"]


def test_it_names_every_debian_package_and_the_source_that_advisories_speak_of(
    listed: dict[str, Any], hiper_image: str
) -> None:
    found = inside(hiper_image, "dpkg-query", "-W", "-f", "${Package}\\t${Version}\\n").splitlines()
    debian = versions(listed, "pkg:deb/debian/")
    assert debian == dict(line.split("\t") for line in found)
    (libc,) = (one["purl"] for one in listed["components"] if one["name"] == "libc6")
    assert re.fullmatch(r"pkg:deb/debian/libc6@[^?]+\?arch=\w+&distro=debian-\d+&upstream=glibc", libc)


def test_it_names_the_python_that_runs_the_services(listed: dict[str, Any], hiper_image: str) -> None:
    printed = inside(hiper_image, "python", "--version").split()[1]
    assert versions(listed, "pkg:generic/") == {"python": printed}


@pytest.mark.parametrize("image", ["hiper-test/is-not-there:1", "minio"])
def test_an_image_that_cannot_be_asked_gets_no_sbom_but_a_word_of_help(
    engine: None, wheel: Path, tmp_path: Path, image: str
) -> None:
    done = ask(minio_image() if image == "minio" else image, wheel, tmp_path)
    assert done.returncode == 1
    assert "cannot be asked" in done.stderr
    assert "Build it by deploy/images/hiper/Dockerfile" in done.stderr
    assert not (tmp_path / "image.json").exists()
