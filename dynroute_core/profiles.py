"""The profiles `full`, `demo` and `smoke`, and the recipes `published` and `short`: how they change a row, all alike.

No row is tuned alone. Takes a row's settings and the size of the images; gives the profile's.

- `full`: the published recipe to the letter, on Cityscapes. Elsewhere the image scales and the crop keep their ratio to
  the data set's image height.
- `demo`: minutes on two CPU cores, by the short recipe. Narrower networks on smaller images (in training and
  evaluation; labels keep their size), fewer of them.
- `smoke`: seconds, for tests, by the published recipe; its numbers mean nothing.

The published recipe with N iterations instead of 190 000: the long row keeps its ratio (×560/190), the lr is the
published one × batch/8 × the profile's `lr_factor`, the warm-up lasts the profile's share of N, the budget's start and
ramp are shares of N already, and the budget's denominator is 26300/26892 (the published constant over L16's all-open
expected MMACs at 768²) of the model's own all-open expected cost at the crop's size. At `demo` the budget's weight λ is
multiplied by published lr × 190 000 over the run's lr × N, so that the budget moves the gates as far in N iterations as
the published one would in its own, and its target falls from 1 to μ in half of what is left of the run (0.3 N): at once
it would close the paths within some 50 iterations, and the network would lose what it had learned. (At `smoke`, with 6
iterations, the factor would be thousands; there the budget stays as published.)

The short recipe is ours, for from-scratch training in minutes (`Short` has its figures, LOG.md what each is worth):
whole images with mild scales in place of crops, AdamW with cosine (SGD for the gates), weights averaged, rare classes
weighted. A budget acts from the first iteration on, its target falling slowly from 1 to μ, with a multiplier that grows
until the target is met: in a short schedule no fixed λ gets there without breaking the network (LOG.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from dynroute_core.cost import cost_table
from dynroute_core.data.source import DataSource
from dynroute_core.evaluate import TTA_SCALES, EvaluateConfig
from dynroute_core.recipe import TrainConfig
from dynroute_core.space import COARSEST_STRIDE, ModelConfig

PUBLISHED_ITERATIONS = 190_000
PUBLISHED_BATCH = 8
PUBLISHED_HEIGHT = 1024  # of Cityscapes' images, pixels; the two that follow are shares of it
PUBLISHED_SCALES = TTA_SCALES  # the released code shows the same six in training: 512 ... 2048 of 1024
PUBLISHED_CROP = 0.75  # 768 of 1024
PUBLISHED_BUDGET_SHARE = 26300 / 26892  # of the all-open expected cost of L16 at 768×768, which the budget stands for


class Settings(NamedTuple):
    """What a profile changes of a row."""

    model: ModelConfig
    train: TrainConfig
    evaluate: EvaluateConfig


@dataclass(frozen=True, kw_only=True)
class Shrink:
    """How a profile makes a run smaller than the published one."""

    channels: int
    stem_channels: int
    iterations: int  # of a row whose published ones are 190 000
    batch: int
    warmup_share: float  # of the iterations
    lr_factor: float  # over the published lr × batch/8
    precise_bn_batches: int
    image_share: float  # of the data set's image height: what evaluation shows, and training is centred on
    crop_share: float  # of that height
    scales: tuple[float, ...]  # of that height
    log_every: int
    whole_budget: bool  # whether the budget's weight makes up for the shorter schedule, and its target descends


SMOKE = Shrink(
    channels=4,
    stem_channels=8,
    iterations=6,
    batch=2,
    warmup_share=0.2,
    lr_factor=1.0,
    precise_bn_batches=2,
    image_share=1.0,
    crop_share=0.5,
    scales=(0.75, 1.0),
    log_every=1,
    whole_budget=False,
)
# What the published recipe sets was tuned once, on dynamic-raw and CamVid; LOG.md has what was tried.
_DEMO = Shrink(
    channels=16,
    stem_channels=32,
    iterations=2000,
    batch=8,
    warmup_share=0.02,
    lr_factor=2.0,
    precise_bn_batches=30,
    image_share=0.5,
    crop_share=0.89,
    scales=(3 / 4, 1.0, 4 / 3),
    log_every=10,
    whole_budget=True,
)


@dataclass(frozen=True, kw_only=True)
class Short:
    """The short recipe's figures, one set for every row and data set. Tuned on images held out of training."""

    lr: float = 3e-3
    weight_decay: float = 0.03
    warmup_share: float = 0.05  # of the iterations
    average: float = 0.995
    precise_bn_batches: int = 40
    scales: tuple[float, ...] = (0.9, 1.0, 1.1, 1.22)  # of the image's height
    gate_lr_factor: float = 15.0  # of the gates, which SGD moves
    budget_factor: float = 20.0  # over the published λ
    descent: float = 0.4  # of the iterations, from the first on, in which the budget's target falls to μ
    ascent: float = 0.02  # of the budget's multiplier, in a step whose expected cost is the whole denominator too high


