"""Training (paper, section 4): the optimizer's steps, clipping, budget, drop path, precise batch norm.

Takes a model, batches and a `TrainConfig`; yields a `StepState` per iteration. Resumes exactly: a snapshot holds
weights, the optimizer's state, random state and iteration, and batch number i is a function of the seed alone. Knows
no evaluation, no files.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from dynroute_core.checkpoint import Snapshot, restore_training, training_tensors
from dynroute_core.data.labels import IGNORE
from dynroute_core.distributed import ALONE, Team, require_even, synchronise
from dynroute_core.losses import Budget, budget_loss, budget_ramp, budget_target, next_multiplier
from dynroute_core.metrics import confusion_matrix
from dynroute_core.model import Segmenter
from dynroute_core.nonfinite import NonFiniteLossError, Watch
from dynroute_core.optimizer import kept_share, learning_rate, make_optimizer, take_average
from dynroute_core.recipe import TrainConfig
from dynroute_core.space import COARSEST_STRIDE, SMALL_GATE_SHRINK
from dynroute_core.step import EagerStep, Step
from dynroute_core.system.errors import BlockedError, UsageError

MULTIPLIER = "budget_multiplier"  # in a snapshot


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


def count_labelled(labels: Tensor) -> Tensor:
    """How many pixels have a label, as a tensor where the labels are.

    On the CPU numpy counts: torch would wake its OpenMP threads, which then spin on the cores of a compiled step's own.
    """
    if labels.device.type == "cpu":
        return torch.tensor(np.count_nonzero(labels.numpy() != IGNORE), dtype=torch.int64, device="cpu")
    return (labels != IGNORE).sum()


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
        self.multiplier = torch.zeros((), dtype=torch.float32, device=self.device)  # of a budget with `ascent`
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
        labelled = self.team.total(count_labelled(labels))
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
        if (now := self._budget_now()) is not None and now.ascent:
            assert config.budget_macs
            self.multiplier = next_multiplier(self.multiplier, expected, now, denominator_macs=config.budget_macs)
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
        if (now := self._budget_now()) is not None:
            assert config.budget_macs
            budget = budget_loss(
                expected,
                now,
                denominator_macs=config.budget_macs,
                ramp=budget_ramp(now, iteration, config.iterations),
                multiplier=self.multiplier if now.ascent else None,
            )
        # Each process's gradient is its share of a sum, of which DDP takes the mean.
        (self.team.size * (segmentation + budget / config.accumulate)).backward()
        confusion = None
        if with_confusion:
            confusion = confusion_matrix(output.logits.detach().argmax(1), labels, output.logits.shape[1])
        return _Part(segmentation.detach(), budget.detach(), expected.detach().mean(), confusion)

    def _budget_now(self) -> Budget | None:
        """The budget, its target as it is at this iteration."""
        budget = self.config.budget
        if budget is None:
            return None
        return replace(budget, target=budget_target(budget, self.iteration, self.config.iterations))

    def require_finite(self) -> None:
        """Raises NonFiniteLossError if a loss or gradient that was stepped by so far was NaN or infinite."""
        self.watch.require()

    def _to_device(self, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        return batch.images.to(self.device, non_blocking=True), batch.labels.to(self.device, non_blocking=True)

    def snapshot(self) -> Snapshot:
        """Weights, the optimizer's state, random state and counts, as they are between two iterations."""
        facts = {"iteration": self.iteration} | self.watch.facts()
        return Snapshot(training_tensors(self.model, self.optimizer) | {MULTIPLIER: self.multiplier}, facts)

    def restore(self, snapshot: Snapshot) -> None:
        """Goes back to a snapshot of the same model and recipe; raises BlockedError where it does not fit."""
        iteration = snapshot.facts.get("iteration")
        try:
            restore_training(snapshot, self.model, self.optimizer)
            self.multiplier = snapshot.tensors[MULTIPLIER].to(self.device)
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
