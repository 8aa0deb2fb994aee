"""Runs of a few iterations on the smoke profile's streets, and what two runs that are the same must share."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import torch

from dynroute_core.checkpoint import load_snapshot
from dynroute_core.runs import plan as plan_module
from dynroute_core.runs.record import CHECKPOINT, RECORD, ROUTES, Record, read_curve, read_record

TINY = {"model.layers": "3", "train.iterations": "8", "train.checkpoint_every": "3", "train.log_every": "2"}


def essence(record: Record) -> Record:
    """A record without what may differ between two attempts at the same run: times, where it was taken up again, and
    settings that cannot change a number."""
    training = replace(record.training, resumed_at=())
    config = copy.deepcopy(record.config)
    for part in ("data", "train"):
        for name in plan_module.RESULT_NEUTRAL:
            config[part].pop(name, None)  # type: ignore[attr-defined]
    return replace(record, started="", durations=None, training=training, config=config)  # type: ignore[arg-type]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_snapshot(folder / CHECKPOINT).tensors


def assert_same_run(one: Path, other: Path) -> None:
    assert essence(read_record(one / RECORD)) == essence(read_record(other / RECORD))
    assert (one / ROUTES).read_bytes() == (other / ROUTES).read_bytes()
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
    points = [[replace(point, seconds=0.0) for point in read_curve(folder / "curve.csv")] for folder in (one, other)]
    assert points[0] == points[1]


class StopHere(Exception):
    pass
