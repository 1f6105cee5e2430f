"""The chart's values are an API: closed, documented, and the same in the file, the schema and the README."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from scripts.generate_chart_docs import README, VALUES, renewed, values
from tests.deploy.chart import CHART, COMPONENTS, DEV, Refused, pods, render, secrets_of

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
DEFAULTS: dict[str, Any] = yaml.safe_load(VALUES.read_text(encoding="utf-8"))
PASSED_ON = "Passed on as it is; Kubernetes checks it."


def _groups(defaults: dict[str, Any], schema: dict[str, Any]) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """Every mapping of the values whose keys the schema names, by its path: the document itself first."""
    yield [], schema
    for name, default in defaults.items():
        below = _resolved(schema["properties"][name])
        if isinstance(default, dict) and "properties" in below:
            yield from (([name, *path], found) for path, found in _groups(default, below))


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    resolved: dict[str, Any] = SCHEMA["definitions"][schema["$ref"].rsplit("/")[-1]] if "$ref" in schema else schema
    return resolved


GROUPS = [".".join(path) for path, _ in _groups(DEFAULTS, SCHEMA)]


@pytest.mark.parametrize("group", GROUPS)
def test_a_typo_is_refused(group: str) -> None:
    typo: dict[str, Any] = {"replcas": 3}
    for name in reversed(group.split(".") if group else []):
        typo = {name: typo}
    with pytest.raises(Refused, match="'replcas' not allowed"):
        render(DEV, typo)


def test_nothing_in_the_schema_is_open_but_what_kubernetes_checks() -> None:
    def objects(schema: object) -> Iterator[dict[str, Any]]:
        if isinstance(schema, dict):
            if schema.get("type") == "object":
                yield schema
            for part in schema.values():
                yield from objects(part)
        elif isinstance(schema, list):
            for part in schema:
                yield from objects(part)

    listed = [each for each in objects(SCHEMA) if each.get("description") != PASSED_ON]
    # Helm gives a subchart its parent's `global`, whatever is in it.
    open_ones = [each for each in listed if each.get("additionalProperties", True) is True]
    assert open_ones == [SCHEMA["properties"]["global"]]


@pytest.mark.parametrize("group", GROUPS)
def test_schema_and_defaults_have_the_same_keys(group: str) -> None:
    place = DEFAULTS
    for name in group.split(".") if group else []:
        place = place[name]
    (schema,) = (found for path, found in _groups(DEFAULTS, SCHEMA) if ".".join(path) == group)
    assert place.keys() == schema["properties"].keys() - {"global"}


def test_every_value_says_what_it_means() -> None:
    assert [value.key for value in values() if not value.meaning] == []


def test_the_readme_lists_every_value() -> None:
    """If this fails: python -m scripts.generate_chart_docs"""
    text = README.read_text(encoding="utf-8")
    assert text == renewed(text)
    assert text.count("\n| `") == len(values())


def test_the_values_that_the_readme_shows_are_taken() -> None:
    blocks = re.findall(r"```yaml\n# values.yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    whole, without_cluster, certificates = map(yaml.safe_load, blocks)
    manifests = render(whole)
    used = set().union(*map(secrets_of, pods(manifests).values()))
    own = {f"store-{name}" for name in COMPONENTS} | {f"broker-{name}" for name in COMPONENTS if name != "auth"}
    assert used == own | {"hiper-tokens", "hiper-admin", "r-hiper-test"}
    assert render(whole, without_cluster, certificates)


def test_the_chart_has_the_version_of_the_project() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    project = (CHART.parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'\nversion = "{chart["appVersion"]}"\n' in project
