"""`--weights shipped`: the row's own weights, at the settings of the run that left them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dynroute_core.experiments import experiment, with_settings
from dynroute_core.runs.finished import FinishedRun
from dynroute_core.runs.record import RECORD, read_record
from dynroute_core.runs.shipped import find_shipped
from dynroute_core.system.errors import EXIT_BLOCKED, EXIT_DONE, EXIT_USAGE
from dynroute_suite.command.shipped_weights import differences
from support.commands import call, session_of

WORDS = ("--row", "dynamic-a", "--weights", "shipped", "--device", "cpu")


@pytest.mark.suite
@pytest.mark.slow
def test_they_are_evaluated_as_any_file(results: Path, smoke_streets: Path, tmp_path: Path) -> None:
    assert call(*WORDS, "--data", f"streets={smoke_streets}", "--out", tmp_path / "runs") == EXIT_DONE
    (path,) = (tmp_path / "runs").glob(f"dynamic-a/smoke-streets-seed0-weights-*/{RECORD}")
    record, facts = read_record(path), find_shipped("dynamic-a", results).facts
    assert record.metrics.miou_percent == facts.stored_miou_percent
    assert record.training.iterations == 0


def test_they_bring_profile_and_settings(results: Path, finished: FinishedRun) -> None:
    (chosen,) = session_of(*WORDS).experiments
    ran = finished.experiment
    assert (chosen.profile, chosen.model, chosen.data, chosen.evaluate) == ("smoke", ran.model, ran.data, ran.evaluate)
    assert chosen.weights is not None and chosen.weights.file == str(find_shipped("dynamic-a", results).path)


def test_a_setting_of_ones_own_is_kept(results: Path) -> None:
    (chosen,) = session_of(*WORDS, "--set", "evaluate.flip=true", "evaluate.shortest=32").experiments
    assert chosen.evaluate.flip and chosen.evaluate.shortest == 32


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("--row dynamic-a --profile demo", EXIT_USAGE, "of the smoke profile on streets"),
        ("--row dynamic-a --data camvid=x", EXIT_USAGE, "leave --profile and --data out"),
        ("--row dynamic-a --row dynamic-c", EXIT_USAGE, "give one --row"),
        ("--row dynamic-c", EXIT_BLOCKED, "no weights of dynamic-c ship. Some of these do: dynamic-a."),
        ("--row dynamic-z", EXIT_USAGE, "unknown row 'dynamic-z'"),
    ],
)
def test_what_does_not_fit_is_told(
    results: Path, words: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*words.split(), "--weights", "shipped") == code
    assert said in capsys.readouterr().err


def test_their_status_is_that_of_their_profile(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*WORDS, "--status", "--out", tmp_path / "runs") == EXIT_DONE
    assert "smoke" in capsys.readouterr().out


def test_a_common_network_needs_no_run_of_its_source() -> None:
    usual = experiment("common-a", profile="smoke")
    paths = ("init>keep", "0.0>keep", "1.0>keep")
    ran = replace(usual, model=replace(usual.model, layers=2, channels=8, paths=paths))
    made = with_settings(usual, differences(usual, ran))
    assert (made.model, made.data, made.evaluate, made.common) == (ran.model, ran.data, ran.evaluate, None)
