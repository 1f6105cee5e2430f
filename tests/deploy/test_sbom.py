"""`make sbom` lists what the wheel brings: each package that requirements/run.txt pins, with its hashes."""

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.deploy.chart import ROOT


def made(directory: Path) -> str:
    """What the Makefile's command writes; it ends with an error where its document is not of CycloneDX's schema."""
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", "")
    (words,) = (line.split()[1:] for line in recipe.splitlines() if "cyclonedx-py" in line)
    target = directory / "sbom.json"
    program = str(Path(sys.executable).with_name("cyclonedx-py"))
    subprocess.run([program, *words[:-1], str(target), "--validate"], cwd=ROOT, check=True, capture_output=True)
    return target.read_text(encoding="utf-8")


def test_the_sbom_names_every_package_that_is_pinned_with_its_hashes_and_is_the_same_each_time(tmp_path: Path) -> None:
    text = made(tmp_path)
    document = json.loads(text)
    assert (document["bomFormat"], document["metadata"]["component"]["name"]) == ("CycloneDX", "hiper-automotive")
    pinned = set(re.findall(r"^([\w.-]+)==([^ ;]+)", (ROOT / "requirements/run.txt").read_text("utf-8"), re.MULTILINE))
    assert {(one["name"], one["version"]) for one in document["components"]} == pinned
    for one in document["components"]:
        assert one["purl"].startswith("pkg:pypi/")
        assert any(reference.get("hashes") for reference in one["externalReferences"])
    assert made(tmp_path) == text


def test_lock_files_name_no_registry() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        assert "://" not in path.read_text(encoding="utf-8"), path
