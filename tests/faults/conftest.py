"""Prints what was counted."""

import pytest

from tests.faults.tables import tables


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for table in tables.values():
        terminalreporter.section(table.title)
        for line in table.lines():
            terminalreporter.line(line)
