"""`routing_space.ipynb`, run on a small space: its tables are the cost accounting's, its diagram has every cell."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dynroute_core.cost import cost_table
from dynroute_core.space import ModelConfig, RoutingSpace
from dynroute_suite.report.numbers import gmacs, macs_text
from support.notebook_runs import execute, shown


@pytest.mark.slow
def test_tables_and_diagrams_are_of_the_space_that_was_asked_for(tmp_path: Path) -> None:
    cells = execute("routing_space", tmp_path, layers=4, channels=4, height=256, width=512)
    config = ModelConfig(layers=4, channels=4, stem_channels=8)
    space = RoutingSpace.of(config)
    table = cost_table(config, height=256, width=512, accounting="paper")
    (words,) = shown(cells["space"], "text/markdown")
    assert f"4 layers hold {len(space.cells)} cells and {len(space.all_paths)} paths" in words
    assert f"to {macs_text(table.all_open)} with every path open" in words
    (diagram,) = shown(cells["space"], "text/html")
    assert diagram.count("<circle") >= len(space.cells)
    (scales,) = shown(cells["scales"], "text/markdown")
    rows = [line.split(" | ") for line in scales.splitlines()[2:]]
    assert [row[3] for row in rows] == [str(sum(cell.scale == k for cell in space.cells)) for k in range(4)]
    (parts,) = shown(cells["parts"], "text/markdown")
    assert f"| all open | {gmacs(table.all_open)} |" in parts
    (routes,) = shown(cells["routes"], "text/markdown")
    costs = dict(re.findall(r"^\| (\S[^|]*?) \| .*? \| .*? \| (.*?) \|", routes, flags=re.MULTILINE))
    assert costs["all-open"] == macs_text(table.all_open)
    assert costs["all-closed"] == macs_text(table.all_closed)
    assert "Route of an untrained network: " in shown(cells["diagram"], "text/html")[0]
