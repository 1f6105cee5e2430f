"""Write the table of values into the chart's README: `python -m scripts.generate_chart_docs`.

It comes from the `# --` comment above each key of values.yaml: the key, its default and its meaning.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

CHART = Path(__file__).parents[1] / "deploy" / "helm" / "hiper"
README = CHART / "README.md"
VALUES = CHART / "values.yaml"
_BLOCK = re.compile(r"(<!-- generated: values -->\n).*?(<!-- end -->)", re.DOTALL)


class Value(NamedTuple):
    """A key of values.yaml that an operator sets as a whole. `meaning` is empty if values.yaml has no comment there."""

    key: str
    default: Any
    meaning: str


def values() -> list[Value]:
    """In the order of the file. A mapping without a comment of its own is a group: its keys are listed instead."""
    text = VALUES.read_text(encoding="utf-8")
    root = yaml.compose(text, yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        raise TypeError(f"{VALUES} is no mapping")
    return list(_below(root, yaml.safe_load(text), text.splitlines(), ""))


def _below(node: yaml.MappingNode, defaults: dict[str, Any], lines: list[str], prefix: str) -> Iterator[Value]:
    for name, content in node.value:
        meaning = _comment_above(lines, name.start_mark.line)
        default = defaults[name.value]
        if isinstance(content, yaml.MappingNode) and default and not meaning:
            yield from _below(content, default, lines, f"{prefix}{name.value}.")
        else:
            yield Value(prefix + name.value, default, meaning)


def _comment_above(lines: list[str], line: int) -> str:
    """The text of the `# --` comment that ends just above a line (counted from 0)."""
    said: list[str] = []
    for above in reversed(lines[:line]):
        text = above.strip()
        if text.startswith("# -- "):
            return " ".join([text.removeprefix("# -- "), *reversed(said)])
        if not text.startswith("# "):
            break
        said.append(text.removeprefix("# "))
    return ""


def table() -> str:
    rows = ["| value | default | meaning |", "|---|---|---|"]
    rows += [f"| `{value.key}` | `{json.dumps(value.default)}` | {value.meaning} |" for value in values()]
    return "\n".join(rows)


def renewed(readme: str) -> str:
    """The README with its table as it should be."""
    return _BLOCK.sub(lambda found: f"{found[1]}{table()}\n{found[2]}", readme)


def main() -> None:
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
