"""Runs of several seeds stand together; rows are compared on the same images alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dynroute_suite.report import seeds
from dynroute_suite.report.results import Results
from support.sample_records import sample_record
from support.sample_runs import write_run


def test_runs_that_differ_in_the_seed_alone_stand_together(tmp_path: Path) -> None:
    first = sample_record(row="dynamic-a")
    older = {**first.config, "train": {k: v for k, v in first.config["train"].items() if k != "compile"}}
    for seed, miou, config in ((0, 40.0, older), (1, 44.0, {**first.config, "seed": 1})):
        write_run(tmp_path, replace(first, seed=seed, metrics=replace(first.metrics, miou_percent=miou), config=config))
    write_run(tmp_path, sample_record(row="dynamic-c"))
    runs = Results(tmp_path).committed
    several, single = seeds.by_setting(runs)
    assert (several.n, several.mean_percent, several.spread) == (2, 42.0, pytest.approx(8**0.5))
    assert (single.n, single.spread) == (1, None)
    text = seeds.seeds_table(runs)
    assert "| 42.0 | 2.8 |" in text
    assert "n = 1" in text.splitlines()[-1]


def test_rows_are_compared_on_the_same_images_only(tmp_path: Path) -> None:
    write_run(tmp_path, sample_record(row="dynamic-a"), routes=True)
    write_run(tmp_path, sample_record(row="dynamic-c"), routes=True)
    other = sample_record(row="dynamic-raw")
    write_run(tmp_path, replace(other, data=replace(other.data, val_fingerprint="e" * 64)), routes=True)
    found = seeds.comparisons(Results(tmp_path).committed)
    assert [(a.record.row, b.record.row) for a, b, _ in found] == [("dynamic-c", "dynamic-a")]
    assert found[0][2].points == 0  # the sample's counts are the same for every row
    assert not found[0][2].clear
    assert "not told apart" in seeds.comparison_table(found)
