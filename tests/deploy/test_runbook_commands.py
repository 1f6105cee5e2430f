"""Every command of the runbooks and of docs/operations.md can be pasted: what it names is there."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from libs.common.settings import Settings
from scripts.generate_chart_docs import values
from scripts.metrics import SERIES
from tests.deploy.alert_rules import RUNBOOKS, names_in
from tests.deploy.chart import DEV, ROOT, Manifest, of_kind, pods, render, require

PAGES = [*sorted(RUNBOOKS.glob("*.md")), ROOT / "docs" / "operations.md"]
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
IN_IMAGE = {"python", "hiper", "df"}  # test_images.py looks for them in the image itself
IN_BROKER = {"rabbitmqctl"}
OF_OTHERS = {"TMPDIR", "SECRET_KEY_PREVIOUS"}
OF_EVERY_LINE = r'"(level|status|subject)": |"?\(?(warning|error|critical)'  # keys of a line, and its levels
MADE_BY_OPERATORS = {"sts/hiper-rabbitmq-server"}  # the RabbitMQ Cluster Operator


class Block(NamedTuple):
    """A code block of a page."""

    page: str
    text: str


def blocks(language: str) -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found += [Block(page.stem, block) for block in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)]
    return found


SHELL = blocks("sh")
EACH = pytest.mark.parametrize("block", SHELL, ids=lambda block: f"{block.page}: {block.text[:40]}")


def commands(text: str, name: str) -> Iterator[list[str]]:
    """The words of each call of a program, up to the next `|`, `;` or `)`."""
    joined = text.replace("\\\n", " ")
    for found in re.findall(rf"(?:^|[|;(] *|do +)({name} [^\n]*)", joined, re.MULTILINE):
        lexer = shlex.shlex(found, posix=True, punctuation_chars="|;()")
        lexer.whitespace_split = True
        words = []
        for word in lexer:
            if set(word) <= set("|;()"):
                break
            words.append(word)
        yield words


@cache
def release() -> tuple[Manifest, ...]:
    """The chart, as the pages take it to be installed."""
    text = yaml.safe_dump({"fullnameOverride": "hiper"})
    everything = {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}
    return tuple(render(DEV, everything, yaml.safe_load(text)))


def workloads() -> set[str]:
    short = {"Deployment": "deploy", "StatefulSet": "sts"}
    return {f"{short[each['kind']]}/{each['metadata']['name']}" for each in of_kind([*release()], *short)}


def test_there_are_commands() -> None:
    assert len(SHELL) > 30
    assert len(blocks("promql")) > 10


@EACH
def test_a_block_is_shell(block: Block) -> None:
    done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@EACH
def test_no_command_needs_what_the_images_have_not(block: Block) -> None:
    assert not re.search(r"\b(curl|wget|nc|jq)\b", block.text)


@EACH
def test_kubectl_is_told_the_namespace_and_workloads_that_the_chart_makes(block: Block) -> None:
    for words in commands(block.text, "kubectl"):
        assert words[1:3] == ["-n", "hiper"], words
        named = {word for word in words if re.match(r"(deploy|sts)/", word)}
        assert named <= workloads() | MADE_BY_OPERATORS, words
        if words[3] == "exec":
            run_in_pod(words)


def run_in_pod(words: list[str]) -> None:
    target, program = words[4], words[words.index("--") + 1 :]
    assert program[0] in (IN_BROKER if "rabbitmq" in target else IN_IMAGE), words
    if program[:2] == ["python", "-m"]:
        assert find_spec(program[2]), words


@EACH
def test_a_selector_finds_pods_of_the_chart(block: Block) -> None:
    labels = [pod["metadata"]["labels"] for pod in pods([*release()]).values()]
    instance = ("app.kubernetes.io/instance", "hiper")  # the release is called r here
    for words in commands(block.text, "kubectl"):
        if "-l" not in words:
            continue
        selector = words[words.index("-l") + 1]
        if listed := re.fullmatch(r"(\S+) in \((.*)\)", selector):
            wanted = [(listed[1], value) for value in listed[2].split(",")]
        else:
            wanted = [tuple(part.split("=")) for part in selector.split(",")]  # type: ignore[misc]
        for key, value in wanted:
            assert (key, value) == instance or any(each.get(key) == value for each in labels), selector


@EACH
def test_what_is_looked_for_in_the_log_is_logged(block: Block) -> None:
    source = code()
    for words in commands(block.text, "grep"):
        for alternative in words[-1].split("|"):
            text = alternative.replace("[ _]", " ")
            if re.search(r"[a-z]", text) and not re.match(OF_EVERY_LINE, text):
                spelled = {text, text.replace(" ", "_"), text.title().replace("_", "")}  # audit events are classes
                assert any(form in source for form in spelled), f"never logged: {text}"


@cache
def code() -> str:
    files = [path for folder in ("libs", "services") for path in (ROOT / folder).rglob("*.py")]
    return "".join(path.read_text(encoding="utf-8") for path in files)


def test_expressions_are_about_metrics_that_exist_and_can_be_asked(tmp_path: Path) -> None:
    rules: list[dict[str, str]] = []
    for block in blocks("promql"):
        for line in block.text.splitlines():
            assert names_in(line), line
            assert names_in(line) <= SERIES, line
            rules.append({"record": f"asked:{len(rules)}", "expr": line})
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "pages", "rules": rules}]}))
    done = subprocess.run([require("promtool"), "check", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@cache
def keys() -> frozenset[str]:
    """Of the chart's values."""
    return frozenset(value.key for value in values())


@EACH_PAGE
def test_settings_and_values_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    capitals = set(re.findall(r"(?<![\w.])[A-Z]{3,}(?:_[A-Z]+)+(?![\w.])", prose))
    assert capitals - OF_OTHERS <= {name.upper() for name in Settings.model_fields}
    known = keys()
    roots = {key.partition(".")[0] for key in known}
    for named in re.findall(r"`([a-z]\w*(?:\.\w+)+)`", text):
        if named.partition(".")[0] in roots and not named.endswith((".json", ".dead", ".events")):
            assert any(key == named or key.startswith(f"{named}.") for key in known), named
