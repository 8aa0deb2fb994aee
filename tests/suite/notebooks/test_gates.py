"""`gates.ipynb`, run on the committed records and two small streets: its numbers are the gates' and the records'."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest

from dynroute_suite.book.pages.inside import recorded_factor_figures
from dynroute_suite.report.routed_runs import routed_runs
from support.notebook_runs import execute, shown


@pytest.mark.slow
def test_costs_start_and_recorded_factors_are_told(tmp_path: Path) -> None:
    cells = execute("gates", tmp_path, scenes=2)
    (start,) = shown(cells["start"], "text/markdown")
    assert "tanh(1.5) = 0.905" in start
    (costs,) = shown(cells["cost"], "text/markdown")
    # The table of the original's facts: all open 119.492 and 103.676 GFLOPs at 1024×2048.
    assert re.search(r"\| full \| .*\| 119\.5 \|", costs) and re.search(r"\| small \| .*\| 103\.7 \|", costs)
    (untrained,) = shown(cells["untrained"], "text/html")
    assert "Factors before training. untrained: " in untrained
    told = unescape("".join(shown(cells["recorded"], "text/html")))
    for figure in recorded_factor_figures(routed_runs()):
        assert figure.alt in told
