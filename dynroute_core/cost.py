"""What a network costs, in multiply-accumulates, by the paper's own counting (its tables say "GFLOPs").

Takes a `ModelConfig`, a nominal input size and the factors of a forward pass; gives MACs per image. The convention:

- A multiply-accumulate counts one. Convolution: k²·Cin/groups·Cout·Ho·Wo. Batch norm: 2·C·H·W. ReLU: C·H·W. Pooling
  k×k: k²·C·Ho·Wo. Biases of the gate's and the predictor's convolution, bilinear resizing, sums and the factors'
  multiplications are not counted.
- Sizes are the nominal input size // stride, whatever the image's size: 1024×2048 to evaluate, 768×768 to train.
- A path is charged where it arrives, so the last layer's `keep` never is. The initial cell's operation and gate are
  charged nowhere; its paths are.
- **realised**: stem + head + every cell's gate + the operation of every open cell + every arriving path whose factor
  exceeds 1e-4. A closed cell's identity keep is free.
- **expected** (differentiable; the budget loss reads it): Σ max(α)·operation + Σ α·path, without gates, stem and head.

Two accountings differ in the head alone: `"paper"` charges it at its true size; `"repo"` at the square of the input's
height, as the released code does (1.406 GMAC too little at 1024×2048). The paper's all-open figure, 119.5, is
`"paper"`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, get_args

import torch
from torch import Tensor

from dynroute_core.cell import OPEN, CellGate
from dynroute_core.space import (
    FINEST_STRIDE,
    OPEN_THRESHOLD,
    SMALL_GATE_SHRINK,
    Cell,
    ModelConfig,
    OperationName,
    PathName,
    RoutingSpace,
)

Accounting = Literal["paper", "repo"]


@dataclass(frozen=True)
class Cost:
    """MACs per image, two float tensors of shape (N,). `expected_macs` carries the gradient of the factors."""

    realised_macs: Tensor
    expected_macs: Tensor


@dataclass(frozen=True, eq=False)
class CostTable:
    """MACs of every part of a network at one nominal size. One object per setting (`cost_table` keeps them)."""

    stem: int
    head: int
    gates: Mapping[Cell, int]
    operations: Mapping[Cell, int]
    paths: Mapping[tuple[Cell, PathName], int]

    @cached_property
    def charged(self) -> dict[Cell, tuple[PathName, ...]]:
        """The cells with a path that is charged, and these paths in the order of the gate's factors."""
        order: tuple[PathName, ...] = ("keep", "up", "down")
        sources = dict.fromkeys(sorted(source for source, _ in self.paths))
        return {source: tuple(path for path in order if (source, path) in self.paths) for source in sources}

    @property
    def all_closed(self) -> int:
        """What an image costs when no cell is open: stem, head and gates."""
        return self.stem + self.head + sum(self.gates.values())

    @property
    def all_open_expected(self) -> int:
        """The expected cost when every factor is 1."""
        return sum(self.operations.values()) + sum(self.paths.values())

    @property
    def all_open(self) -> int:
        """The realised cost when every path is open: no image can cost more."""
        return self.all_closed + self.all_open_expected


