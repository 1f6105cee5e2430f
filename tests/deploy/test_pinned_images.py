"""Every image that is pulled stands in one list, deploy/images/bases.txt, and `make pin-images` renews it by digest."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.pin_images import BASES, PLACES, listed, pin
from tests.deploy.chart import CHART, ROOT
from tests.deploy.test_compose import DOCUMENT, VARIABLE, filled

IMAGES = listed((ROOT / BASES).read_text(encoding="utf-8"))
TAG = r"[a-z0-9][a-z0-9./-]*:[\w.-]+"
NEW, OLD = "sha256:" + "ab" * 32, "sha256:" + "cd" * 32
DOCKERFILES = sorted((ROOT / "deploy" / "images").rglob("Dockerfile"))

WORKS = {
    "docker": f'[ "$1" = buildx ] || exit 1; [ "$2" = version ] || echo {NEW}',
    "skopeo": f'case "${{!#}}" in docker://docker.io/*/*) echo {NEW};; *) exit 1;; esac',
    "crane": f"echo {NEW}",
}


# -- what stands there today


def test_every_line_of_the_list_is_a_tag_and_if_it_is_pinned_a_digest() -> None:
    assert IMAGES
    for image in IMAGES:
        assert re.fullmatch(rf"{TAG}(@sha256:[0-9a-f]{{64}})?", image), image
    assert len({image.partition("@")[0] for image in IMAGES}) == len(IMAGES)


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_every_base_is_an_argument_with_a_default_of_the_list(dockerfile: Path) -> None:
    text = dockerfile.read_text(encoding="utf-8")
    arguments = dict(re.findall(r"^ARG (\w+)=(.+)$", text.partition("\nFROM ")[0], re.MULTILINE))
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert bases
    for base in bases:
        assert base == "scratch" or arguments[base.removeprefix("${").removesuffix("}")] in IMAGES, base
    assert dockerfile.relative_to(ROOT) in PLACES
    sources = set(re.findall(r"--from=(\S+)", text))
    assert sources <= set(re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE)), "a stage, not an image"


def test_every_image_of_compose_is_built_here_or_of_the_list() -> None:
    for name, service in DOCUMENT["services"].items():
        built: Any = service.get("build")
        assert built or filled(service["image"]) in IMAGES, name
        arguments = built.get("args", {}) if isinstance(built, dict) else {}
        assert all(filled(base) in IMAGES for base in arguments.values()), name
        assert VARIABLE.fullmatch(service["image"]), "CI and operators name others by a variable"


def test_the_charts_images_are_the_operators_own_and_its_readme_pulls_by_the_list() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    tags = {image.partition("@")[0] for image in IMAGES}
    pulled = re.findall(rf"^\w+=({TAG}\S*)$", (CHART / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert pulled
    assert set(pulled) <= set(IMAGES)
    assert {image.partition("@")[0] for image in pulled} == {values["dev"]["rabbitmq"]["image"]} <= tags
    templates = "".join(path.read_text(encoding="utf-8") for path in (CHART / "templates").rglob("*.*"))
    assert all("include" in image for image in re.findall(r"^\s*image: (.*)$", templates, re.MULTILINE))


def test_no_image_is_in_the_list_that_nothing_names() -> None:
    text = "".join((ROOT / place).read_text(encoding="utf-8") for place in PLACES)
    for image in IMAGES:
        assert re.search(rf"(=|:-){re.escape(image)}(\s|\}}|$)", text, re.MULTILINE), image


# -- how it is renewed


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The files that name images; a digest that is out of date stands at one of them."""
    for place in (BASES, *PLACES):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        text = re.sub(r"@sha256:[0-9a-f]{64}", "", (ROOT / place).read_text(encoding="utf-8"))
        (tmp_path / place).write_text(text.replace("python:3.12-slim", f"python:3.12-slim@{OLD}"), encoding="utf-8")
    return tmp_path


def contents(tree: Path) -> str:
    return "".join((tree / place).read_text(encoding="utf-8") for place in (BASES, *PLACES))


def only(directory: Path, monkeypatch: pytest.MonkeyPatch, **programs: str) -> None:
    """A PATH with these programs and no others; of each, what it does."""
    directory = directory / "bin"
    directory.mkdir()
    for name, does in programs.items():
        (directory / name).write_text(f"#!{shutil.which('bash')}\n{does}\n", encoding="utf-8")
        (directory / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(directory))


@pytest.mark.parametrize("tool", sorted(WORKS))
def test_every_place_gets_the_digest_of_its_tag(tree: Path, monkeypatch: pytest.MonkeyPatch, tool: str) -> None:
    tags = [image.partition("@")[0] for image in IMAGES]
    only(tree, monkeypatch, **{tool: WORKS[tool]})
    pin(tree)
    assert listed((tree / BASES).read_text(encoding="utf-8")) == [f"{tag}@{NEW}" for tag in tags]
    assert f"\nARG BASE_IMAGE=python:3.12-slim@{NEW}\n" in (tree / PLACES[0]).read_text(encoding="utf-8")
    compose = (tree / "deploy/compose.yaml").read_text(encoding="utf-8")
    assert f"BASE_IMAGE: ${{PYTHON_IMAGE:-python:3.12-slim@{NEW}}}" in compose
    assert f"image: ${{RABBITMQ_IMAGE:-rabbitmq:4-management@{NEW}}}" in compose
    readme = (tree / "deploy/helm/hiper/README.md").read_text(encoding="utf-8")
    assert f"RABBITMQ=rabbitmq:4@{NEW}\n" in readme
    assert "rabbitmq:4; do docker push" in readme, "an image of the operator's registry keeps its tag"
    assert OLD not in contents(tree)
    before = contents(tree)
    pin(tree)
    assert contents(tree) == before


def test_a_docker_without_buildx_leaves_it_to_another_tool(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(tree, monkeypatch, docker="exit 1", crane=WORKS["crane"])
    pin(tree)
    assert NEW in contents(tree)


@pytest.mark.parametrize(
    "does",
    [
        "echo denied >&2; exit 1",
        "echo latest",
        "echo sha256:abc",
        f'[ "${{!#}}" = docker.io/library/rabbitmq:4 ] || echo {NEW}',
    ],
    ids=["no access", "no digest", "a short digest", "one tag is not there"],
)
def test_without_an_answer_for_each_tag_nothing_is_changed(
    tree: Path, monkeypatch: pytest.MonkeyPatch, does: str
) -> None:
    only(tree, monkeypatch, crane=does)
    before = contents(tree)
    with pytest.raises(SystemExit, match=r"no digest from crane: .*(\n.*)*Nothing was changed"):
        pin(tree)
    assert contents(tree) == before


def test_without_a_tool_it_says_what_to_install(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(tree, monkeypatch)
    with pytest.raises(SystemExit, match="install docker with buildx, skopeo or crane"):
        pin(tree)
