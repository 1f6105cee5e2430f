"""The results as JSON, as a plot, and as a page for people. What they mean is in RESULTS.head.md, written by hand."""

import json
import os
import platform
import re
import statistics
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks import tools

if TYPE_CHECKING:
    from benchmarks.__main__ import Run

HERE = Path(__file__).parent
MIB = 2**20


def document(run: "Run") -> dict[str, Any]:
    """Everything that was measured, and where."""
    return {
        "machine": machine(),
        "rounds": run.rounds,
        "rows": [row.document() for row in run.rows],
        "tables": run.tables,
        "resident_bytes": run.memory,
        "left_out": run.left_out,
    }


def machine() -> dict[str, str]:
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else None
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True)  # noqa: S607
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": git.stdout.strip(),
        "processor": f"{os.cpu_count()} cores of {found[1] if found else platform.processor()}",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "MinIO": tools.minio_version(),
        "tusd": tools.TUSD_VERSION,
        "uvicorn": version("uvicorn"),
        "aiohttp": version("aiohttp"),
        "aio-pika": version("aio-pika"),
    }


def write(results: dict[str, Any]) -> None:
    (HERE / "RESULTS.json").write_text(json.dumps(results, indent=1) + "\n")
    plot(results, HERE / "results.svg")
    (HERE / "RESULTS.md").write_text(page(results))


def page(results: dict[str, Any]) -> str:
    """RESULTS.md."""
    parts = [(HERE / "RESULTS.head.md").read_text().strip(), _machine(results), "![Ratios](results.svg)"]
    groups = dict.fromkeys(row["group"] for row in results["rows"])
    for group in groups:
        parts += [f"## {group[0].upper()}{group[1:]}", _table([r for r in results["rows"] if r["group"] == group])]
    parts += ["## Processor time per request", _costs(results["rows"])]
    for name, rows in results["tables"].items():
        parts += [f"## {name.capitalize()}", _plain(rows)]
    parts += ["## Resident memory, at most", _plain([{k: f"{v / MIB:.0f} MiB" for k, v in _sizes(results).items()}])]
    if results["left_out"]:
        parts += ["## Left out", "\n".join(f"- {reason}" for reason in results["left_out"])]
    return "\n\n".join(parts) + "\n"


def _sizes(results: dict[str, Any]) -> dict[str, int]:
    sizes: dict[str, int] = results["resident_bytes"]
    return sizes


def _machine(results: dict[str, Any]) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in results["machine"].items())
    return f"{facts}. Median of {results['rounds']} alternating rounds, the lowest and the highest in brackets."


def _table(rows: list[dict[str, Any]]) -> str:
    systems = list(dict.fromkeys(name for row in rows for name in row["values"]))
    references = [name for name in systems if name != "hiper"]
    head = ["", *(f"{name}, {rows[0]['unit']}" for name in systems), *(f"to {name}" for name in references)]
    lines = []
    for row in rows:
        medians = [f"{statistics.median(row['values'][n]):.4g}" if n in row["values"] else "" for n in systems]
        lines.append([row["name"], *medians, *(_ratio(row["ratios"].get(name)) for name in references)])
    if "hiper" not in systems:
        head, lines = head[: len(systems) + 1], [cells[: len(systems) + 1] for cells in lines]
    return _lines(head, lines)


def _ratio(ratio: dict[str, float] | None) -> str:
    return f"**{ratio['median']:.2f}x** ({ratio['low']:.2f} to {ratio['high']:.2f})" if ratio else ""


def _costs(rows: list[dict[str, Any]]) -> str:
    """Milliseconds of each process for one request, everything that follows from it included."""
    rows = [row for row in rows if row["cost"] and "replicas" not in row["group"]]
    roles = list(dict.fromkeys(role for row in rows for role in row["cost"]))
    head = ["milliseconds", *roles, "all"]
    return _lines(
        head,
        [
            [
                f"{row['group'].rpartition(', ')[2]}: {row['name']}",
                *(f"{row['cost'][role]:.2f}" if role in row["cost"] else "" for role in roles),
                f"{sum(row['cost'].values()):.2f}",
            ]
            for row in rows
        ],
    )


def _plain(rows: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_figure(row.get(name, "")) for name in names] for row in rows]
    return _lines(names, cells)


def _figure(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _lines(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def plot(results: dict[str, Any], path: Path) -> None:
    """Ratios to every reference, with their spread; the line is 1."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "hiper"  # the same figures make the same file
    mpl.rcParams["svg.fonttype"] = "none"  # letters, not their outlines
    import matplotlib.pyplot as plt

    bars = [
        (f"{row['group']}: {row['name']}", name, ratio)
        for row in results["rows"]
        for name, ratio in row["ratios"].items()
    ]
    references = sorted({name for _, name, _ in bars})
    colours = {name: f"C{n}" for n, name in enumerate(references)}
    figure, axes = plt.subplots(figsize=(10, 0.28 * len(bars) + 1))
    for at, (_, name, ratio) in enumerate(bars):
        spread = [[ratio["median"] - ratio["low"]], [ratio["high"] - ratio["median"]]]
        axes.barh(at, ratio["median"], xerr=spread, color=colours[name], capsize=2)
    axes.set_yticks(range(len(bars)), [f"{label} / {name}" for label, name, _ in bars], fontsize=7)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("times as fast as the reference")
    axes.invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":  # make the page and the plot anew from the figures
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "RESULTS.json"
    write(json.loads(source.read_text()))
