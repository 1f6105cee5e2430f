"""Draw the dashboard from its own expressions: `python -m scripts.render_dashboard URL START END -o FILE.png`.

For documents, and for machines without Grafana: the panels, legends and units are those of the dashboard's JSON, the
numbers those of the Prometheus at URL between START and END (seconds since the epoch).
"""

import argparse
import json
import math
import re
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from scripts.generate_dashboard import DASHBOARD

POINTS = 240  # along a panel
BACKGROUND, PANEL, GRID, TEXT = "#111217", "#181b1f", "#2c3036", "#ccccdc"  # Grafana's dark theme
COLORS = ("#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff", "#96d98d", "#ffb357", "#ca95e5",
          "#37872d", "#fa6400")  # fmt: skip
Series = tuple[str, list[float], list[float]]  # name, minutes since the start, values


def scaled(value: float, steps: list[tuple[float, str]]) -> str:
    for size, unit in steps:
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


BYTES = [(2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B")]
UNITS: dict[str, Callable[[float], str]] = {
    "s": lambda v: scaled(v, [(3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs")]),
    "bytes": lambda v: scaled(v, BYTES),
    "Bps": lambda v: scaled(v, [(size, f"{unit}/s") for size, unit in BYTES]),
    "reqps": lambda v: f"{v:.3g} /s",
    "ops": lambda v: f"{v:.3g} /s",
    "short": lambda v: f"{v:.3g}",
}


class Source:
    """A Prometheus and a span of time."""

    def __init__(self, url: str, start: float, end: float) -> None:
        self.url, self.start, self.end = url, start, end
        self.step = max(1.0, (end - start) / POINTS)

    def series(self, target: dict[str, str]) -> list[Series]:
        """What a panel's target draws, by legend."""
        expression = target["expr"].replace("$namespace", ".*")
        expression = expression.replace("$__rate_interval", f"{max(15, round(4 * self.step))}s")
        query = {"query": expression, "start": self.start, "end": self.end, "step": self.step}
        address = f"{self.url}/api/v1/query_range?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(address, timeout=30) as answer:  # noqa: S310  # the operator names it
            results = json.load(answer)["data"]["result"]
        return [self._series(target["legendFormat"], result) for result in results]

    def _series(self, legend: str, result: dict[str, Any]) -> Series:
        name = re.sub(r"\{\{(\w+)\}\}", lambda found: result["metric"].get(found[1], ""), legend)
        minutes = [(at - self.start) / 60 for at, _ in result["values"]]
        return name, minutes, [float(value) for _, value in result["values"]]


def draw(axes: Axes, panel: dict[str, Any], source: Source) -> None:
    found = [series for target in panel["targets"] for series in source.series(target)]
    found = [series for series in found if not all(map(math.isnan, series[2]))]
    for n, (name, minutes, values) in enumerate(sorted(found)):
        color = COLORS[n % len(COLORS)]
        axes.plot(minutes, values, color=color, linewidth=1.3, label=name)
        axes.fill_between(minutes, [0 if math.isnan(v) else v for v in values], color=color, alpha=0.07, linewidth=0)
    unit = UNITS[panel["fieldConfig"]["defaults"]["unit"]]
    axes.set_title(panel["title"], loc="left", color=TEXT, fontsize=10, pad=8)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: unit(value)))
    axes.set_xlim(0, (source.end - source.start) / 60)
    axes.set_ylim(bottom=0)
    if axes.get_ylim()[1] < 1e-9 or not any(max(values) for _, _, values in found):
        axes.set_ylim(0, 1)
    if unit in (UNITS["bytes"], UNITS["Bps"]):
        axes.yaxis.set_major_locator(MultipleLocator(2.0 ** math.floor(math.log2(axes.get_ylim()[1] / 3))))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} min"))
    axes.set_facecolor("none")
    axes.grid(color=GRID, linewidth=0.6)
    axes.tick_params(colors=TEXT, labelsize=7.5, length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    if found:
        legend = axes.legend(
            loc="upper left", bbox_to_anchor=(0, -0.1), ncols=3, fontsize=7, frameon=False, labelcolor=TEXT,
            handlelength=1.2, columnspacing=1.2, borderaxespad=0.2,
        )  # fmt: skip
        legend.set_in_layout(True)


def render(source: Source, path: Path) -> None:
    model = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in model["panels"])
    figure = plt.figure(figsize=(17, height * 0.37), facecolor=BACKGROUND)
    figure.text(0.012, 1 - 0.35 / (height * 0.37), model["title"], color="white", fontsize=15, fontweight="bold")
    top = 1 - 0.6 / (height * 0.37)
    for panel in model["panels"]:
        at = panel["gridPos"]
        if panel["type"] == "row":
            figure.text(0.012, top * (1 - (at["y"] + 0.75) / height), panel["title"], color=TEXT, fontsize=12)
            continue
        left, width = at["x"] / 24, at["w"] / 24
        bottom = top * (1 - (at["y"] + at["h"]) / height)
        tall = top * at["h"] / height
        card = Rectangle((left + 0.006, bottom + 0.02 * tall), width - 0.009, 0.95 * tall, facecolor=PANEL, zorder=-1)
        figure.add_artist(card)
        draw(figure.add_axes((left + 0.045, bottom + 0.27 * tall, width - 0.06, 0.58 * tall)), panel, source)
    figure.savefig(path, dpi=90, facecolor=BACKGROUND)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.render_dashboard", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("start", type=float)
    parser.add_argument("end", type=float)
    parser.add_argument("-o", "--output", type=Path, default=Path("dashboard.png"))
    chosen = parser.parse_args()
    render(Source(chosen.url, chosen.start, chosen.end), chosen.output)


if __name__ == "__main__":
    main()
