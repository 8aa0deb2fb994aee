"""What one call of the command is to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dynroute_core.checkpoint import Weights
from dynroute_core.runs.plan import find_data
from dynroute_suite.command.session import trains
from dynroute_suite.notebook.row import parameters
from support.commands import ROOT, SMOKE, session_of


def test_seeds_are_runs_of_their_own_and_a_common_network_follows_its_own_seed() -> None:
    words = ["--row", "common-a", "--row", "dynamic-a", "--seed", "2", "--seeds", "2", *SMOKE]
    session = session_of(*words)
    made = [(each.row, each.seed) for each in session.experiments]
    assert made == [("dynamic-a", 2), ("common-a", 2), ("dynamic-a", 3), ("common-a", 3)]
    assert [session.source(each) for each in session.experiments] == [
        source for first in (0, 2) for source in (None, session.experiments[first])
    ]
    assert session.name(session.experiments[3]) == "common-a seed 3"


def test_a_rate_that_does_not_fit_the_batch_is_warned_of_once_before_training(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["--row", "dynamic-c", *SMOKE, "--seeds", "2"]
    session = session_of(*words)
    batch, lr = session.experiments[0].train.batch, session.experiments[0].train.lr
    assert capsys.readouterr().out == ""
    session_of(*words, "--set", "train.batch=1", f"train.lr={2 * lr}")
    said = capsys.readouterr().out
    assert said.count("which may diverge") == 1
    assert f"train.lr={2 * lr:g} with train.batch=1; the recipe's for this batch is {lr / batch:g}." in said
    evaluated = replace(session.experiments[0], weights=Weights(file="model.pth"))
    assert trains(session.experiments[0]) and not trains(evaluated)


def test_options_reach_the_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = ["--row", "dynamic-c", *SMOKE, "--set", "train.batch=3", "train.lr=0.5", "--timeout", "1.5", "--force"]
    monkeypatch.chdir(tmp_path)
    session = session_of(*words, "--data", "streets=here", "--out", "there")
    (experiment,) = session.experiments
    assert (experiment.train.batch, experiment.train.lr) == (3, 0.5)
    assert session.options.timeout_s == 90
    assert (session.options.data_root, session.options.out) == (tmp_path / "here", tmp_path / "there")
    given = parameters(experiment, session.options)
    assert given["settings"] == {"train.batch": "3", "train.lr": "0.5"}
    assert (given["force"], given["device"], given["out"]) == (True, "cpu", str(tmp_path / "there"))
    assert parameters(experiment, replace(session.options, out=ROOT / "runs"))["out"] == "runs"


def test_generated_data_are_beside_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    session = session_of("--row", "dynamic-c", *SMOKE)
    assert find_data(session.experiments[0].data, None).parent == ROOT / "data"
