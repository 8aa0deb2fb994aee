"""Weights that the command line gives: read and checked before any work, or only written in our format."""

from __future__ import annotations

from pathlib import Path

from dynroute_core.checkpoint import MisfitError
from dynroute_core.experiments import Experiment
from dynroute_core.runs.finished import TrainedSegmenter
from dynroute_core.system.errors import BlockedError, UsageError
from dynroute_core.weights.files import TakenWeights, give_weights, save_weights

CONVERTED = ".safetensors"


def fit_weights(chosen: Experiment) -> tuple[TrainedSegmenter, TakenWeights]:
    """The row's network with its given weights, and what came from the file. Raises BlockedError."""
    assert chosen.weights is not None
    model = TrainedSegmenter(chosen)
    try:
        return model, give_weights(model, Path(chosen.weights.file), use=chosen.weights.use)
    except MisfitError as error:
        raise BlockedError(
            f"{error} {chosen.row} at the {chosen.profile} profile has {chosen.model.layers} layers, "
            f"{chosen.model.channels} channels and {chosen.model.classes} classes. Released weights need --profile "
            "full; weights of a run need that run's --profile, --data and --set."
        ) from error


def convert(chosen: Experiment, target: Path) -> str:
    """Writes the given weights, once they fit the row, as plain safetensors by our names; says in words what is in it.

    From `--init` come the backbone and, where it is whole, the head. Raises UsageError where no weights were given or
    the name does not end in .safetensors.
    """
    if chosen.weights is None or target.suffix != CONVERTED:
        raise UsageError(f"--convert {target}: give a name ending in {CONVERTED}, and --weights or --init FILE.")
    model, taken = fit_weights(chosen)
    save_weights(target, model, head=taken.head)
    return f"{taken.words}, {target.stat().st_size / 2**20:.1f} MB by our names"
