"""Argo CD and `helm template` render the chart without a cluster. With the values of the README two renderings are
equal."""

import re
from typing import Any

import pytest
import yaml

from tests.deploy.chart import CHART, DEV, Manifest, helm, merge

README = (CHART / "README.md").read_text(encoding="utf-8")


def block(heading: str) -> dict[str, Any]:
    """The first values.yaml below a heading of the README."""
    below = README.partition(f"\n{heading}\n")[2]
    found = re.search(r"```yaml\n# values.yaml\n(.*?)```", below, re.DOTALL)
    assert found, heading
    values: dict[str, Any] = yaml.safe_load(found[1])
    return values


OURS = block("### Argo CD and `helm template`")
STABLE = merge(block("## Run it"), OURS)


def fresh(values: dict[str, Any]) -> list[Manifest]:
    """A rendering of its own: the one of tests/deploy/chart.py is remembered."""
    text = helm("template", "r", str(CHART), "--namespace", "ns", values=values)
    return [manifest for manifest in yaml.safe_load_all(text) if manifest]


def test_with_these_values_two_renderings_are_equal() -> None:
    first = fresh(STABLE)
    assert first == fresh(STABLE)
    assert not any(manifest["kind"] == "Secret" for manifest in first)


@pytest.mark.parametrize(
    "values",
    [
        merge(STABLE, {"tokens": {"existingSecret": ""}}),
        merge(STABLE, {"admin": {"existingSecret": ""}}),
        merge(STABLE, {"tests": {"enabled": True}}),
        merge({name: OURS[name] for name in ("tokens", "admin", "tests")}, DEV),
    ],
    ids=["tokens", "admin", "tests", "dev"],
)
def test_without_one_of_them_each_rendering_has_secrets_of_its_own(values: dict[str, Any]) -> None:
    assert fresh(values) != fresh(values)


def test_the_broker_is_let_through_at_the_port_that_is_named() -> None:
    policies = [manifest for manifest in fresh(STABLE) if manifest["kind"] == "NetworkPolicy"]
    ports = {port["port"] for policy in policies for rule in policy["spec"]["egress"] for port in rule.get("ports", [])}
    assert OURS["broker"]["port"] in ports
    assert 5672 not in ports
