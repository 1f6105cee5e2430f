"""Combinations of switches that hold every pair of positions at least once."""

import itertools
from collections.abc import Mapping, Sequence

Row = dict[str, str]
Pair = frozenset[tuple[str, str]]


def pairwise(switches: Mapping[str, Sequence[str]]) -> list[Row]:
    """Rows with a position for every switch. For any two switches, each pair of their positions is in some row."""
    wanted = {
        frozenset({(a, x), (b, y)})
        for a, b in itertools.combinations(switches, 2)
        for x in switches[a]
        for y in switches[b]
    }
    rows = []
    while wanted:
        row = dict(min(map(sorted, wanted)))
        for switch in switches:
            if switch not in row:
                row = max(({**row, switch: at} for at in switches[switch]), key=lambda r: len(wanted & _pairs(r)))
        wanted -= _pairs(row)
        rows.append(row)
    return rows


def _pairs(row: Row) -> set[Pair]:
    return {frozenset(pair) for pair in itertools.combinations(row.items(), 2)}
