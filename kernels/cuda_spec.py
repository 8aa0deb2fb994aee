"""A folded network as the CUDA kernels take it: convolutions with biases in place of batch norms, and its cells.

Holds no maps and runs nothing; knows neither `Segmenter` nor checkpoints. Weights are float32 as torch has them
(outputs × inputs per group × rows × columns) and are laid out here the way the operators read them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dynroute_kernels.cuda_checks import CHANNEL_STEP


@dataclass(frozen=True)
class Convolution:
    """weight: outputs × inputs per group × k × k; bias: outputs, None for none."""

    weight: Tensor
    bias: Tensor | None


@dataclass(frozen=True)
class SeparablePair:
    """A depthwise 3×3 without bias, then a 1×1."""

    depthwise: Convolution
    pointwise: Convolution


@dataclass(frozen=True)
class GateSpec:
    """reduce: 1×1 to half the channels, ReLU, mean over pixels; factors: a row per path of the cell, in its order."""

    reduce: Convolution
    factors: Convolution


@dataclass(frozen=True)
class CellSpec:
    """One cell. layer: −1 for the initial one; paths: those of keep, up, down that it has, in this order."""

    layer: int
    scale: int
    paths: tuple[str, ...]
    first: SeparablePair
    second: SeparablePair
    up: Convolution | None
    down: Convolution | None
    gate: GateSpec | None


@dataclass(frozen=True)
class NetworkSpec:
    """The whole network. channels: of scale 0; mean: of the three colours; cells: in forward order, the initial first.

    stem: the first convolution, then two separable pairs or two dense convolutions, the last of stride 2. narrow: the
    head's 1×1 from scale 1 on to the one finer, as far as the head goes.
    """

    layers: int
    channels: int
    classes: int
    small_gates: bool
    mean: Tensor
    stem_first: Convolution
    stem_rest: tuple[SeparablePair, SeparablePair] | tuple[Convolution, Convolution]
    cells: tuple[CellSpec, ...]
    narrow: tuple[Convolution, ...]
    fuse: Convolution
    predictor: Convolution


def padded(channels: int) -> int:
    """Channels as they are stored: rounded up to a multiple of 16, the rest zeros."""
    return -(-channels // CHANNEL_STEP) * CHANNEL_STEP


def _filled(values: Tensor, *shape: int) -> Tensor:
    full = torch.zeros(shape, dtype=torch.float32)
    full[tuple(slice(side) for side in values.shape)] = values.detach().float().cpu()
    return full


def packed_bias(convolution: Convolution) -> Tensor:
    outputs = len(convolution.weight)
    bias = torch.zeros(outputs) if convolution.bias is None else convolution.bias
    return _filled(bias, padded(outputs))


def packed_pointwise(convolution: Convolution) -> Tensor:
    """inputs × outputs, both padded."""
    weight = convolution.weight[:, :, 0, 0].T
    return _filled(weight, padded(weight.shape[0]), padded(weight.shape[1]))


def packed_depthwise(convolution: Convolution) -> Tensor:
    """9 × channels, padded."""
    channels = len(convolution.weight)
    return _filled(convolution.weight.reshape(channels, 9).T, 9, padded(channels))


def packed_dense(convolution: Convolution) -> Tensor:
    """9·inputs × outputs, both padded: rows (row, column, channel) of the window."""
    outputs, inputs = convolution.weight.shape[:2]
    weight = convolution.weight.permute(2, 3, 1, 0).reshape(9, inputs, outputs)
    return _filled(weight, 9, padded(inputs), padded(outputs)).flatten(0, 1)


def packed_window(convolution: Convolution) -> Tensor:
    """32 × outputs: rows (row, column, colour) of the stem's window, and five of zeros."""
    outputs = len(convolution.weight)
    return _filled(convolution.weight.permute(2, 3, 1, 0).reshape(27, outputs), 32, padded(outputs))


def packed_factors(gate: GateSpec, slots: list[int]) -> tuple[Tensor, Tensor]:
    """(3 × padded inputs, 3): a gate's last layer with a row per slot, zeros for paths that the cell lacks."""
    inputs = gate.factors.weight.shape[1]
    weight, bias = torch.zeros(3, padded(inputs)), torch.zeros(3)
    weight[slots, :inputs] = gate.factors.weight[:, :, 0, 0].detach().float().cpu()
    if gate.factors.bias is not None:
        bias[slots] = gate.factors.bias.detach().float().cpu()
    return weight, bias
