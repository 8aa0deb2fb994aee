"""How a run is trained: every setting of training, its name, its default and what it may be.

The defaults are the published recipe (paper, section 4, and the released configurations); `profiles.py` has the rules
by which the profiles change them. Knows no network and no data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from dynroute_core.losses import Budget
from dynroute_core.space import LARGEST_SIDE

StepName = Literal["auto", "eager", "compiled"]
RecipeName = Literal["published", "short"]
OptimizerName = Literal["sgd", "adamw"]
ScheduleName = Literal["poly", "cosine"]
MOST_CROPS, MOST_STEPS = 1 << 12, 10**9  # beyond: no machine, but a slip of the keyboard


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The recipe. The defaults are the published one of Dynamic-Raw: Cityscapes, batch 8."""

    # Which recipe this is, "published" or "short"; setting it sets all that follows to that recipe's.
    recipe: RecipeName = "published"
    iterations: int = 190_000  # steps of the optimizer, one a batch
    batch: int = 8  # crops a step, of all processes together
    # In how many parts, one after the other, a step works through its batch, where memory holds only one of them.
    accumulate: int = 1
    lr: float = 0.05  # learning rate that a whole batch gets, after the warm-up; scale it linearly with the batch
    gate_lr_factor: float = 1.0  # the gates' learning rate over the rest's
    # Whether SGD moves the gates where AdamW moves the rest: AdamW would divide a budget's pull by its own size.
    gates_by_sgd: bool = False
    optimizer: OptimizerName = "sgd"  # "sgd", or "adamw", whose decay leaves gates and biases out, too
    momentum: float = 0.9  # of SGD
    weight_decay: float = 1e-4  # of all but the batch norms' weights and shifts
    schedule: ScheduleName = "poly"  # how the learning rate declines: "poly", or "cosine"
    poly_power: float = 0.9  # p of the poly schedule, lr · (1 − iteration / iterations)^p
    warmup_iterations: int = 1000  # in which the learning rate rises linearly to the schedule's; 0 for none
    warmup_factor: float = 1e-3  # share of the schedule's learning rate at which the warm-up begins
    clip_norm: float = 5.0  # largest norm of a step's gradient; a longer one is shortened to it
    drop_path: float = 0.0  # probability of dropping an operation, in the last layer at the last iteration; 0 for none
    # How much of the weights' running average each step keeps; training ends with the average. 0 for none.
    average: float = 0.0
    class_weights: bool = False  # whether rare classes weigh more in the loss: 1 / ln(1.02 + share of the pixels)
    budget: Budget | None = None  # on the expected cost; null for none
    # What the budget's target is a share of: MACs an image, counted at the crop's size; null where there is no budget.
    budget_macs: float | None = None
    # Sizes, of which one is drawn for each image as the length of its shorter edge before the crop, in pixels.
    scales: tuple[int, ...] = (512, 768, 1024, 1280, 1536, 2048)
    max_size: int = 4096  # the longest that the longer edge may become, in pixels
    crop_height: int = 768  # of the crop that is trained on, in pixels
    crop_width: int = 768  # likewise
    # Batches over which batch norm's statistics are computed anew after the last iteration; 0 leaves them as they are.
    precise_bn_batches: int = 200
    needs_weights: bool = False  # whether the row starts from ImageNet weights, and without them is not trained
    # Whether a batch whose loss or gradient is NaN or infinite is left out and counted, where otherwise training stops;
    # on a GPU every step then waits for the device.
    skip_nonfinite: bool = False
    amp: bool = False  # mixed precision: most operations in bfloat16
    channels_last: bool = True  # weights and images with channels innermost in memory
    # Who computes a step: "compiled" in C++ on the CPU, "eager" torch, or "auto", compiled where it can.
    step: StepName = "auto"
    compile: bool = False  # through torch.compile; meant for GPUs: on a CPU it takes minutes and is then slower
    deterministic: bool = True  # torch's deterministic algorithms wherever it has them
    log_every: int = 20  # iterations between two points of the training curve
    checkpoint_every: int = 100  # iterations between two checkpoints; one is due after a minute, too

    def __post_init__(self) -> None:
        whole = ("iterations", "batch", "accumulate", "crop_height", "crop_width", "max_size")
        for name in (*whole, "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give a whole number of at least 1")
        if max(self.crop_height, self.crop_width, *self.scales, self.max_size) > LARGEST_SIDE:
            raise ValueError(f"crop, scales and max_size are at most {LARGEST_SIDE} pixels")
        if (
            self.batch > MOST_CROPS
            or max(self.iterations, self.warmup_iterations, self.precise_bn_batches) > MOST_STEPS
        ):
            raise ValueError(f"give batches of at most {MOST_CROPS} crops, and at most {MOST_STEPS} of them")
        if self.batch % self.accumulate:
            raise ValueError(
                f"accumulate={self.accumulate} does not divide batch={self.batch}: the parts must be of one size"
            )
        for name in ("lr", "gate_lr_factor", "clip_norm"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name}={getattr(self, name)}: give a number above 0")
        for name in ("momentum", "weight_decay", "poly_power", "warmup_factor"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name}={getattr(self, name)}: give a number of at least 0")
        for name in ("drop_path", "average"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give a number from 0 to below 1")
        if min(self.warmup_iterations, self.precise_bn_batches) < 0 or not self.scales or min(self.scales) < 1:
            raise ValueError("warmup_iterations and precise_bn_batches are at least 0, scales sizes of at least 1")
