"""Training (paper, section 4): the optimizer's steps, clipping, budget, drop path, precise batch norm.

Takes a model, batches and a `TrainConfig`; yields a `StepState` per iteration. Resumes exactly: a snapshot holds
weights, the optimizer's state, random state and iteration, and batch number i is a function of the seed alone. Knows
no evaluation, no files.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from dynroute_core.checkpoint import Snapshot, restore_training, training_tensors
from dynroute_core.data.labels import IGNORE
from dynroute_core.distributed import ALONE, Team, require_even, synchronise
from dynroute_core.losses import Budget, budget_loss, budget_ramp, budget_target
from dynroute_core.metrics import confusion_matrix
from dynroute_core.model import Segmenter
from dynroute_core.nonfinite import NonFiniteLossError, Watch
from dynroute_core.optimizer import (
    OptimizerName,
    ScheduleName,
    kept_share,
    learning_rate,
    make_optimizer,
    take_average,
)
from dynroute_core.space import COARSEST_STRIDE, LARGEST_SIDE, SMALL_GATE_SHRINK
from dynroute_core.step import EagerStep, Step
from dynroute_core.system.errors import BlockedError, UsageError

StepName = Literal["auto", "eager", "compiled"]
RecipeName = Literal["published", "short"]
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


class TrainingBatch(Protocol):
    """What training reads of a batch: images N×3×H×W uint8 BGR, labels N×H×W train ids, the files' names."""

    @property
    def images(self) -> Tensor: ...
    @property
    def labels(self) -> Tensor: ...
    @property
    def names(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class StepState:
    """One finished iteration (0-based). Tensors are 0-dimensional and stay on the device: reading one waits for it.

    confusion: of this batch's predictions, (classes, classes), only at iterations that are logged. skipped: the batch's
    files where it was left out (see `TrainConfig.skip_nonfinite`), and then there is no confusion; else empty.
    """

    iteration: int
    lr: float
    loss: Tensor
    segmentation_loss: Tensor
    budget_loss: Tensor
    expected_macs: Tensor
    confusion: Tensor | None
    skipped: tuple[str, ...] = ()


class _Part(NamedTuple):
    """What one part of a batch adds to its `StepState`. Of several processes that share the part, segmentation and
    confusion are this one's; segmentation is a share of the batch's mean."""

    segmentation: Tensor
    budget: Tensor
    expected_macs: Tensor
    confusion: Tensor | None


def compiled(model: nn.Module) -> nn.Module:
    """The network as torch compiles it, at its first batch; weights and settings stay the model's."""
    return typing.cast(nn.Module, torch.compile(model))


class Trainer:
    """Trains `model`, already on its device. `steps` may be left at any yield; `snapshot` then holds the rest.

    With `accumulate` k > 1 the batch is worked through in k parts, whose gradients are summed before the one clipped
    step. The cross-entropy is then still the mean over the whole batch's labelled pixels, however they are spread.
    Two things are not the whole batch's: batch norm sees a part at a time, and the budget is the mean of the parts'
    budgets, which is larger by λ·w times the variance of their expected costs (in units of the denominator).

    team: the processes that share every batch, each with its own `Team.places`. Losses, gradients, batch norm and
    budget are then the whole batch's, the same in every process and those of one process, to rounding.

    step: who computes, for this model; torch where none is given. class_weights: K, of the cross-entropy.
    """

    def __init__(
        self,
        model: Segmenter,
        config: TrainConfig,
        team: Team = ALONE,
        *,
        step: Step | None = None,
        class_weights: Tensor | None = None,
    ) -> None:
        require_even(config.batch, config.accumulate, team.size)
        synchronise(model, team)
        self.model = model
        self.config = config
        self.team = team
        self.network = team.wrapped(compiled(model) if config.compile else model)
        self.device = next(model.parameters()).device
        self.step = step or EagerStep(model, self.network, amp=config.amp, channels_last=config.channels_last)
        self.optimizer = make_optimizer(model, config)
        self.class_weights = None if class_weights is None else class_weights.to(self.device)
        self.iteration = 0
        self.watch = Watch(self.device)
        if config.budget is not None and not config.budget_macs:
            raise UsageError("a budget without train.budget_macs: set what its target is a share of.")
        side = (config.crop_height // COARSEST_STRIDE, config.crop_width // COARSEST_STRIDE)
        if model.config.gate == "small":
            side = (side[0] // SMALL_GATE_SHRINK, side[1] // SMALL_GATE_SHRINK)
        if config.batch // config.accumulate * max(side[0], 1) * max(side[1], 1) < 2:
            raise UsageError(
                f"train.batch={config.batch} in {config.accumulate} parts with crops of "
                f"{config.crop_height}x{config.crop_width} leaves batch norm a single value at the coarsest scale. "
                "Give a batch of at least 2 images a part."
            )

    def steps(self, batches: Iterator[TrainingBatch]) -> Iterator[StepState]:
        """Runs to the end of the schedule. `batches` must begin with batch number `self.iteration`.

        Raises NonFiniteLossError naming iteration and files: on the CPU before the weights are touched, elsewhere at
        the next logged iteration or `require_finite`, so that no step waits for the device. With
        `config.skip_nonfinite` only after `nonfinite.LONGEST_SKIP` such batches in a row.
        """
        self.model.train()
        while self.iteration < self.config.iterations:
            batch = next(batches)
            state = self._step(batch)
            self.iteration += 1
            yield state
        self.model.drop_path = 0.0
        take_average(self.optimizer)

    def _step(self, batch: TrainingBatch) -> StepState:
        config, iteration = self.config, self.iteration
        lr = learning_rate(config, iteration)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["lr_factor"]
        self.model.drop_path = config.drop_path * iteration / config.iterations
        logged = (iteration + 1) % config.log_every == 0 or iteration + 1 == config.iterations
        images, labels = self._to_device(batch)
        labelled = self.team.total((labels != IGNORE).sum())
        statistics = [buffer.clone() for buffer in self.model.buffers()] if config.skip_nonfinite else []
        self.step.zero_grad()
        chunks = list(zip(images.chunk(config.accumulate), labels.chunk(config.accumulate), strict=True))
        parts = []
        for number, chunk in enumerate(chunks, start=1):
            with self.team.unsynchronised(self.network, when=number < len(chunks)):
                parts.append(self._backward(*chunk, labelled, with_confusion=logged))
        segmentation = self.team.total(torch.stack([part.segmentation for part in parts]).sum())
        budget = torch.stack([part.budget for part in parts]).mean()
        loss = segmentation + budget
        norm = self.step.clip(config.clip_norm)
        expected = torch.stack([part.expected_macs for part in parts]).mean()
        finite = torch.isfinite(loss + norm)
        if config.skip_nonfinite and not finite:  # waits for the device
            self.watch.skip(iteration, batch.names)
            for buffer, before in zip(self.model.buffers(), statistics, strict=True):
                buffer.copy_(before)
            return StepState(iteration, lr, loss, segmentation, budget, expected, None, batch.names)
        self.watch.note(finite, iteration, batch.names)
        if logged or self.device.type == "cpu":
            self.require_finite()
        self.step.update(self.optimizer)
        if config.average:
            self.step.average(self.optimizer, kept_share(config, iteration))
        confusions = [part.confusion for part in parts if part.confusion is not None]
        confusion = self.team.total(torch.stack(confusions).sum(0)) if confusions else None
        return StepState(iteration, lr, loss, segmentation, budget, expected, confusion)

    def _backward(self, images: Tensor, labels: Tensor, labelled: Tensor, *, with_confusion: bool) -> _Part:
        """Adds a part's share of the batch's gradient. labelled: the labelled pixels of the whole batch."""
        config, iteration = self.config, self.iteration
        output, segmentation = self.step.losses(images, labels, labelled, self.class_weights)
        cost = output.cost(height=config.crop_height, width=config.crop_width, accounting="paper")
        expected = self.team.gathered(cost.expected_macs)
        budget = segmentation.new_zeros(())
        if config.budget is not None and config.budget_macs:
            ramp = budget_ramp(config.budget, iteration, config.iterations)
            now = replace(config.budget, target=budget_target(config.budget, iteration, config.iterations))
            budget = budget_loss(expected, now, denominator_macs=config.budget_macs, ramp=ramp)
        # Each process's gradient is its share of a sum, of which DDP takes the mean.
        (self.team.size * (segmentation + budget / config.accumulate)).backward()
        confusion = None
        if with_confusion:
            confusion = confusion_matrix(output.logits.detach().argmax(1), labels, output.logits.shape[1])
        return _Part(segmentation.detach(), budget.detach(), expected.detach().mean(), confusion)

    def require_finite(self) -> None:
        """Raises NonFiniteLossError if a loss or gradient that was stepped by so far was NaN or infinite."""
        self.watch.require()

    def _to_device(self, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        return batch.images.to(self.device, non_blocking=True), batch.labels.to(self.device, non_blocking=True)

    def snapshot(self) -> Snapshot:
        """Weights, the optimizer's state, random state and counts, as they are between two iterations."""
        facts = {"iteration": self.iteration} | self.watch.facts()
        return Snapshot(training_tensors(self.model, self.optimizer), facts)

    def restore(self, snapshot: Snapshot) -> None:
        """Goes back to a snapshot of the same model and recipe; raises BlockedError where it does not fit."""
        iteration = snapshot.facts.get("iteration")
        try:
            restore_training(snapshot, self.model, self.optimizer)
            self.watch.restore(snapshot.facts)
        except (RuntimeError, KeyError, ValueError) as error:
            raise BlockedError(f"the checkpoint does not fit this run ({error}). Delete it to start anew.") from error
        if not isinstance(iteration, int) or not 0 <= iteration <= self.config.iterations:
            raise BlockedError(f"the checkpoint's iteration is {iteration!r}. Delete it to start anew.")
        self.iteration = iteration


@torch.no_grad()
def precise_batch_norm(
    model: Segmenter,
    batches: Iterator[TrainingBatch],
    count: int,
    *,
    forward: Callable[[Tensor], object] | None = None,
    each: Callable[[int], None] | None = None,
) -> None:
    """Recomputes every batch norm's statistics as the plain average over `count` training batches, without drop path.

    forward: a forward pass of the model, in place of its own. each: called with the number of batches done, after
    each. Raises NonFiniteLossError where they come out NaN or infinite: every label would be the first class.
    """
    if count == 0:
        return
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    device = next(model.parameters()).device
    was_training, drop_path = model.training, model.drop_path
    model.train()
    model.drop_path = 0.0
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for a plain, cumulative average
    for done in range(count):
        images = next(batches).images.to(device, non_blocking=True)
        if forward is None:
            model(images.float())
        else:
            forward(images)
        if each is not None:
            each(done + 1)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.drop_path = drop_path
    model.train(was_training)
    if not all(bool(torch.isfinite(buffer).all()) for norm in norms for buffer in norm.buffers()):
        raise NonFiniteLossError(
            "the batch norm statistics are not finite after training: it diverged. Lower train.lr."
        )
