"""`notebooks/seeds.ipynb` on made-up runs: n, spread, and an interval that a hand can check."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from dynroute_core.runs.record import RECORD, ROUTES, Record, write_record
from dynroute_core.system.strict_json import to_json
from dynroute_suite.report.flow import config_of
from support.notebook_runs import execute, shown
from support.sample_records import sample_record, sample_routes


def write_run(results: Path, record: Record, *, hits: tuple[int, ...]) -> None:
    """A run whose images have these true positives in every class, of 20 pixels each."""
    folder = results / record.row / f"{record.profile}-{record.data.name}-seed{record.seed}"
    write_record(folder / RECORD, record)
    routes = sample_routes(config_of(record), row=record.row)
    images = tuple(
        replace(
            image,
            true_positive=(hit,) * len(image.true_positive),
            false_positive=(20 - hit,) * len(image.true_positive),
            false_negative=(0,) * len(image.true_positive),
        )
        for image, hit in zip(routes.images, hits, strict=True)
    )
    (folder / ROUTES).write_bytes(to_json(replace(routes, images=images)))


@pytest.mark.slow
def test_it_says_n_spread_and_interval(tmp_path: Path) -> None:
    first = sample_record(row="dynamic-a")
    write_run(tmp_path, first, hits=(10,) * 6)
    other = replace(first.metrics, miou_percent=first.metrics.miou_percent + 2)
    again = replace(first, seed=1, metrics=other, config={**first.config, "seed": 1})
    write_run(tmp_path, again, hits=(10,) * 6)
    write_run(tmp_path, sample_record(row="dynamic-c"), hits=(12,) * 6)
    cells = execute("seeds", tmp_path, results=str(tmp_path), resamples=200)
    (table,) = shown(cells["seeds"], "text/markdown")
    two, one = (line for line in table.splitlines()[2:])
    assert re.search(r"\| dynamic-a \| demo \| streets \| 2 \|.*\| 42\.2 \| 1\.4 \|", two)
    assert one.startswith("| dynamic-c | demo | streets | 1 |")
    assert "n = 1" in one
    (pairs,) = shown(cells["pairs"], "text/markdown")
    # 12 of 20 pixels against 10 of 20 in every image: 10 points, whatever images are drawn.
    assert "| dynamic-c − dynamic-a | demo, streets | 0, 0 | +10.0 | +10.0 … +10.0 | 6 | clear |" in pairs
    assert "200 resamples" in pairs
    (figure,) = shown(cells["intervals"], "text/html")
    assert "dynamic-c − dynamic-a +10.0, from +10.0 to +10.0" in figure
