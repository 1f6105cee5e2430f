"""The Grafana dashboard is generated, and asks for nothing that is not there."""

import json
import re
from typing import Any

import pytest

from scripts.generate_dashboard import DASHBOARD, dashboard
from scripts.metrics import METRICS, SERIES
from scripts.render_dashboard import UNITS
from tests.deploy.alert_rules import names_in
from tests.deploy.chart import ROOT

MODEL: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
PANELS = [panel for panel in MODEL["panels"] if panel["type"] != "row"]
EACH = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
NOT_SHOWN = {"hiper_uploads_oldest_seconds", "hiper_sweep_duration_seconds"}  # for looking closer


def test_it_is_up_to_date() -> None:
    """If this fails: python -m scripts.generate_dashboard"""
    assert DASHBOARD.read_text(encoding="utf-8") == dashboard()
    assert (ROOT / "deploy" / "dashboards" / "hiper.json").resolve() == DASHBOARD


@EACH
def test_a_panel_draws_metrics_that_exist(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        assert names_in(target["expr"])
        assert names_in(target["expr"]) <= SERIES


@EACH
def test_a_panel_draws_the_chosen_deployment(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        series = re.findall(r"\bhiper_\w+(\{namespace=~\"\$namespace\")?", target["expr"])
        assert all(series)


@EACH
def test_a_legend_names_labels_that_the_expression_keeps(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        kept = {label for group in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in group.split(", ")}
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= kept


@EACH
def test_a_panel_has_a_unit_and_a_word_of_explanation(panel: dict[str, Any]) -> None:
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["description"].endswith(".")


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for at in (panel["gridPos"] for panel in MODEL["panels"]):
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_every_metric_has_its_panel() -> None:
    shown = {name for panel in PANELS for target in panel["targets"] for name in names_in(target["expr"])}
    assert {metric.name for metric in METRICS if not metric.series & shown} == NOT_SHOWN
