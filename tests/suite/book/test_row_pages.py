"""Rows' pages: what they cannot read stops the build; the seeds of a setting stand together. More: test_book.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dynroute_core.runs.record import CURVE, write_curve
from dynroute_core.system.errors import BlockedError
from dynroute_suite.book.row_pages import row_page
from dynroute_suite.report.results import Results
from support.sample_records import sample_curve, sample_record
from support.sample_runs import write_run


def write_whole_run(results: Path, *, seed: int, batch: int | None = None) -> None:
    """A run with routes and curve; batch: another than the row's own."""
    record = sample_record(row="dynamic-a")
    config = record.config | {"seed": seed}
    if batch is not None:
        train = config["train"]
        assert isinstance(train, dict)
        config["train"] = train | {"batch": batch}
    record = replace(record, seed=seed, config=config)
    write_run(results, record, routes=True)
    write_curve(results / record.row / f"demo-streets-seed{seed}" / CURVE, sample_curve())


def test_a_run_without_its_curve_stops_the_build(tmp_path: Path) -> None:
    write_run(tmp_path, sample_record(row="dynamic-a"), routes=True)
    with pytest.raises(BlockedError, match=CURVE):
        row_page("dynamic-a", Results(tmp_path))


def test_seeds_of_one_setting_share_its_figures(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_whole_run(tmp_path, seed=seed)
    page = row_page("dynamic-a", Results(tmp_path))
    assert page.count("<figure") == 5  # what came out, how it learned, classes, mean route, cost
    assert "(2) |" not in page and "± 0.0 (2)" in page
    assert "dynamic-a, demo, streets, 2 seeds" in page


def test_settings_of_one_row_say_what_sets_them_apart(tmp_path: Path) -> None:
    write_whole_run(tmp_path, seed=0)
    write_whole_run(tmp_path, seed=1, batch=3)
    page = row_page("dynamic-a", Results(tmp_path))
    assert page.count("<figure") == 9
    assert "demo, streets, batch 3" in page
