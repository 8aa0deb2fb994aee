"""Mean and spread over seeds, as a command shows them."""

from __future__ import annotations

from dataclasses import replace

from dynroute_core.runs.finished import experiment_of
from dynroute_suite.command.tables import seeds_text
from support.sample_records import sample_record


def test_mean_and_spread_are_those_of_runs_alike() -> None:
    one = sample_record(row="dynamic-c", profile="smoke")
    miou = (30.0, 34.0)
    runs = [
        replace(one, seed=seed, config=one.config | {"seed": seed}, metrics=replace(one.metrics, miou_percent=percent))
        for seed, percent in enumerate(miou)
    ]
    other = replace(one, config=one.config | {"seed": 5, "evaluate": {"flip": True}}, seed=5)
    lines = seeds_text([*runs, other]).splitlines()
    assert len(lines) == 3, "a setting with one seed has no spread"
    assert lines[1].split()[3:6] == ["2", "32.0", "2.83"]  # |30 − 34|/√2
    assert lines[1].split()[-2:] == ["0,", "1"]
    assert seeds_text([other]) == ""


def test_common_networks_of_other_seeds_are_alike_whatever_paths_they_found() -> None:
    one = replace(sample_record(row="dynamic-a", profile="smoke"), row="common-a")
    model = one.config["model"]
    assert isinstance(model, dict)
    along = [f"{layer}.0>keep" for layer in range(model["layers"])]
    below = ["init>down", *(f"{layer}.1>keep" for layer in range(model["layers"]))]
    runs = []
    for seed, paths in enumerate((["init>keep", *along], below)):
        fixed = model | {"gate": "none", "paths": paths}
        own = {"seed": seed, "model": fixed, "common": {"source": "dynamic-a", "source_key": f"{seed}" * 64}}
        runs.append(replace(one, seed=seed, config=one.config | own))
        experiment_of(runs[-1])
    assert seeds_text(runs).splitlines()[1].split()[3] == "2"


def test_settings_of_another_version_count_as_they_stand() -> None:
    one = sample_record(row="dynamic-c", profile="smoke")
    model = one.config["model"]
    assert isinstance(model, dict)
    unknown = [
        replace(one, seed=seed, config=one.config | {"seed": seed, "model": model | {"gate": gate}})
        for seed, gate in enumerate(("newer", "newer", "other"))
    ]
    lines = seeds_text(unknown).splitlines()
    assert len(lines) == 3 and lines[1].split()[-2:] == ["0,", "1"]