SHORT = Short()


def demo(source: DataSource) -> Shrink:
    """The demo profile's figures for a data set."""
    return replace(_DEMO, iterations=source.demo_iterations, image_share=source.demo_image_share)


def at_full(row: Settings, height: int, width: int) -> Settings:
    """The published recipe; off Cityscapes' size, scales and crop keep their ratio to the image's height."""
    train = row.train
    if height != PUBLISHED_HEIGHT:
        crop = _nearest_multiple(PUBLISHED_CROP * height)
        train = replace(
            train,
            scales=tuple(round(scale * height) for scale in PUBLISHED_SCALES),
            crop_height=crop,
            crop_width=crop,
            max_size=4 * height,
            budget_macs=budget_macs(row.model, crop, crop) if train.budget else None,
        )
    evaluate = replace(row.evaluate, nominal_height=_pad(height), nominal_width=_pad(width))
    return Settings(row.model, train, evaluate)


def at_shrunk(row: Settings, by: Shrink, height: int, width: int) -> Settings:
    """The recipe on a smaller network, smaller images and fewer of them."""
    train = row.train
    height, width = (round(by.image_share * side) for side in (height, width))
    crop = _nearest_multiple(by.crop_share * height)
    model = replace(row.model, channels=by.channels, stem_channels=by.stem_channels)
    iterations = round(by.iterations * train.iterations / PUBLISHED_ITERATIONS)
    lr = train.lr * by.batch / PUBLISHED_BATCH * by.lr_factor
    budget = train.budget
    if budget and by.whole_budget:
        weight = budget.weight * (train.lr * train.iterations) / (lr * iterations)
        budget = replace(budget, weight=weight, descent=(1 - budget.start) / 2)
    train = replace(
        train,
        iterations=iterations,
        batch=by.batch,
        lr=lr,
        budget=budget,
        warmup_iterations=max(round(by.warmup_share * iterations), 1),
        scales=tuple(round(scale * height) for scale in by.scales),
        crop_height=crop,
        crop_width=crop,
        max_size=4 * height,
        precise_bn_batches=by.precise_bn_batches,
        log_every=by.log_every,
        budget_macs=budget_macs(model, crop, crop) if train.budget else None,
        needs_weights=False,
    )
    evaluate = replace(
        row.evaluate,
        nominal_height=_pad(height),
        nominal_width=_pad(width),
        shortest=height if by.image_share != 1 else 0,
    )
    return Settings(model, train, evaluate)


def at_short(row: Settings, by: Shrink, height: int, width: int) -> Settings:
    """The same by the short recipe."""
    shrunk = at_shrunk(row, by, height, width)
    budget = row.train.budget
    if budget is not None:
        weight = SHORT.budget_factor * budget.weight
        budget = replace(budget, weight=weight, start=0.0, ramp=0.0, descent=SHORT.descent, ascent=SHORT.ascent)
    train, height, width = shrunk.train, round(by.image_share * height), round(by.image_share * width)
    train = replace(
        train,
        recipe="short",
        optimizer="adamw",
        schedule="cosine",
        lr=SHORT.lr,
        gate_lr_factor=SHORT.gate_lr_factor,
        weight_decay=SHORT.weight_decay,
        warmup_iterations=max(round(SHORT.warmup_share * train.iterations), 1),
        average=SHORT.average,
        class_weights=True,
        scales=tuple(round(scale * height) for scale in SHORT.scales),
        crop_height=_pad(height),
        crop_width=_pad(width),
        precise_bn_batches=min(SHORT.precise_bn_batches, train.iterations),
        gates_by_sgd=True,
        budget=budget,
        budget_macs=budget_macs(shrunk.model, _pad(height), _pad(width)) if budget else None,
    )
    return shrunk._replace(train=train)


def budget_macs(model: ModelConfig, height: int, width: int) -> float:
    """The budget's denominator away from the published setting: 26300/26892 of the all-open expected cost."""
    return PUBLISHED_BUDGET_SHARE * cost_table(model, height=height, width=width, accounting="paper").all_open_expected


def _nearest_multiple(size: float) -> int:
    """The nearest multiple of 32, at least 32."""
    return max(round(size / COARSEST_STRIDE), 1) * COARSEST_STRIDE


def _pad(size: int) -> int:
    return -(-size // COARSEST_STRIDE) * COARSEST_STRIDE
