"""docs/guarantees.md names tests that exist."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.findall(r"^- `(tests/[\w/]+\.py)::(\w+)`$", (ROOT / "docs/guarantees.md").read_text(), re.MULTILINE)


def names_in(path: Path) -> Counter[str]:
    """How often each name is that of a test, of the module or of one of its classes, which `make test` runs."""
    module = ast.parse(path.read_text()).body
    inside = [node for group in module if isinstance(group, ast.ClassDef) for node in group.body]
    functions = (n for n in [*module, *inside] if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    return Counter(f.name for f in functions if not any("chaos" in ast.unparse(mark) for mark in f.decorator_list))


@pytest.mark.parametrize("path", sorted({path for path, _ in NAMED}))
def test_every_test_that_is_named_exists(path: str) -> None:
    named = {name for where, name in NAMED if where == path}
    there = names_in(ROOT / path)
    assert {name: there[name] for name in named} == dict.fromkeys(named, 1)


def test_every_promise_names_a_test() -> None:
    promises = re.split(r"^### ", (ROOT / "docs/guarantees.md").read_text(), flags=re.MULTILINE)[1:]
    assert len(promises) == 19
    for promise in promises:
        assert re.search(r"^- `tests/", promise, re.MULTILINE), promise.partition("\n")[0]
