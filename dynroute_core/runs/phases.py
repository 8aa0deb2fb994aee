"""Phase one of a run in two phases: which run it is, and what the second takes over of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dynroute_core.experiments import Experiment, experiment, with_settings
from dynroute_core.model import Segmenter
from dynroute_core.runs.common_networks import copy_weights, own_settings
from dynroute_core.runs.finished import FinishedRun
from dynroute_core.runs.folders import run_folder

# What phase one has of its own; everything else that was set for the run is set for it, too.
ITS_OWN = (
    "model.gate",
    "model.paths",
    *(f"train.{name}" for name in ("iterations", "optimizer", "lr", "weight_decay", "warmup_iterations")),
    *(f"train.{name}" for name in ("gates_by_sgd", "gate_lr_factor", "budget", "budget_macs")),
    "evaluate.route",
)


def phase_one(chosen: Experiment) -> Experiment:
    """The experiment of phase one, an ordinary run of its row."""
    start = chosen.start
    assert start is not None, f"{chosen.row} has one phase"
    own = experiment(
        start.row, profile=chosen.profile, data=chosen.data.name, seed=chosen.seed, recipe=chosen.train.recipe
    )
    given = {name: text for name, text in own_settings(chosen).items() if name not in ITS_OWN}
    warmup = round(own.train.warmup_iterations * start.iterations / own.train.iterations)
    shorter = {"train.iterations": str(start.iterations), "train.warmup_iterations": str(max(warmup, 1))}
    return with_settings(own, {"model.gate": start.gate} | given | shorter)


def phase_one_run(chosen: Experiment, out: Path) -> FinishedRun:
    """Its finished run. Raises BlockedError where it is not there."""
    assert chosen.start is not None and chosen.start.key, "not settled"
    return FinishedRun.open(out / run_folder(phase_one(chosen), chosen.start.key), chosen.start.key)


def begin_from(model: Segmenter, run: FinishedRun) -> float:
    """Gives the model the weights and statistics of phase one, by name. Gives the seconds that it was trained for."""
    copy_weights(model, run)
    spent = run.record.durations
    return spent.start_s + spent.train_s + spent.precise_bn_s


def with_key(chosen: Experiment, key: str) -> Experiment:
    """The experiment with the key of its phase one."""
    assert chosen.start is not None
    return replace(chosen, start=replace(chosen.start, key=key))
