"""A lead is paired: by seed, and by image. Its intervals are those of a mean."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

import pytest

from dynroute_suite.report.leads import lead
from dynroute_suite.report.results import Results
from support.trial_runs import NAMES, write_trial_run


def written(folder: Path, hits: dict[str, tuple[int, ...]]) -> Results:
    for row, by_seed in hits.items():
        for seed, count in enumerate(by_seed):
            write_trial_run(folder, row, seed=seed, hits=count)
    return Results(folder)


def test_a_lead_is_over_the_seeds_that_both_have(tmp_path: Path) -> None:
    runs = written(tmp_path, {"dynamic-a": (12, 11, 13), "static-unet": (10, 10)})
    found = lead(runs.of_row("dynamic-a"), runs.of_row("static-unet"))
    assert found is not None
    assert found.by_seed == {0: 10, 1: 5}  # a hit more of twenty is five points
    assert found.points == 7.5
    assert found.images == len(NAMES)
    assert found.over_seeds is not None
    reach = 12.706 * statistics.stdev((10, 5)) / math.sqrt(2)
    assert found.over_seeds == pytest.approx((7.5 - reach, 7.5 + reach))


def test_one_seed_has_no_interval_over_seeds_and_none_no_lead(tmp_path: Path) -> None:
    runs = written(tmp_path, {"dynamic-a": (12,), "static-unet": (10,)})
    found = lead(runs.of_row("dynamic-a"), runs.of_row("static-unet"))
    assert found is not None and found.over_seeds is None
    assert 0 < found.over_images[0] < found.over_images[1]
    assert lead(runs.of_row("dynamic-a"), runs.of_row("common-a")) is None


def test_images_are_drawn_alike_for_all_runs(tmp_path: Path) -> None:
    """Two runs that are alike differ on no resample, and seeds that cancel out cancel out on each."""
    runs = written(tmp_path, {"dynamic-a": (12, 10), "static-unet": (10, 12)})
    found = lead(runs.of_row("dynamic-a"), runs.of_row("static-unet"))
    assert found is not None
    assert found.over_images == pytest.approx((0, 0), abs=1e-9)  # sums in another order


def test_from_ten_seeds_on_the_interval_is_that_of_ten(tmp_path: Path) -> None:
    runs = written(tmp_path, {"dynamic-a": (10, 11) * 6, "static-unet": (10,) * 12})
    found = lead(runs.of_row("dynamic-a"), runs.of_row("static-unet"))
    assert found is not None and found.over_seeds is not None
    reach = 2.262 * statistics.stdev((0, 5) * 6) / math.sqrt(12)
    assert found.over_seeds == pytest.approx((2.5 - reach, 2.5 + reach))
