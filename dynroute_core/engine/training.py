"""The compiled training step: a `Segmenter`'s forward, loss, backward and update by `dynroute_kernels.cpu.training`.

Takes a model over: its parameters and statistics become views of flat buffers, which the kernels share with whatever
reads the model. Gives quarter-size logits and gates with gradients, so that cost, budget, schedule and the losses' sum
stay where they are. Computes what `Segmenter` computes in training, to rounding, and the same bits for any number of
threads. Leaves out what `unavailable` names; the eager step has that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import Function, FunctionCtx, once_differentiable
from torch.nn import functional as F
from torch.optim import Optimizer

from dynroute_core.cell import CLOSED, OPEN, CellGate, RouteFactors
from dynroute_core.distributed import ALONE, Team
from dynroute_core.engine.flat import Flat, FlatState, aligned, count_step, in_order
from dynroute_core.model import Routing, Segmenter, check_images
from dynroute_core.optimizer import AVERAGE
from dynroute_core.recipe import TrainConfig
from dynroute_core.space import FINEST_STRIDE, Cell, ModelConfig, Route
from dynroute_core.step import Step
from dynroute_core.system.errors import UsageError
from dynroute_core.system.machine import say_once
from dynroute_kernels import BuildError
from dynroute_kernels.cpu import training as kernels

OPERATIONS = ("sep_conv_3x3", "skip_connect")


def unavailable(model: Segmenter, *, processes: int = 1, amp: bool = False) -> str:
    """What keeps the compiled step from training this model, and that the eager one does; "" where nothing does.

    amp: bfloat16 was asked for.
    """
    config, some = model.config, next(model.parameters())
    for lacks, given, has in (
        (sorted(config.operations) != sorted(OPERATIONS), f"operations={','.join(config.operations)}", OPERATIONS),
        (config.stem != "separable", f"stem={config.stem}", ("separable",)),
        (some.device.type != "cpu", f"device {some.device}", ("cpu",)),
        (some.dtype not in kernels.DTYPES, f"{some.dtype}", kernels.DTYPES),
        (processes > 1, f"{processes} processes", ("one",)),
        (amp, "amp (bfloat16)", ("float32",)),
    ):
        if lacks:
            return f"the compiled step does not have {given}, only {', '.join(map(str, has))}. The eager step has it."
    try:
        kernels.library()  # built now where it was not: a run must not learn of it later
    except BuildError as error:
        return f"the compiled step cannot be loaded: {error} The eager step needs nothing compiled."
    return ""


@dataclass(frozen=True)
class CompiledOutput(Routing):
    """What a forward pass gives. quarter: logits N×K×h×w of the padded images, before they are enlarged and cropped."""

    quarter: Tensor
    gates: Mapping[Cell, CellGate]
    config: ModelConfig
    size: tuple[int, int]

    @property
    def logits(self) -> Tensor:
        """N×K×H×W, made when asked for: the loss does without."""
        full = F.interpolate(self.quarter, scale_factor=FINEST_STRIDE, mode="bilinear", align_corners=False)
        return full[..., : self.size[0], : self.size[1]]


class CompiledStep:
    """Trains `model` in its own dtype; call `unavailable` first.

    `step(images)` and `step.cross_entropy(output, labels)` are differentiable once, up to `step.gradient`, the sum
    since `zero_grad`. A backward pass is of the last forward pass. Raises ValueError and `BuildError` as
    `kernels.TrainingStep` does.
    """

    def __init__(self, model: Segmenter) -> None:
        assert not (reason := unavailable(model)), reason
        self.model = model
        self.flat = Flat.of(model)
        self.state = FlatState(self.flat)
        self.serial = 0  # of the last forward pass
        self._steps: dict[tuple[int, int, int], kernels.TrainingStep] = {}

    def __call__(
        self, images: Tensor, *, route: Route | Sequence[Route] | None = None, route_factors: RouteFactors = "one"
    ) -> CompiledOutput:
        """As a `Segmenter` in training: N×3×H×W BGR images, 0..255 → logits and gates. Moves the norms' statistics."""
        size = check_images(images)
        step = self.step_for(images)
        if images.dtype not in (torch.uint8, step.dtype):
            images = images.to(step.dtype)
        given = _Given(images, self._forced(route, len(images)), route_factors == "gate", self._drawn(len(images)))
        quarter, factors, is_open = _Network.apply(self.flat.parameters, self, step, given)
        space = self.model.space
        per_cell = factors.split([len(space.paths(cell)) for cell in space.cells], dim=1)
        states = torch.where(is_open, OPEN, CLOSED).to(torch.uint8).unbind(1)
        gates = {cell: CellGate(f, s) for cell, f, s in zip(space.cells, per_cell, states, strict=True)}
        return CompiledOutput(quarter, gates, self.model.config, size)

    def cross_entropy(self, output: CompiledOutput, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """The sum of the cross-entropy over pixels whose label is not 255, of the enlarged logits. labels: N×H×W train
        ids; weights: K, of the classes."""
        step = self._steps[len(labels), *output.size]
        return _CrossEntropy.apply(output.quarter, step, labels.to(torch.uint8).contiguous(), weights)

    @property
    def gradient(self) -> Tensor:
        """Of every parameter, laid out like `flat.parameters`."""
        found = self.flat.parameters.grad
        assert found is not None, "no backward pass since zero_grad"
        return found

    def gradients(self) -> dict[str, Tensor]:
        """The gradient by the parameters' names."""
        return {name: self.flat.view(self.gradient, p) for name, p in self.model.named_parameters()}

    def zero_grad(self) -> None:
        self.flat.parameters.grad = None

    def gradient_norm(self) -> Tensor:
        """As torch's clip_grad_norm_ gives it: of all parameters together."""
        return torch.tensor(math.sqrt(kernels.squares(self.gradient)), dtype=self.gradient.dtype, device="cpu")

    def update(self, optimizer: Optimizer, *, clip_norm: float, norm: Tensor) -> None:
        """One step of SGD with momentum or of AdamW, the gradient clipped to `clip_norm`; norm: as it is.

        optimizer: its groups say how, and its state holds momenta or moments, as after a step of its own.
        """
        scale = min(clip_norm / (float(norm) + 1e-6), 1.0)
        parameters = self.flat.parameters.detach()
        by_sgd = [group for group in optimizer.param_groups if group["by_sgd"]]
        if own := [group for group in optimizer.param_groups if not group["by_sgd"]]:
            one, two = (self.state.buffer(optimizer, kind, own) for kind in ("exp_avg", "exp_avg_sq"))
            step, first = count_step(optimizer, own), own[0]
            kernels.update_adamw(
                parameters, self.gradient, one, two, self.flat.spans(own),
                step=step, betas=first["betas"], epsilon=first["eps"], scale=scale,
            )  # fmt: skip
        if by_sgd:
            momenta = self.state.buffer(optimizer, "momentum_buffer", by_sgd)
            spans, momentum = self.flat.spans(by_sgd), by_sgd[0]["momentum"]
            kernels.update(parameters, self.gradient, momenta, spans, momentum=momentum, scale=scale)

    def average(self, optimizer: Optimizer, keep: float) -> None:
        """Moves the weights' average in the optimizer's state, as `optimizer.average_weights` does."""
        parameters = self.flat.parameters.detach()
        kernels.average(
            self.state.buffer(optimizer, AVERAGE, optimizer.param_groups, like=parameters), parameters, keep=keep
        )

    def step_for(self, images: Tensor) -> kernels.TrainingStep:
        """The kernels for batches of this shape, made at its first one."""
        key = len(images), *images.shape[-2:]
        if key not in self._steps:
            self._steps[key] = kernels.TrainingStep(self._spec(*key), self.flat.parameters.dtype)
        return self._steps[key]

    def momentum(self) -> float:
        """Of the norms' statistics; None, torch's word for a plain average, is 1 / batches seen, this one included."""
        norm = next(iter(self.flat.norms))
        return 1.0 / (int(self.flat.counts[0]) + 1) if norm.momentum is None else norm.momentum

    def _forced(self, route: Route | Sequence[Route] | None, count: int) -> Tensor | None:
        if route is None:
            return None
        routes = [frozenset(route)] * count if isinstance(route, Set) else list(route)
        if len(routes) != count:
            raise ValueError(f"{len(routes)} routes for {count} images: give one for all, or one per image.")
        space = self.model.space
        opened = [[path in space.check_route(each) for path in space.all_paths] for each in routes]
        return torch.tensor(opened, dtype=torch.bool, device="cpu")

    def _drawn(self, count: int) -> Tensor | None:
        """What drop path multiplies each cell's operation by, cells×N: drawn as the eager step draws it."""
        if self.model.drop_path == 0:
            return None
        drop = torch.ones(len(self.model.space.cells), count, dtype=self.flat.parameters.dtype, device="cpu")
        for row, cell in zip(drop, self.model.space.cells, strict=True):
            probability = self.model.drop_path * self.model.cell(cell).drop_share
            if probability > 0:
                kept = 1 - probability
                drawn = torch.rand(count, 1, 1, 1, dtype=torch.float32, device="cpu").flatten()
                row.copy_((drawn < kept).to(row.dtype) / kept)
        return drop

    def _spec(self, images: int, height: int, width: int) -> kernels.StepSpec:
        config, space = self.model.config, self.model.space
        norm = next(iter(self.flat.norms))
        parameters, norms = in_order(self.model)
        statistics = (self.flat.norms[one] + place * aligned(one.num_features) for one in norms for place in (0, 1))
        first, second, third = self.model.get_buffer("pixel_mean").double().flatten().tolist()
        return kernels.StepSpec(
            images=images,
            height=height,
            width=width,
            channels=config.channels,
            stem_channels=config.stem_channels,
            classes=config.classes,
            head_scales=space.head_scales,
            gate=config.gate,
            cells=tuple(kernels.StepCell(cell.layer, cell.scale, space.paths(cell)) for cell in space.cells),
            parameters=tuple(self.flat.firsts[parameter] for parameter in parameters),
            statistics=tuple(statistics),
            mean=(first, second, third),
            epsilon=norm.eps,
        )


class CompiledTrainingStep:
    """A `CompiledStep` as the trainer asks for it (`step.py`)."""

    name = "compiled"

    def __init__(self, model: Segmenter) -> None:
        self._step = CompiledStep(model)
        self._most, self._norm = math.inf, torch.zeros((), dtype=torch.float32, device="cpu")

    def forward(self, images: Tensor) -> CompiledOutput:
        return self._step(images)

    def losses(
        self, images: Tensor, labels: Tensor, labelled: Tensor, weights: Tensor | None = None
    ) -> tuple[CompiledOutput, Tensor]:
        output = self._step(images)
        given = None if weights is None else weights.to(output.quarter.dtype)
        return output, self._step.cross_entropy(output, labels, given) / labelled.clamp(min=1)

    def zero_grad(self) -> None:
        self._step.zero_grad()

    def clip(self, most: float) -> Tensor:
        self._most, self._norm = most, self._step.gradient_norm()
        return self._norm

    def update(self, optimizer: Optimizer) -> None:
        self._step.update(optimizer, clip_norm=self._most, norm=self._norm)

    def average(self, optimizer: Optimizer, keep: float) -> None:
        self._step.average(optimizer, keep)


def training_step(model: Segmenter, config: TrainConfig, team: Team = ALONE) -> Step | None:
    """The compiled step of a run, None for torch's own.

    Raises UsageError where `train.step=compiled` asks for what it does not have. `auto` says once, on standard error,
    why a run on the CPU is eager.
    """
    if config.step == "eager":
        return None
    reason = unavailable(model, processes=team.size, amp=config.amp)
    if not reason and config.compile:
        reason = "torch.compile compiles the eager step."
    if not reason:
        return CompiledTrainingStep(model)
    if config.step == "compiled":
        raise UsageError(f"train.step=compiled: {reason} Give train.step=eager, or auto.")
    if next(model.parameters()).device.type == "cpu":
        say_once(f"train.step=auto is eager here: {reason}")
    return None


@dataclass(frozen=True)
class _Given:
    """What a forward pass takes beside the parameters."""

    images: Tensor
    forced: Tensor | None
    gate_factors: bool
    drop: Tensor | None


class _Network(Function):
    """(parameters) → (quarter-size logits N×K×h×w, factors N×P, N×cells which cells are open)."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, parameters: Tensor, owner: CompiledStep, step: kernels.TrainingStep, given: _Given
    ) -> tuple[Tensor, Tensor, Tensor]:
        found = step.forward(
            given.images,
            parameters.detach(),
            owner.flat.statistics,
            momentum=owner.momentum(),
            forced=given.forced,
            gate_factors=given.gate_factors,
            drop=given.drop,
        )
        owner.flat.counts.add_(1)
        owner.serial += 1
        ctx.owner, ctx.step, ctx.serial, ctx.size = owner, step, owner.serial, len(parameters)  # type: ignore[attr-defined]
        ctx.mark_non_differentiable(found.open)
        return found.logits.permute(0, 3, 1, 2), found.factors, found.open

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, logits: Tensor, factors: Tensor, _: Tensor) -> tuple[Tensor, None, None, None]:
        assert ctx.serial == ctx.owner.serial, "another forward pass came between"  # type: ignore[attr-defined]
        gradient = kernels.zeros(ctx.size, logits.dtype)  # type: ignore[attr-defined]
        ctx.step.backward(logits.permute(0, 2, 3, 1).contiguous(), factors.contiguous(), gradient)  # type: ignore[attr-defined]
        return gradient, None, None, None


class _CrossEntropy(Function):
    """Quarter-size logits → the sum of the enlarged logits' cross-entropy."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, quarter: Tensor, step: kernels.TrainingStep, labels: Tensor, weights: Tensor | None
    ) -> Tensor:
        loss, ctx.gradient = step.cross_entropy(quarter.permute(0, 2, 3, 1).contiguous(), labels, weights)  # type: ignore[attr-defined]
        return quarter.new_tensor(loss)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, asked: Tensor) -> tuple[Tensor, None, None, None]:
        return kernels.scaled(ctx.gradient, float(asked)).permute(0, 3, 1, 2), None, None, None  # type: ignore[attr-defined]
