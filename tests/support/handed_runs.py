"""Runs handed over and interrupted in the tests: small ones, how far they are, and what they must come to."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dynroute_core.experiments import experiment, with_settings
from dynroute_core.runs.pipeline import run
from dynroute_core.runs.record import CHECKPOINT, RECORD, read_record
from dynroute_core.system.errors import EXIT_DONE
from dynroute_suite.status.runs import RunStatus, statuses
from support.commands import SMOKE, call

DEADLINE_S = 300.0
SHORT = ("model.layers=3", "train.iterations=150", "train.checkpoint_every=2", "data.workers=0")


def answered(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    """The rows of what the command said with --json."""
    return json.loads(capsys.readouterr().out)["rows"]


def whole(seed: int, out: Path) -> object:
    """What a run that nobody interrupts comes to: its record, without times, machine and resumptions."""
    settings = dict(word.split("=") for word in SHORT)
    chosen = with_settings(experiment("dynamic-c", profile="smoke", seed=seed), settings)
    return facts(run(chosen, out=out, device="cpu").folder / RECORD)


def facts(path: Path) -> object:
    """The parts of a record that must come out again."""
    record = read_record(path)
    training = replace(record.training, resumed_at=())
    return record.key, record.config, training, record.metrics, record.costs, record.images


def checkpointed(out: Path, seed: int) -> bool:
    """Whether the run is in the middle of training: it has a checkpoint, and no record."""
    folders = list(out.glob(f"dynamic-c/*seed{seed}-*/{CHECKPOINT}"))
    assert not list(out.glob(f"dynamic-c/*seed{seed}-*/{RECORD}")), "it was over before it could be interrupted"
    return bool(folders)


def spoil(out: Path, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Lets a run fail: what lies there is no checkpoint."""
    words = ("--row", "dynamic-c", "--seed", seed, *SMOKE, "--out", out, "--set", *SHORT, "--dry-run", "--json")
    assert call(*words) == EXIT_DONE
    folder = Path(str(answered(capsys)[0]["folder"]))
    folder.mkdir(parents=True)
    (folder / CHECKPOINT).write_bytes(b"nothing")


def states(out: Path) -> dict[int, RunStatus]:
    return {status.seed: status for status in statuses(out)}
