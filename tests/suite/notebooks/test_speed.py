"""`speed.ipynb` at a tiny size: what it shows is what its benchmark measured."""

from __future__ import annotations

from html import unescape
from pathlib import Path

import pytest

from dynroute_suite.report.numbers import significant
from dynroute_suite.report.speed_record import read_speed
from support.notebook_runs import execute, shown


@pytest.mark.slow
def test_times_and_curve_are_those_measured(tmp_path: Path) -> None:
    small = {"height": 64, "width": 128, "channels": 8, "layers": 3, "runs": 1}
    cells = execute("speed", tmp_path, out=str(tmp_path / "speed"), **small)
    opened = read_speed(tmp_path / "speed" / "inference-open-64x128-cpu-default.json")
    (table,) = shown(cells["open"], "text/markdown")
    for one in opened.measurements:
        assert f"| {one.subject} | 64×128 | 1 | 100 | {significant(one.median_ms)} |" in table
    alt = unescape(shown(cells["routes"], "text/html")[0])
    assert "torch float32: " in alt and "of its time at" in alt
    assert shown(cells["committed"], "text/markdown")
