"""The explorer's pictures: of generated streets alone, shared by runs on the same data, each file there once."""

from __future__ import annotations

from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dynroute_core.runs.record import EXAMPLES, example_names
from dynroute_core.system.errors import BlockedError
from dynroute_suite.book.explorer.data import opening
from dynroute_suite.book.explorer.pictures import sights_of, write_pictures
from dynroute_suite.report.routed_runs import RoutedRun
from support.sample_runs import sample_runs


@pytest.fixture
def runs(tmp_path: Path) -> tuple[RoutedRun, ...]:
    """Two runs on the same streets; the second alone kept pictures."""
    runs = sample_runs(tmp_path)
    for role in example_names(runs[1].record):
        folder = runs[1].folder / EXAMPLES / role
        folder.mkdir(parents=True)
        Image.fromarray(np.zeros((16, 32, 3), np.uint8)).save(folder / "image.png")
        for kind in ("truth", "prediction"):
            Image.fromarray(np.zeros((16, 32), np.uint8)).save(folder / f"{kind}.png")
    return runs


def test_a_photograph_is_shared_and_a_prediction_is_not(runs: tuple[RoutedRun, ...]) -> None:
    without, kept = runs
    kept_names = set(example_names(kept.record).values())
    for run in runs:
        assert set(sights_of(run, runs)) == kept_names
    for name, sight in sights_of(without, runs).items():
        assert sight == replace(sights_of(kept, runs)[name], prediction="")
        assert sights_of(kept, runs)[name].prediction


def test_other_data_has_other_photographs(runs: tuple[RoutedRun, ...]) -> None:
    without = runs[0]
    other = replace(without.record, data=replace(without.record.data, val_fingerprint="0" * 64))
    assert not sights_of(replace(without, record=other), runs)


@pytest.mark.parametrize("name", ["camvid", "cityscapes"])
def test_photographs_of_others_are_not_shown(runs: tuple[RoutedRun, ...], name: str, tmp_path: Path) -> None:
    foreign = [replace(run, record=replace(run.record, data=replace(run.record.data, name=name))) for run in runs]
    assert not any(sights_of(run, foreign) for run in foreign)
    write_pictures(tmp_path / "pictures", foreign)
    assert not (tmp_path / "pictures").exists()


def test_the_files_are_those_that_the_sights_name(runs: tuple[RoutedRun, ...], tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    write_pictures(folder, runs)
    named = {address for run in runs for sight in sights_of(run, runs).values() for address in astuple(sight)} - {""}
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")} == named


def test_a_damaged_picture_is_named(runs: tuple[RoutedRun, ...], tmp_path: Path) -> None:
    damaged = next((runs[1].folder / EXAMPLES).rglob("truth.png"))
    damaged.write_bytes(b"no picture")
    with pytest.raises(BlockedError, match=str(damaged)):
        write_pictures(tmp_path / "pictures", runs)


def test_the_explorer_opens_where_there_is_something_to_see(runs: tuple[RoutedRun, ...]) -> None:
    assert opening(runs) == 1
    assert opening(runs[:1]) == opening(()) == 0
