"""What a script of .ci could not fetch ends it: nothing that is half ready is called ready."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.chart import ROOT

SCRIPTS = sorted(path for path in (ROOT / ".ci").iterdir() if path.is_file())
NEEDED = ["bash", "cat", "cut", "dirname", "env", "mkdir", "mktemp", "mv", "rm", "sha256sum"]

WORKS = {
    "go": ': > "$GOBIN/helm"',
    "apt-get": '[ "$1" = update ] || : > "${!#}_1_all.deb"',
    "dpkg-deb": 'mkdir -p "$3/usr/bin"',
}


def run(script: str, directory: Path, **commands: str) -> subprocess.CompletedProcess[str]:
    """A script, on a machine that has no more commands than these; of each, what it does."""
    tools = directory / "bin"
    tools.mkdir()
    for name in NEEDED:
        place = shutil.which(name)
        assert place
        (tools / name).symlink_to(place)
    for name, does in commands.items():
        (tools / name).write_text(f"#!/usr/bin/env bash\n{does}\n")
        (tools / name).chmod(0o755)
    environment = {"PATH": str(tools), "HOME": str(directory), "XDG_CACHE_HOME": str(directory), "PYTHON_IMAGE": "x"}
    command = [str(tools / "bash"), str(ROOT / ".ci" / script)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("command", ["go", "apt-get", "dpkg-deb"])
def test_a_download_that_fails_is_not_swallowed(tmp_path: Path, command: str) -> None:
    done = run("prepare-deploy", tmp_path, **WORKS | {command: "exit 1"})
    assert done.returncode != 0
    assert "ready" not in done.stderr
    assert done.stdout == "", "the caller would take it for the environment of the tests"


def test_with_all_downloads_it_is_ready(tmp_path: Path) -> None:
    done = run("prepare-deploy", tmp_path, **WORKS)
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path}/hiper-tools/prometheus/usr/bin:{tmp_path}/hiper-tools/helm-" in done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_no_function_runs_where_set_e_does_not_hold(script: Path) -> None:
    """`set -e` is off in all of a && or || list but its last command, and in conditions: and so within the functions
    that are called there."""
    text = script.read_text(encoding="utf-8")
    assert "set -euo pipefail" in text
    functions = "|".join(set(re.findall(r"^(\w+)\(\)", text, re.MULTILINE)) - {"is_built", "say", "die"})
    if functions:
        assert not re.search(rf"(?:\|\| *\{{|\b(?:if|while|until|!)) *(?:{functions})\b[^|\n]*(?:&&|;|$)", text)
        assert not re.search(rf"^\s*(?:{functions})\b[^|&\n]*(?:&&|\|\|)(?! true| say)", text, re.MULTILINE)
