"""A run's folder: its name says what its experiment is, and is read back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dynroute_core.checkpoint import Weights
from dynroute_core.data.datasets import DATASETS
from dynroute_core.evaluate import ForcedPaths
from dynroute_core.experiments import Profile, experiment
from dynroute_core.runs.folders import FolderName, parse_folder, run_folder

KEY = "0123456789abcdef" * 4


@pytest.mark.parametrize("data", DATASETS)
@pytest.mark.parametrize("profile", Profile.__args__)
def test_every_profile_and_data_set_is_read_back(profile: str, data: str) -> None:
    folder = run_folder(experiment("dynamic-a", profile=profile, data=data, seed=12), KEY)
    assert folder.parts == ("dynamic-a", f"{profile}-{data}-seed12-01234567")
    assert parse_folder(folder.name) == FolderName(profile, data, 12, "")


def test_forced_routes_and_given_weights_leave_a_mark() -> None:
    chosen = experiment("dynamic-a")
    route = ForcedPaths(name="Image: street 0/1", paths=())
    forced = replace(chosen, evaluate=replace(chosen.evaluate, route=route), weights=Weights(file="x"))
    marks = [parse_folder(run_folder(each, KEY).name) for each in (forced, replace(chosen, weights=Weights(file="x")))]
    assert [mark and mark.mark for mark in marks] == ["route-image-street-0-1-weights", "weights"]
    started = replace(chosen, weights=Weights(file="x", use="start"))
    assert run_folder(started, KEY) == run_folder(chosen, KEY)


@pytest.mark.parametrize(
    "name", ["", "events", "demo-streets-seed0", "demo-streets-seed0-0123456", "x-streets-seed0-01234567"]
)
def test_other_folders_are_no_runs(name: str) -> None:
    assert parse_folder(name) is None
