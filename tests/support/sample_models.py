"""Small networks whose gates are set by hand or at random, for the tests."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from dynroute_core.model import Segmenter
from dynroute_core.space import Cell, ModelConfig

FIRM = 3.0  # a gate's bias that no input of these tests overcomes: tanh(3) = 0.995, and below 0 a path is shut


def small_config(**settings: object) -> ModelConfig:
    return ModelConfig(**{"layers": 4, "channels": 4, "classes": 5, "stem_channels": 8} | settings)


def shaken(model: Segmenter) -> Segmenter:
    """Batch norms with statistics and weights of their own, as after training: nothing is 0 or 1 by luck."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight, 1, 0.2)
            nn.init.normal_(module.bias, 0, 0.3)
    return model


def settled(model: Segmenter) -> Segmenter:
    """Batch norms with the statistics of a batch, so that every map is of order 1, as float16 needs."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(images(4, 64, 64))
    for norm in norms:
        norm.momentum = 0.1
    return model


def mixed_model(config: ModelConfig, seed: int = 0) -> Segmenter:
    """float64, evaluation: gates that open and close with the image."""
    torch.manual_seed(seed)
    model = shaken(Segmenter(config)).double().eval()
    for cell in model.space.cells:
        gate = model.cell(cell).gate
        if gate is not None:
            nn.init.normal_(gate.factors.bias, -0.5, 1.0)
            nn.init.normal_(gate.factors.weight, 0, 1.0)
    return model


def set_gates(model: Segmenter, factors: Mapping[Cell, tuple[float, ...]]) -> Segmenter:
    """Gates that ignore the image: these factors (0 or less: shut) at these cells, tanh(1.5) everywhere else."""
    for cell in model.space.cells:
        gate = model.cell(cell).gate
        nn.init.zeros_(gate.factors.weight)
        if cell in factors:
            wanted = torch.tensor(factors[cell], dtype=torch.float64)
            bias = torch.where(wanted > 0, torch.atanh(wanted.clamp(0, 0.999)), torch.full_like(wanted, -FIRM))
            gate.factors.bias.data.copy_(bias)
    return model


def images(count: int, height: int, width: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.randint(0, 256, (count, 3, height, width), generator=generator)
    # Half of them dark or bright: images that differ as a whole move a gate more than noise does.
    return (pictures * torch.linspace(0.2, 1, count).view(-1, 1, 1, 1)).to(torch.uint8)
