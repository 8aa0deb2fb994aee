"""What a run says while it is at work. Without torch: who only looks on imports this too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dynroute_core.experiments import Experiment

BACKWARD = 2  # forward passes that a backward pass is worth: gradients of inputs and of weights


@dataclass(frozen=True)
class RunProgress:
    """How far a run is. phase: data, paths, train, precise_bn, evaluate; text: what a progress bar shows beside it;
    ahead: the work of the phases that follow, in units of this one's `total`, None where it is not known."""

    phase: str
    done: int
    total: int
    text: str
    ahead: float | None = None


Report = Callable[[RunProgress], None]


def work_ahead(experiment: Experiment, images: int) -> Mapping[str, float]:
    """By phase, the work that follows it, in its own units: iterations, batches, images. By passes and pixels, which
    the layers' work goes with. images: how many are evaluated."""
    train, config = experiment.train, experiment.evaluate
    shown = images * sum(prod(config.nominal_size(view)) for view in config.views)
    batches = shown / (train.batch * train.crop_height * train.crop_width)
    return {
        "train": (train.precise_bn_batches + batches) / (1 + BACKWARD),
        "precise_bn": batches,
        "evaluate": 0.0,
    }


def foreseen(say: Report, ahead: Mapping[str, float]) -> Report:
    """A report that also says what work follows each phase."""
    return lambda progress: say(replace(progress, ahead=ahead.get(progress.phase)))
