"""`notebooks/compare.ipynb` on made-up runs: what stands together, and what must not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dynroute_core.runs.record import RECORD, Record, write_record
from dynroute_core.system.errors import UsageError
from dynroute_suite.report.results import Committed, results_in, selected
from dynroute_suite.report.side_by_side import runs_table
from support.notebook_runs import execute, shown
from support.sample_records import sample_record


def write_run(results: Path, record: Record) -> None:
    name = f"{record.profile}-{record.data.name}-seed{record.seed}"
    write_record(results / record.row / name / RECORD, record)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    first = sample_record(row="dynamic-a")
    write_run(tmp_path, first)
    iou = {name: None if value is None else value - 1 for name, value in first.metrics.class_iou_percent.items()}
    metrics = replace(first.metrics, miou_percent=50.04, class_iou_percent=iou)
    write_run(tmp_path, replace(sample_record(row="dynamic-c"), metrics=metrics))
    write_run(tmp_path, sample_record(row="dynamic-a", profile="smoke"))
    return tmp_path


@pytest.mark.slow
def test_runs_stand_beside_their_like_alone(results: Path) -> None:
    cells = execute("compare", results, results=str(results))
    demo, smoke = shown(cells["runs"], "text/markdown")
    assert demo.startswith("### Demo profile on streets")
    assert "| dynamic-a | 0 | 41.2 |" in demo
    assert "| dynamic-c | 0 | 50.0 |" in demo
    assert smoke.startswith("### Smoke profile on streets")
    assert "dynamic-c" not in smoke
    classes, _ = shown(cells["classes"], "text/markdown")
    assert "| road | 91.7 | −1.0 |" in classes
    assert "| train | – | – |" in classes
    (plane,) = shown(cells["plane"], "text/html")
    assert "ours in a panel apart (demo profile, streets)" in plane


def test_rows_can_be_chosen(results: Path) -> None:
    with results_in(results):
        assert [one.record.row for one in selected(rows=["dynamic-c"])] == ["dynamic-c"]
        assert len(selected(profile="smoke")) == 1
        with pytest.raises(UsageError, match="Did you mean 'dynamic-c'"):
            selected(rows=["dynamic-cc"])


def test_unlike_runs_are_refused(results: Path) -> None:
    runs = [Committed(results, sample_record(profile=profile)) for profile in ("demo", "smoke")]
    with pytest.raises(UsageError, match="demo on streets and smoke on streets"):
        runs_table(runs)
