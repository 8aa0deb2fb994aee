"""The training losses (paper, equations 8 and 9): cross-entropy, and the budget that closes paths."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dynroute_core.data.labels import IGNORE


@dataclass(frozen=True, kw_only=True)
class Budget:
    """A row's budget on e = expected cost / denominator − target: it adds weight · e² to the loss or, with `ascent`,
    multiplier · e + weight · max(e, 0)²."""

    weight: float  # λ of the paper
    target: float  # μ of the paper: a share of `train.budget_macs`
    start: float = 0.4  # before this share of all iterations the budget has no part in the loss
    ramp: float = 0.02  # share of all iterations in which its part then rises linearly to the whole
    # Share of all iterations, from `start` on, in which the target falls linearly from 1; 0, as published, at once.
    descent: float = 0.0
    # How fast the multiplier follows e, up from 0 and never below: it grows until the target is met. 0, as published:
    # no multiplier.
    ascent: float = 0.0

    def __post_init__(self) -> None:
        for name in ("weight", "target", "start", "ramp", "descent", "ascent"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"budget.{name}={getattr(self, name)}: give a number of at least 0")


def segmentation_loss(
    logits: Tensor, labels: Tensor, *, labelled: Tensor | None = None, weights: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy over pixels whose label is not 255. logits N×K×H×W, labels N×H×W train ids.

    labelled: how many pixels to take the mean over, for a part of a batch whose parts then sum to the batch's mean.
    weights: K, what a pixel of each class counts in the sum; the mean is over pixels all the same.
    A batch without a single labelled pixel gives 0 (torch's own mean would be NaN).
    """
    given = None if weights is None else weights.to(logits.dtype)
    total = F.cross_entropy(logits, labels.long(), weight=given, ignore_index=IGNORE, reduction="sum")
    count = (labels != IGNORE).sum() if labelled is None else labelled
    return total / count.clamp(min=1)


def budget_ramp(budget: Budget, iteration: int, iterations: int) -> float:
    """w in 0..1 at a 0-based iteration."""
    start, length = budget.start * iterations, budget.ramp * iterations
    if iteration < start:
        return 0.0
    return min((iteration - start) / length, 1.0) if length > 0 else 1.0


def budget_target(budget: Budget, iteration: int, iterations: int) -> float:
    """μ at a 0-based iteration, on its way down from 1 during the descent."""
    done, length = iteration - budget.start * iterations, budget.descent * iterations
    if length == 0 or done >= length:
        return budget.target
    return 1 + (budget.target - 1) * max(done, 0.0) / length


def budget_loss(
    expected_macs: Tensor, budget: Budget, *, denominator_macs: float, ramp: float, multiplier: Tensor | None = None
) -> Tensor:
    """λ · w · e², e = expected / denominator - μ, with the mean expected cost of the batch. expected_macs: (N,).

    multiplier: 0-dimensional, of a budget with `ascent`; then w · (multiplier · e + λ · max(e, 0)²), an augmented
    Lagrangian of the constraint e ≤ 0.
    """
    excess = expected_macs.mean() / denominator_macs - budget.target
    if multiplier is None:
        return budget.weight * ramp * torch.square(excess)
    return ramp * (multiplier * excess + budget.weight * torch.square(excess.clamp(min=0)))


def next_multiplier(multiplier: Tensor, expected_macs: Tensor, budget: Budget, *, denominator_macs: float) -> Tensor:
    """The multiplier after a step whose batch had this mean expected cost: dual ascent."""
    excess = expected_macs.detach() / denominator_macs - budget.target
    return (multiplier + budget.ascent * excess).clamp(min=0)
