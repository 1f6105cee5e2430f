"""docs/guarantees.md names tests that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.findall(r"^- `(tests/[\w/]+\.py)::(\w+)`$", (ROOT / "docs/guarantees.md").read_text(), re.MULTILINE)


def functions(path: Path) -> set[str]:
    tree = ast.walk(ast.parse(path.read_text()))
    return {node.name for node in tree if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("path", sorted({path for path, _ in NAMED}))
def test_every_test_that_is_named_exists(path: str) -> None:
    named = {name for where, name in NAMED if where == path}
    assert named <= functions(ROOT / path), sorted(named - functions(ROOT / path))


def test_every_promise_names_a_test() -> None:
    promises = re.split(r"^### ", (ROOT / "docs/guarantees.md").read_text(), flags=re.MULTILINE)[1:]
    assert len(promises) == 14
    for promise in promises:
        assert re.search(r"^- `tests/", promise, re.MULTILINE), promise.partition("\n")[0]
