"""A network's weights as the operators read them, on the device: laid out once, channels padded with zeros."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dynroute_kernels.cuda_ops import DOWN, KEEP, UP
from dynroute_kernels.cuda_spec import (
    CellSpec,
    Convolution,
    NetworkSpec,
    SeparablePair,
    packed_bias,
    packed_dense,
    packed_depthwise,
    packed_factors,
    packed_pointwise,
    packed_window,
)

SLOTS = {"keep": KEEP, "up": UP, "down": DOWN}


class Linear(NamedTuple):
    """weight: inputs × outputs (of a dense convolution 9·inputs × outputs); bias: outputs."""

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
        self.layers, self.channels, self.classes = spec.layers, spec.channels, spec.classes
        self.small_gates = spec.small_gates
        self.mean = spec.mean.detach().float().flatten().to(device)
        self.stem_first = self._linear(packed_window(spec.stem_first), spec.stem_first)
        self.stem_rest = tuple(
            self._pair(s) if isinstance(s, SeparablePair) else self._dense(s) for s in spec.stem_rest
        )
        self.cells = {(cell.layer, cell.scale): self._cell(cell, index) for index, cell in enumerate(spec.cells)}
        self.narrow = tuple(self._pointwise(convolution) for convolution in spec.narrow)
        self.fuse = self._pointwise(spec.fuse)
        self.predictor = self._dense(spec.predictor)

    def _linear(self, weight: Tensor, convolution: Convolution) -> Linear:
        return Linear(weight.to(self.device, self.dtype).contiguous(), packed_bias(convolution).to(self.device))

    def _pointwise(self, convolution: Convolution) -> Linear:
        return self._linear(packed_pointwise(convolution), convolution)

    def _dense(self, convolution: Convolution) -> Linear:
        return self._linear(packed_dense(convolution), convolution)

    def _pair(self, pair: SeparablePair) -> Pair:
        depthwise = packed_depthwise(pair.depthwise).contiguous().to(self.device)
        return Pair(depthwise, *self._pointwise(pair.pointwise))

    def _cell(self, spec: CellSpec, index: int) -> PackedCell:
        slots = [SLOTS[path] for path in spec.paths]
        reduce = factors = None
        if spec.gate is not None:
            reduce = self._pointwise(spec.gate.reduce)
            factors = Linear(*(tensor.to(self.device) for tensor in packed_factors(spec.gate, slots)))
        return PackedCell(
            index=index,
            scale=spec.scale,
            bits=sum(1 << slot for slot in slots),
            first=self._pair(spec.first),
            second=self._pair(spec.second),
            up=None if spec.up is None else self._pointwise(spec.up),
            down=None if spec.down is None else self._pointwise(spec.down),
            reduce=reduce,
            factors=factors,
        )
