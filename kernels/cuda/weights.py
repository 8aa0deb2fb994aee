"""A network's weights as the operators read them, on the device: laid out once, channels padded with zeros."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dynroute_kernels.cpu.network import CellSpec, ConvSpec, GateSpec, NetworkSpec
from dynroute_kernels.cuda.checks import CHANNEL_STEP
from dynroute_kernels.cuda.operators import DOWN, KEEP, UP

SLOTS = {"keep": KEEP, "up": UP, "down": DOWN}


def padded(channels: int) -> int:
    """Channels as they are stored: rounded up to a multiple of 16, the rest zeros."""
    return -(-channels // CHANNEL_STEP) * CHANNEL_STEP


def _filled(values: Tensor, *shape: int) -> Tensor:
    full = torch.zeros(shape, dtype=torch.float32, device="cpu")
    full[tuple(slice(side) for side in values.shape)] = values.detach().float().cpu()
    return full


def packed_bias(convolution: ConvSpec) -> Tensor:
    return _filled(convolution.bias, padded(len(convolution.weight)))


def packed_pointwise(convolution: ConvSpec) -> Tensor:
    """inputs × outputs, both padded."""
    weight = convolution.weight[:, :, 0, 0].T
    return _filled(weight, padded(weight.shape[0]), padded(weight.shape[1]))


def packed_depthwise(weight: Tensor) -> Tensor:
    """9 × channels, padded."""
    return _filled(weight.reshape(len(weight), 9).T, 9, padded(len(weight)))


def packed_dense(convolution: ConvSpec) -> Tensor:
    """9·inputs × outputs, both padded: rows (row, column, channel) of the window."""
    outputs, inputs = convolution.weight.shape[:2]
    weight = convolution.weight.permute(2, 3, 1, 0).reshape(9, inputs, outputs)
    return _filled(weight, 9, padded(inputs), padded(outputs)).flatten(0, 1)


def packed_window(convolution: ConvSpec) -> Tensor:
    """32 × outputs: rows (row, column, colour) of the stem's window, and five of zeros."""
    outputs = len(convolution.weight)
    return _filled(convolution.weight.permute(2, 3, 1, 0).reshape(27, outputs), 32, padded(outputs))


def packed_factors(gate: GateSpec, slots: list[int]) -> tuple[Tensor, Tensor]:
    """(3 × padded inputs, 3): a gate's last layer with a row per slot, zeros for paths that the cell lacks."""
    inputs = gate.factors.weight.shape[1]
    weight = torch.zeros(3, padded(inputs), dtype=torch.float32, device="cpu")
    bias = torch.zeros(3, dtype=torch.float32, device="cpu")
    weight[slots, :inputs] = gate.factors.weight[:, :, 0, 0].detach().float().cpu()
    bias[slots] = gate.factors.bias.detach().float().cpu()
    return weight, bias


class Linear(NamedTuple):
    """weight: inputs × outputs (of a 3×3 convolution 9·inputs × outputs); bias: outputs."""

    weight: Tensor
    bias: Tensor


class Pair(NamedTuple):
    """depthwise: 9 × channels; weight and bias: of the 1×1 after it."""

    depthwise: Tensor
    weight: Tensor
    bias: Tensor


@dataclass(frozen=True)
class PackedCell:
    """index: of its record; bits: the slots it has; reduce and factors: its gate's two layers, None without a gate."""

    index: int
    scale: int
    bits: int
    first: Pair
    second: Pair
    up: Linear | None
    down: Linear | None
    reduce: Linear | None
    factors: Linear | None

    def has(self, slot: int) -> bool:
        return bool(self.bits >> slot & 1)


class PackedNetwork:
    """cells: by (layer, scale), layer −1 for the initial one; a cell that the network lacks is not there."""

    def __init__(self, spec: NetworkSpec, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype, self.device = dtype, device
        self.channels, self.classes = spec.channels, spec.classes
        self.layers = 1 + max(cell.layer for cell in spec.cells)
        self.small_gates = spec.small_gate
        self.mean = torch.tensor(spec.mean, dtype=torch.float32, device=device)
        self.stem_first = self._linear(packed_window(spec.stem.first), spec.stem.first)
        self.stem_pairs = self._pairs(spec.stem.depthwise, spec.stem.pointwise)
        self.cells = {(cell.layer, cell.scale): self._cell(cell, index) for index, cell in enumerate(spec.cells)}
        self.narrow = tuple(self._pointwise(convolution) for convolution in spec.head.narrow)
        self.fuse = self._pointwise(spec.head.fuse)
        self.predictor = self._linear(packed_dense(spec.head.predictor), spec.head.predictor)

    def _linear(self, weight: Tensor, convolution: ConvSpec) -> Linear:
        return Linear(weight.to(self.device, self.dtype).contiguous(), packed_bias(convolution).to(self.device))

    def _pointwise(self, convolution: ConvSpec) -> Linear:
        return self._linear(packed_pointwise(convolution), convolution)

    def _pairs(self, depthwise: tuple[Tensor, Tensor], pointwise: tuple[ConvSpec, ConvSpec]) -> list[Pair]:
        both = zip(depthwise, pointwise, strict=True)
        return [Pair(packed_depthwise(d).contiguous().to(self.device), *self._pointwise(p)) for d, p in both]

    def _cell(self, spec: CellSpec, index: int) -> PackedCell:
        slots = [SLOTS[path] for path in spec.paths]
        reduce = factors = None
        if spec.gate is not None:
            reduce = self._pointwise(spec.gate.reduce)
            factors = Linear(*(tensor.to(self.device) for tensor in packed_factors(spec.gate, slots)))
        first, second = self._pairs(spec.depthwise, spec.pointwise)
        return PackedCell(
            index=index,
            scale=spec.scale,
            bits=sum(1 << slot for slot in slots),
            first=first,
            second=second,
            up=None if spec.up is None else self._pointwise(spec.up),
            down=None if spec.down is None else self._pointwise(spec.down),
            reduce=reduce,
            factors=factors,
        )
