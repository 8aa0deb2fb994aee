"""`data.ipynb`, run on the smoke profile's streets: fingerprint, shares and crops are the data set's."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynroute_core.data.datasets import open_dataset
from dynroute_core.experiments import experiment
from dynroute_core.runs.plan import find_data
from dynroute_suite.figures.data import count_pixels, count_words
from support.notebook_runs import ROOT, execute, shown


@pytest.mark.slow
def test_pictures_shares_and_crops_are_the_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = execute("data", tmp_path, profile="smoke", pictures=2, counted=0, crops=2)
    monkeypatch.chdir(ROOT)
    chosen = experiment("dynamic-raw", profile="smoke", data="streets")
    dataset = open_dataset("streets", find_data(chosen.data, None), "train")
    printed = "".join(cells["open"]["outputs"][0]["text"])  # type: ignore[index]
    assert f"streets, train: {len(dataset)} pictures, 19 classes" in printed
    assert dataset.fingerprint() in printed
    (words,) = shown(cells["classes"], "text/markdown")
    assert words == count_words(count_pixels(dataset, dataset.classes))
    assert "4 pictures; percent of labelled pixels: " in shown(cells["classes"], "text/html")[0]
    assert "2 pictures beside their truth" in shown(cells["pictures"], "text/html")[0]
    assert shown(cells["crops"], "text/html")[0].count("data:image/") == 4
