"""What --cluster and its options refuse, and the command that a job calls."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dynroute_core.system.errors import EXIT_BLOCKED, EXIT_USAGE
from dynroute_suite.command import cluster_options
from dynroute_suite.command.options import job_words, parser
from support.commands import SMOKE, call

pytest.importorskip("submitit")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--seeds 0", "--seeds 0: give a whole number"),
        ("--seeds 2 --set seed=3", "no --set seed=... beside"),
        ("--seeds 0 --status", "--seeds 0: give a whole number"),
        ("--cluster pbs", "invalid choice: 'pbs'"),
        ("--cluster local --force", "would start anew each time"),
        ("--cluster-option partition=gpu", "--cluster-option is of --cluster"),
        ("--cluster local --cluster-option partition", "give KEY=VALUE"),
        ("--cluster slurm --cluster-option partitoin=gpu", "Did you mean 'partition'"),
        ("--cluster slurm --cluster-option nodes=2", "unknown option of --cluster slurm 'nodes'"),
        ("--cluster local --cluster-option timeout_mins=1", "Did you mean 'timeout_min'"),
        ("--cluster local --cluster-option timeout_min=soon", "whole number of at least 1"),
        ("--cluster local --cluster-option timeout_min=5 timeout_min=6", "given twice"),
        ("--cluster local --cluster-option timeout_min=1", "told to stop before it begins"),
        ("--cluster local --cluster-option setup=module", "JSON list of shell commands"),
    ],
)
def test_what_cannot_be_submitted_is_said_in_one_message(
    words: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_options.shutil, "which", lambda name: name)
    assert call("--row", "dynamic-c", *SMOKE, "--out", tmp_path / "runs", *words.split()) == EXIT_USAGE
    shown = capsys.readouterr()
    assert said in shown.err
    assert "Traceback" not in shown.err
    assert not (tmp_path / "runs").exists()


def test_a_cluster_that_is_not_here_blocks(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--row", "dynamic-c", *SMOKE, "--out", tmp_path, "--cluster", "slurm")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert call(*words) == EXIT_BLOCKED
    assert "sbatch is not on this machine" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert call(*words) == EXIT_BLOCKED
    assert "needs submitit" in capsys.readouterr().err


def test_a_job_calls_for_its_rows_and_seed_and_keeps_everything_else() -> None:
    words = "--all --seed 3 --seeds 2 --profile smoke --set train.lr=0.1 data.workers=0 --timeout 5 --out o"
    more = "--data streets=d --route static-unet --cluster slurm --cluster-option partition=gpu --keep-going --json"
    given = parser("").parse_args([*words.split(), *more.split()])
    made = parser("").parse_args(job_words(given, ["dynamic-a", "common-a"], 4))
    assert (made.row, made.seed, made.seeds, made.json) == (["dynamic-a", "common-a"], 4, 1, True)
    assert (made.all, made.cluster, made.cluster_option, made.keep_going) == (False, "", [], False)
    kept = set(vars(given)) - {"row", "all", "seed", "seeds", "cluster", "cluster_option", "keep_going", "json"}
    assert {name: getattr(made, name) for name in kept} == {name: getattr(given, name) for name in kept}
