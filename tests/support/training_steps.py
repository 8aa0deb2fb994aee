"""Eager and compiled training steps of one model on one batch, for the tests."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dynroute_core.cell import RouteFactors
from dynroute_core.engine.training import CompiledStep
from dynroute_core.losses import segmentation_loss
from dynroute_core.model import Routing, Segmenter
from dynroute_core.space import ModelConfig, Route
from support.sample_models import images, shaken


@dataclass(frozen=True)
class Found:
    """What a step gives: the loss, logits, factors of every cell, states, gradients and statistics by name."""

    loss: Tensor
    logits: Tensor
    factors: Tensor
    states: Tensor
    gradients: dict[str, Tensor]
    statistics: dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Images, labels (some left out), and what a loss asks of the factors, so that budgets have a gradient too."""

    images: Tensor
    labels: Tensor
    of_factors: float = 1e-2
    route: Route | Sequence[Route] | None = None
    route_factors: RouteFactors = "one"


def training_model(config: ModelConfig, dtype: torch.dtype = torch.float64, seed: int = 0) -> Segmenter:
    """A network in training whose gates leave cells open and closed, and paths of open cells shut."""
    torch.manual_seed(seed)
    model = shaken(Segmenter(config)).to(dtype).train()
    for cell in model.space.cells:
        gate = model.cell(cell).gate
        if gate is not None:
            torch.nn.init.normal_(gate.factors.bias, 0.3, 0.7)
            torch.nn.init.normal_(gate.factors.weight, 0, 0.7)
    return model


def batch(config: ModelConfig, count: int, height: int, width: int, **others: object) -> Batch:
    labels = torch.randint(0, config.classes, (count, height, width), dtype=torch.uint8)
    labels[torch.rand(labels.shape) < 0.1] = 255
    return Batch(images=images(count, height, width), labels=labels, **others)


def asked(model: Segmenter, output: Routing, of_factors: float) -> tuple[Tensor, Tensor, Tensor]:
    """Factors and states of all cells in order, and what the loss asks of the factors, each with its own weight."""
    gates = [output.gates[cell] for cell in model.space.cells]
    factors = torch.cat([gate.factors for gate in gates], dim=1)
    weights = torch.linspace(-1, 1, factors.numel(), dtype=factors.dtype).view_as(factors)
    return factors, torch.stack([gate.state for gate in gates]), of_factors * (factors * weights).sum()


def eager(model: Segmenter, given: Batch) -> Found:
    model = copy.deepcopy(model)
    output = model(given.images, route=given.route, route_factors=given.route_factors)
    factors, states, extra = asked(model, output, given.of_factors)
    loss = segmentation_loss(output.logits, given.labels) + extra
    loss.backward()
    gradients = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in model.named_parameters()}
    return Found(
        loss.detach(), output.logits.detach(), factors.detach(), states, gradients, dict(model.named_buffers())
    )


def compiled(model: Segmenter, given: Batch) -> Found:
    model = copy.deepcopy(model)
    step = CompiledStep(model)
    output = step(given.images, route=given.route, route_factors=given.route_factors)
    factors, states, extra = asked(model, output, given.of_factors)
    loss = step.cross_entropy(output, given.labels) / (given.labels != 255).sum().clamp(min=1) + extra
    loss.backward()
    buffers = dict(model.named_buffers())
    return Found(loss.detach(), output.logits.detach(), factors.detach(), states, step.gradients(), buffers)


def apart(ours: Tensor, theirs: Tensor, least: float = 0.0) -> float:
    """The largest difference, as a share of the largest of theirs (of `least`, where that is more)."""
    return float((ours.double() - theirs.double()).abs().max() / max(float(theirs.abs().max()), least, 1e-300))


def assert_same(ours: Found, theirs: Found, tolerance: float) -> None:
    """Equal but for rounding: to `tolerance` of the largest gradient of all. Each tensor's by itself, too, to a hundred
    times that, where it is more than rounding: what a norm behind a constant takes away again is 0 but for that."""
    assert torch.equal(ours.states, theirs.states)
    for name in ("loss", "logits", "factors"):
        assert apart(getattr(ours, name), getattr(theirs, name)) < tolerance, name
    assert set(ours.gradients) == set(theirs.gradients) and set(ours.statistics) == set(theirs.statistics)
    largest = max(float(one.abs().max()) for one in theirs.gradients.values())
    for name, gradient in theirs.gradients.items():
        assert apart(ours.gradients[name], gradient, largest) < tolerance, name
        assert apart(ours.gradients[name], gradient, 1e-4 * largest) < 100 * tolerance, name
    for name, values in theirs.statistics.items():
        assert apart(ours.statistics[name], values) < tolerance, name
