"""The work that follows each phase of a run, for the time that is left."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dynroute_core.experiments import experiment
from dynroute_core.runs.progress import RunProgress, foreseen, work_ahead


def test_work_goes_by_passes_and_pixels() -> None:
    row = experiment("dynamic-c", profile="demo", data="streets")
    train = replace(row.train, batch=4, crop_height=100, crop_width=200, precise_bn_batches=30)
    shown = replace(row.evaluate, nominal_height=200, nominal_width=400, scales=(1.0, 0.5), flip=True)
    ahead = work_ahead(replace(row, train=train, evaluate=shown), images=12)
    # 12 images, twice at 200×400 and twice at 100×200: the pixels of 30 batches of 4 × 100×200.
    assert ahead == {
        "train": pytest.approx((30 + 30) / 3),
        "precise_bn": 30,
        "evaluate": 0,
    }  # 3: forwards and backwards


def test_a_report_names_what_follows_its_phase_where_that_is_known() -> None:
    said: list[RunProgress] = []
    say = foreseen(said.append, {"train": 7.5})
    say(RunProgress("train", 1, 10, "loss 1"))
    say(RunProgress("paths", 1, 10, ""))
    assert said == [RunProgress("train", 1, 10, "loss 1", ahead=7.5), RunProgress("paths", 1, 10, "")]
