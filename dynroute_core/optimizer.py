"""How weights move: the schedule of the learning rate, SGD or AdamW with their groups, and the weights' average.

Takes a network and a `TrainConfig`'s part of it; gives torch optimizers, whose state holds everything that a checkpoint
must. Knows no batches and no losses. (Paper, section 4: SGD, poly. AdamW, cosine and average are the short recipe's.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dynroute_core.recipe import TrainConfig

BETAS, EPSILON = (0.9, 0.999), 1e-8  # of AdamW, its authors'
AVERAGE = "average"  # the averaged weights, among an optimizer's state
STATE: Mapping[str, str] = {
    "momentum_buffer": "momentum/",
    "exp_avg": "first_moment/",
    "exp_avg_sq": "second_moment/",
    AVERAGE: "average/",
}
"""An optimizer's tensors of a parameter, by torch's names, and what their names in a checkpoint begin with."""


def learning_rate(config: TrainConfig, iteration: int) -> float:
    """lr · decline(i/N) · warm-up(i): poly (1 - i/N)^p or cosine ½(1 + cos πi/N), the warm-up linear from
    `warmup_factor` to 1."""
    done = iteration / config.iterations
    decline = (1 - done) ** config.poly_power if config.schedule == "poly" else (1 + math.cos(math.pi * done)) / 2
    share = min(iteration / config.warmup_iterations, 1.0) if config.warmup_iterations else 1.0
    return config.lr * decline * (config.warmup_factor * (1 - share) + share)


def make_optimizer(model: nn.Module, config: TrainConfig) -> Optimizer:
    """The optimizer, its groups with an `lr_factor`: the gates' own learning rate.

    Weight decay is SGD's for all but batch norm, as released, and AdamW's for convolutions outside the gates, biases
    left out.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    norms = {id(p) for m in model.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters(recurse=False)}
    adamw = config.optimizer == "adamw"
    for name, parameter in model.named_parameters():
        is_gate = ".gate." in name
        free = id(parameter) in norms or (adamw and (is_gate or parameter.dim() < 2))
        groups.setdefault((is_gate, free), []).append(parameter)
    settings = [
        {
            "params": parameters,
            "weight_decay": 0.0 if free else config.weight_decay,
            "lr_factor": config.gate_lr_factor if is_gate else 1.0,
            "by_sgd": not adamw or (is_gate and config.gates_by_sgd),
        }
        for (is_gate, free), parameters in groups.items()
    ]
    if not adamw:
        return torch.optim.SGD(settings, lr=config.lr, momentum=config.momentum, foreach=True)
    return AdamW(settings, lr=config.lr, momentum=config.momentum)


class AdamW(torch.optim.AdamW):
    """torch's, of which the groups marked `by_sgd` move by SGD with momentum; one state for both."""

    def __init__(self, groups: list[dict[str, Any]], *, lr: float, momentum: float) -> None:
        super().__init__(groups, lr=lr, betas=BETAS, eps=EPSILON, foreach=True)
        self._own = [group for group in self.param_groups if not group["by_sgd"]]
        self._others = None
        if len(self._own) < len(self.param_groups):
            others = [group for group in self.param_groups if group["by_sgd"]]
            self._others = torch.optim.SGD(others, lr=lr, momentum=momentum, foreach=True)
            self._others.state = self.state

    def step(self) -> None:  # type: ignore[override]
        everyone, self.param_groups = self.param_groups, self._own
        super().step()
        self.param_groups = everyone
        if self._others is not None:
            self._others.step()


def kept_share(config: TrainConfig, iteration: int) -> float:
    """How much of the weights' average stays at an iteration: less at the beginning, whose weights are soon wrong."""
    return min(config.average, (1 + iteration) / (10 + iteration))


@torch.no_grad()
def average_weights(optimizer: Optimizer, keep: float) -> None:
    """average ← keep · average + (1 - keep) · weights, of every parameter; at first the weights themselves."""
    parameters = parameters_of(optimizer.param_groups)
    for parameter in parameters:
        if AVERAGE not in optimizer.state[parameter]:
            optimizer.state[parameter][AVERAGE] = parameter.detach().clone()
    torch._foreach_lerp_([optimizer.state[p][AVERAGE] for p in parameters], [p.detach() for p in parameters], 1 - keep)


@torch.no_grad()
def take_average(optimizer: Optimizer) -> None:
    """Puts the averaged weights in the place of the weights, where there are any."""
    for parameter in parameters_of(optimizer.param_groups):
        average = optimizer.state[parameter].get(AVERAGE)
        if average is not None:
            parameter.copy_(average)


def parameters_of(groups: Sequence[dict[str, Any]]) -> list[nn.Parameter]:
    """Of an optimizer's groups, in their order."""
    return [parameter for group in groups for parameter in group["params"]]


def class_weights(pixels: Tensor) -> Tensor:
    """1 / ln(1.02 + p) for classes with a share p of the labelled pixels, scaled to a mean of 1 over the pixels.

    (ENet, Paszke et al. 2016, section 5.2.) pixels: K counts, on the CPU; gives K of float32.
    """
    share = pixels.double() / pixels.sum().clamp(min=1)
    weights = 1 / torch.log(1.02 + share)
    return (weights / (share * weights).sum().clamp(min=1e-12)).float()
