"""The alerting rules, and Prometheus's own tools to try them with."""

import re
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.chart import CHART, ROOT

RULES = CHART / "files" / "alerts.yaml"
RUNBOOKS = ROOT / "docs" / "runbooks"
Rule = dict[str, Any]


def rules(path: Path = RULES) -> list[Rule]:
    (group,) = yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    found: list[Rule] = group["rules"]
    return found


def names_in(expression: str) -> set[str]:
    """The metrics of ours that an expression asks for."""
    return set(re.findall(r"\bhiper_\w+", expression))