def conv_macs(kernel: int, inputs: int, outputs: int, pixels: int, groups: int = 1) -> int:
    return kernel * kernel * (inputs // groups) * outputs * pixels


def norm_macs(channels: int, pixels: int) -> int:
    return 2 * channels * pixels


def relu_macs(channels: int, pixels: int) -> int:
    return channels * pixels


def conv_norm_relu_macs(kernel: int, inputs: int, outputs: int, pixels: int, groups: int = 1) -> int:
    return conv_macs(kernel, inputs, outputs, pixels, groups) + norm_macs(outputs, pixels) + relu_macs(outputs, pixels)


def operation_macs(name: OperationName, channels: int, pixels: int) -> int:
    """MACs of one candidate operation on `channels` channels and `pixels` = H·W positions (its output's too)."""
    c, n = channels, pixels

    def separable(kernel: int, pairs: int) -> int:
        pair = conv_macs(kernel, c, c, n, groups=c) + conv_macs(1, c, c, n) + norm_macs(c, n)
        return pairs * pair + (pairs - 1) * relu_macs(c, n)

    def expand_and_project(kernel: int, middle: int, groups: int) -> int:
        return (
            conv_norm_relu_macs(1, c, middle, n)
            + conv_norm_relu_macs(kernel, middle, middle, n, groups)
            + conv_macs(1, middle, c, n)
            + norm_macs(c, n)
        )

    match name:
        case "none" | "skip_connect":
            return 0
        case "avg_pool_3x3" | "max_pool_3x3":
            return 9 * c * n
        case "sep_conv_3x3" | "sep_conv_5x5" | "sep_conv_7x7":
            return separable(int(name[-1]), pairs=2)
        case "sep_conv_heavy_3x3" | "sep_conv_heavy_5x5":
            return separable(int(name[-1]), pairs=3)
        case "dil_conv_3x3" | "dil_conv_5x5":
            return separable(int(name[-1]), pairs=1)
        case "conv_3x3_basic":
            return conv_macs(3, c, c, n) + norm_macs(c, n)
        case "Bottleneck_3x3" | "Bottleneck_5x5":
            return expand_and_project(int(name[-1]), middle=max(c // 4, 1), groups=1)
        case "MBConv_3x3" | "MBConv_5x5":
            return expand_and_project(int(name[-1]), middle=4 * c, groups=4 * c)


def stem_macs(config: ModelConfig, height: int, width: int) -> int:
    """MACs of the stem at the nominal input size; its first convolution's missing padding is not counted."""
    half = (height // 2) * (width // 2)
    quarter = (height // 4) * (width // 4)
    middle, out = config.stem_channels, config.channels
    first = conv_norm_relu_macs(3, 3, middle, half)
    if config.stem == "dense":
        return first + conv_norm_relu_macs(3, middle, middle, half) + conv_norm_relu_macs(3, middle, out, quarter)
    second = conv_macs(3, middle, middle, half, groups=middle) + conv_norm_relu_macs(1, middle, middle, half)
    third = conv_macs(3, middle, middle, quarter, groups=middle) + conv_norm_relu_macs(1, middle, out, quarter)
    return first + second + third


def head_macs(config: ModelConfig, height: int, width: int) -> int:
    """MACs of the head where the input is height × width; bilinear resizing is not counted."""
    space = RoutingSpace.of(config)

    def pixels(scale: int) -> int:
        return (height // space.stride_at(scale)) * (width // space.stride_at(scale))

    narrowing = sum(
        conv_norm_relu_macs(1, space.channels_at(scale), space.channels_at(scale) // 2, pixels(scale))
        for scale in range(1, space.head_scales)
    )
    fuse = conv_norm_relu_macs(1, config.channels, config.channels, pixels(0))
    return narrowing + fuse + conv_macs(3, config.channels, config.classes, pixels(0))


def gate_macs(config: ModelConfig, cell: Cell, height: int, width: int) -> int:
    """MACs of one cell's gate where the cell's map is height × width: 1×1 convolution, pooling, factors."""
    if config.gate == "none":
        return 0
    space = RoutingSpace.of(config)
    if config.gate == "small":
        height, width = max(height // SMALL_GATE_SHRINK, 1), max(width // SMALL_GATE_SHRINK, 1)
    channels = space.channels_at(cell.scale)
    half, pixels = channels // 2, height * width
    return conv_norm_relu_macs(1, channels, half, pixels) + half * pixels + half * len(space.paths(cell))


@lru_cache(maxsize=256)
def cost_table(config: ModelConfig, *, height: int, width: int, accounting: Accounting) -> CostTable:
    """MACs of every part of `config`'s network at a nominal input of height × width pixels.

    Raises ValueError for an accounting other than "paper" or "repo" and for sizes below one pixel.
    """
    if accounting not in get_args(Accounting):
        raise ValueError(f"accounting={accounting!r}: choose from {', '.join(get_args(Accounting))}.")
    if height < 1 or width < 1:
        raise ValueError(f"nominal size {height}x{width}: give at least 1x1 pixels.")
    space = RoutingSpace.of(config)

    def size(scale: int) -> tuple[int, int]:
        stride = FINEST_STRIDE * 2**scale
        return height // stride, width // stride

    def pixels(scale: int) -> int:
        return size(scale)[0] * size(scale)[1]

    def path_macs(source: Cell, path: PathName) -> int:
        channels, here = space.channels_at(source.scale), pixels(source.scale)
        relu = relu_macs(channels, here)
        match path:
            case "keep":
                return relu
            case "up":
                return relu + conv_norm_relu_macs(1, channels, channels // 2, here)
            case "down":
                return relu + conv_norm_relu_macs(1, channels, channels * 2, pixels(source.scale + 1))

    def cell_macs(cell: Cell) -> int:
        channels = space.channels_at(cell.scale)
        return sum(operation_macs(name, channels, pixels(cell.scale)) for name in config.operations)

    return CostTable(
        stem=stem_macs(config, height, width),
        head=head_macs(config, height, height if accounting == "repo" else width),
        gates={cell: gate_macs(config, cell, *size(cell.scale)) for cell in space.routed_cells},
        operations={cell: cell_macs(cell) for cell in space.routed_cells},
        paths={
            (source, path): path_macs(source, path)
            for cell in space.routed_cells
            for source, path in space.arrivals(cell)
        },
    )


def routing_cost(table: CostTable, gates: Mapping[Cell, CellGate]) -> Cost:
    """The cost of each of N images whose forward pass gave these gates. No host synchronisation.

    A closed cell's identity keep is charged in neither column.
    """
    some = next(iter(gates.values())).factors
    dtype = some.dtype if some.dtype == torch.float64 else torch.float32
    operations, paths = _weights(table, dtype, some.device)
    is_open = {cell: gate.state == OPEN for cell, gate in gates.items()}
    # What an open cell applied; a closed cell's identity keep of 1 becomes 0 here.
    applied = {cell: gate.factors.to(dtype) * is_open[cell].unsqueeze(1) for cell, gate in gates.items()}
    largest = torch.stack([applied[cell].amax(dim=1) for cell in table.operations], dim=1)
    ran = torch.stack([is_open[cell] for cell in table.operations], dim=1).to(dtype)
    factors = torch.cat([applied[source] for source in table.charged], dim=1)
    # Products and sums rather than matrix products: autocast would make those bfloat16.
    return Cost(
        realised_macs=table.all_closed + (ran * operations).sum(1) + ((factors > OPEN_THRESHOLD) * paths).sum(1),
        expected_macs=(largest * operations).sum(1) + (factors * paths).sum(1),
    )


@lru_cache(maxsize=64)
def _weights(table: CostTable, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """MACs per operation and per charged path, on the device: copied there once, not at every step."""
    paths = [table.paths[source, path] for source, sent in table.charged.items() for path in sent]
    with torch.inference_mode(False):  # kept beyond an evaluation that may ask first: training must be able to use them
        return (
            torch.tensor(list(table.operations.values()), dtype=dtype, device=device),
            torch.tensor(paths, dtype=dtype, device=device),
        )
