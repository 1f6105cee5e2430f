"""The tables that a run prints at its end."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Table:
    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)

    def lines(self) -> list[str]:
        """As Markdown."""
        every = [self.columns, *self.rows]
        widths = [max(len(row[i]) for row in every) for i in range(len(self.columns))]
        told = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in every]
        return [told[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *told[1:]]


tables: dict[str, Table] = {}


def table(title: str, *columns: str) -> Table:
    """The table of that title, made at its first use."""
    return tables.setdefault(title, Table(title, columns))
