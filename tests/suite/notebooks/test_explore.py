"""`explore.ipynb`, run on an untrained network and two generated streets: what it prints and shows is the session's."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from support.notebook_runs import execute, shown


@pytest.mark.slow
def test_costs_fall_with_the_threshold_and_the_figure_is_shown(tmp_path: Path) -> None:
    cells = execute("explore", tmp_path, profile="smoke", device="cpu", repeats=1)
    (widget,) = [output for output in cells["panel"]["outputs"] if "data" in output]  # type: ignore[attr-defined]
    assert "application/vnd.jupyter.widget-view+json" in widget["data"]
    (html,) = shown(cells["still"], "text/html")
    assert 'aria-label="' in html and "photograph, truth, prediction and errors" in html
    printed = "".join(
        "".join(output["text"])
        for output in cells["threshold"]["outputs"]  # type: ignore[attr-defined]
        if output["output_type"] == "stream"
    )
    lines = re.findall(r"^(\d\.\d\d)  ([\d.]+) of ([\d.]+) MMACs", printed, flags=re.MULTILINE)
    assert [float(threshold) for threshold, _, _ in lines] == [0.0, 0.25, 0.5, 0.75, 1.0]
    costs = [float(cost) for _, cost, _ in lines]
    # No factor exceeds 1, so at threshold 1 everything is closed; what is left then is the least a picture can cost.
    assert costs[4] == min(costs) < costs[0] <= float(lines[0][2])
    assert "the network is untrained" in printed.lower()
    assert "Traceback" not in json.dumps(cells)
