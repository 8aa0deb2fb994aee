"""A finished run, opened: what it gives, and what is refused in its place."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dynroute_core.checkpoint import Snapshot, load_snapshot, save_snapshot
from dynroute_core.experiments import Experiment
from dynroute_core.runs.finished import FinishedRun, experiment_of
from dynroute_core.runs.record import CHECKPOINT, RECORD, write_record
from dynroute_core.system.errors import BlockedError


@pytest.fixture
def copied(finished: FinishedRun, tmp_path: Path) -> FinishedRun:
    """The run with a record and no checkpoint."""
    write_record(tmp_path / RECORD, finished.record)
    return FinishedRun.open(tmp_path)


def test_it_gives_the_settings_and_the_network_that_the_run_had(finished: FinishedRun, tiny: Experiment) -> None:
    run = FinishedRun.open(finished.folder)
    assert run.record == finished.record and run.reused and not finished.reused
    assert run.experiment == tiny
    model = run.model()
    assert not model.training
    ended = load_snapshot(finished.folder / CHECKPOINT).network
    assert all(torch.equal(tensor, ended[name]) for name, tensor in model.state_dict().items())


def test_it_is_found_by_its_key_alone(finished: FinishedRun, tmp_path: Path) -> None:
    key = finished.record.key
    found = FinishedRun.find(finished.folder, key)
    assert found is not None and found.record == finished.record
    assert FinishedRun.find(finished.folder, "0" * 64) is None
    assert FinishedRun.find(tmp_path, key) is None
    with pytest.raises(BlockedError, match="is not the run 00000000's"):
        FinishedRun.open(finished.folder, "0" * 64)
    with pytest.raises(BlockedError, match=RECORD):
        FinishedRun.open(tmp_path)


def test_weights_that_are_not_its_own_are_refused(finished: FinishedRun, copied: FinishedRun) -> None:
    with pytest.raises(BlockedError, match=r"is missing.*--force"):
        copied.model()
    path = copied.folder / CHECKPOINT
    path.write_bytes(b"no checkpoint")
    with pytest.raises(BlockedError, match="not a readable checkpoint"):
        copied.model()
    good = load_snapshot(finished.folder / CHECKPOINT)
    for facts in ({"key": "0" * 64}, {"trained": False}):
        save_snapshot(path, Snapshot(good.tensors, good.facts | facts))
        with pytest.raises(BlockedError, match="not the finished run"):
            copied.model()
    save_snapshot(path, Snapshot({}, good.facts))
    with pytest.raises(BlockedError, match="does not hold this run's network"):
        copied.model()


def test_settings_of_another_version_are_named(finished: FinishedRun) -> None:
    unknown = json.loads(json.dumps(finished.record.config)) | {"train": {"lr": "much"}}
    with pytest.raises(BlockedError, match="not ones that this version knows"):
        experiment_of(replace(finished.record, config=unknown))
