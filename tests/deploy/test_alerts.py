"""Every alert can fire, stays silent while all is well, is about metrics that exist, and has a page that helps."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from scripts.metrics import SERIES
from tests.deploy.alert_rules import RULES, RUNBOOKS, Rule, names_in, rules
from tests.deploy.chart import require

CASES = Path(__file__).with_name("alerts_test.yaml")
ALERTS = pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])


@ALERTS
def test_an_alert_is_about_metrics_that_exist(rule: Rule) -> None:
    assert names_in(rule["expr"]) <= SERIES
    assert names_in(rule["expr"]) or "up{" in rule["expr"]


@ALERTS
def test_every_series_of_an_alert_is_one_of_this_deployment(rule: Rule) -> None:
    """The chart puts its release in place of this label."""
    series = re.findall(r"\b(?:hiper_\w+|up)\b(\{namespace=\"hiper\")?", rule["expr"])
    assert series
    assert all(series)


@ALERTS
def test_an_alert_says_how_bad_it_is_and_what_to_do(rule: Rule) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"].endswith(".")
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{rule['alert']}.md"


@ALERTS
def test_the_page_of_an_alert_says_what_it_means_how_to_see_and_what_to_do(rule: Rule) -> None:
    page = (RUNBOOKS / f"{rule['alert']}.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ .*$", page, re.MULTILINE)
    assert headings == [f"# {rule['alert']}", "## What it means", "## How to see", "## What to do"]


def test_there_is_no_page_without_an_alert_but_the_first_which_leads_to_all() -> None:
    first = RUNBOOKS / "README.md"
    alerts = {rule["alert"] for rule in rules()}
    assert {page.stem for page in RUNBOOKS.glob("*.md")} == alerts | {first.stem}
    assert {*re.findall(r"\((\w+)\.md\)", first.read_text(encoding="utf-8"))} == alerts


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=lambda page: page.stem)
def test_pages_speak_of_metrics_that_exist(page: Path) -> None:
    families = SERIES | {re.sub("_(bucket|count|sum)$", "", name) for name in SERIES}
    assert names_in(page.read_text(encoding="utf-8")) <= families


def test_the_rules_are_valid() -> None:
    done = subprocess.run([require("promtool"), "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_each_alert_fires_when_it_should_and_not_before() -> None:
    done = subprocess.run([require("promtool"), "test", "rules", CASES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_alert_is_without_a_case() -> None:
    fired, silent = set[str](), set[str]()
    for case in yaml.safe_load(CASES.read_text(encoding="utf-8"))["tests"]:
        for moment in case["alert_rule_test"]:
            (fired if moment.get("exp_alerts") else silent).add(moment["alertname"])
    assert fired == silent == {rule["alert"] for rule in rules()}
