"""A cell of the routing space (paper, 3.2) and its soft conditional gate (3.3): what runs for which image.

h = Σ operations(x); keep = α·ReLU(h), up = α·resize(ReLU(BN(conv(ReLU(h))))), down likewise with a strided convolution.
A cell whose factors sum to less than 1e-4 is closed: it passes x on unchanged. A cell that nothing reached is dead.

Shapes: N images; C' = C·2^k channels, H×W positions at scale k; P paths of the cell (keep, up, down).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynroute_core.operations import ConvNorm, build_operation
from dynroute_core.space import OPEN_THRESHOLD, SMALL_GATE_SHRINK, ModelConfig, PathName

GATE_BIAS = 1.5  # tanh(1.5) ≈ 0.905: every path starts open
ALIKE = 1e-10  # of the largest mean square: less variance over images is rounding
OPEN, CLOSED, DEAD = 0, 1, 2  # the states of a cell, per image
RouteFactors = Literal["one", "gate"]


@dataclass(frozen=True)
class CellGate:
    """One cell's gate in one forward pass over N images.

    factors: N×P, as applied, in the order of `RoutingSpace.paths`: a closed cell's keep is 1 and its other paths 0;
    a dead cell's are all 0. state: N, uint8, each OPEN, CLOSED or DEAD.
    """

    factors: Tensor
    state: Tensor


@dataclass(frozen=True)
class Sent:
    """What a cell sends along one path. features: N×C×H×W, zeros for images it sends nothing; None: zeros for all.
    images: N, bool, which images' target it reaches: an open cell sends along every path, be it zeros."""

    features: Tensor | None
    images: Tensor


@dataclass
class Arrived:
    """What reaches a cell. features: N×C'×H×W, None while only zeros came; images: N, bool, those reached."""

    features: Tensor | None
    images: Tensor

    def add(self, sent: Sent) -> None:
        if sent.features is not None:
            self.features = sent.features if self.features is None else self.features + sent.features
        self.images = self.images | sent.images


@dataclass(frozen=True)
class Forced:
    """A forced route at one cell. mask: N×P, bool, the paths it opens; factors: 1, or what the gate computes."""

    mask: Tensor
    factors: RouteFactors


def double_size(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def shrink(x: Tensor) -> Tensor:
    """Bilinear to a quarter of each side, sampled at exactly 4 positions a step as released; at least 1×1."""
    if min(x.shape[-2:]) >= SMALL_GATE_SHRINK:
        return F.interpolate(x, scale_factor=1 / SMALL_GATE_SHRINK, mode="bilinear", align_corners=False)
    size = [max(side // SMALL_GATE_SHRINK, 1) for side in x.shape[-2:]]
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class Gate(nn.Module):
    """The soft conditional gate: N×C'×H×W → factors N×P = max(0, tanh(w · pool(ReLU(BN(conv(x)))) + b))."""

    def __init__(self, channels: int, paths: int, *, small: bool) -> None:
        super().__init__()
        self.small = small
        self.total: Callable[[Tensor], Tensor] | None = None  # the sum over the processes that share a batch
        self.reduce = ConvNorm(channels, channels // 2, relu=True)
        self.factors = nn.Conv2d(channels // 2, paths, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.small:
            x = shrink(x)
        if self.training and x.shape[-2:] == (1, 1):
            x = torch.where(self._tells_apart(x), x, x.detach())
        pooled = self.reduce(x).mean(dim=(2, 3), keepdim=True)
        return torch.tanh(self.factors(pooled)).clamp(min=0).flatten(1)

    def _tells_apart(self, x: Tensor) -> Tensor:
        """Whether the batch's images differ in x, N×C'×1×1; a bool on the device.

        Where they do not, no gradient goes back: batch norm, with nothing to divide by but √eps, would multiply it by
        up to 316 in every cell of a chain that no image reached (LOG.md). Published crops leave a gate 6×6 positions.
        """
        values = x.detach().double()
        sums = torch.stack([torch.ones_like(values).sum(0), values.sum(0), values.square().sum(0)])
        count, first, second = sums if self.total is None else self.total(sums)
        variance = second / count - (first / count).square()
        return (variance > ALIKE * (second / count).max()).any()


class CellModule(nn.Module):
    """One cell: h = Σ operations(x); keep = α·ReLU(h), up = α·resize(BN-ReLU-conv(ReLU(h))), down likewise, strided."""

    def __init__(self, channels: int, paths: Sequence[PathName], config: ModelConfig, *, drop_share: float) -> None:
        super().__init__()
        self.paths = tuple(paths)
        self.drop_share = drop_share
        self.share = (0, 1)  # which part of a batch this process's images are, of how many
        self.operations = nn.ModuleList(build_operation(name, channels) for name in config.operations)
        self.may_drop = tuple(name != "skip_connect" for name in config.operations)
        self.up = ConvNorm(channels, channels // 2, relu=True) if "up" in paths else None
        self.down = ConvNorm(channels, channels * 2, relu=True) if "down" in paths else None
        small = config.gate == "small"
        self.gate = None if config.gate == "none" else Gate(channels, len(self.paths), small=small)

    def gate_factors(self, x: Tensor) -> Tensor:
        return x.new_ones(len(x), len(self.paths)) if self.gate is None else self.gate(x)

    def hidden(self, x: Tensor, drop_path: float = 0.0) -> Tensor:
        """ReLU(h), what every path starts from. Whole operations are dropped per image, in training, by `drop_path`."""
        total: Tensor | None = None
        for operation, may_drop in zip(self.operations, self.may_drop, strict=True):
            y = operation(x)
            if may_drop and drop_path > 0:
                kept = 1 - drop_path
                y = y * (self._draw(x) < kept).to(y.dtype) / kept
            total = y if total is None else total + y
        assert total is not None
        return F.relu(total)

    def _draw(self, x: Tensor) -> Tensor:
        """A number in 0..1 for each image: drawn for the whole batch by every process that has a share of it, so that
        an image's does not depend on how many there are."""
        rank, processes = self.share
        drawn = torch.rand(processes * len(x), 1, 1, 1, dtype=torch.float32, device=x.device)
        return drawn[rank * len(x) : (rank + 1) * len(x)]

    def path_output(self, path: PathName, h: Tensor) -> Tensor:
        if path == "keep":
            return h
        if path == "up":
            assert self.up is not None
            return double_size(self.up(h))
        assert self.down is not None
        # A 1×1 convolution of stride 2, spelt as one of stride 1 on every second pixel: torch 2.14's backward of the
        # strided one corrupts memory for 8 → 16 channels, channels-last, on AVX-512 (LOG.md).
        return self.down(h[..., ::2, ::2])

    def forward(
        self, x: Tensor, reached: Tensor, *, forced: Forced | None = None, drop_path: float = 0.0
    ) -> tuple[dict[PathName, Sent], CellGate]:
        """x: N×C'×H×W; reached: N, bool. Gives what is sent along each path, and the gate.

        A forced route leaves no identity keep: a cell outside it sends nothing.
        """
        if self.training:
            return self._train_all(x, forced, drop_path)
        return self._run_open(x, reached, forced)

    def _train_all(self, x: Tensor, forced: Forced | None, drop_path: float) -> tuple[dict[PathName, Sent], CellGate]:
        """Every path of every image, times its factor; no dead cells, and no decision that waits for the device."""
        everyone = torch.ones(len(x), dtype=torch.bool, device=x.device)
        factors = _mask(self.gate_factors(x), forced)
        is_open = factors.sum(1) >= OPEN_THRESHOLD
        passes_on = ~is_open if forced is None else torch.zeros_like(is_open)
        gate = _make_gate(factors, is_open, passes_on, everyone)
        h = self.hidden(x, drop_path * self.drop_share)
        sent: dict[PathName, Sent] = {}
        for index, path in enumerate(self.paths):
            y = self.path_output(path, h)
            # Asking whether any cell is closed costs nothing on the CPU, and would make a GPU wait.
            if path == "keep" and (x.device.type != "cpu" or passes_on.any()):
                y = torch.where(_per_image(passes_on), x.to(y.dtype), y)
            sent[path] = Sent(y * _per_image(gate.factors[:, index]).to(y.dtype), everyone)
        return sent, gate

    def _run_open(self, x: Tensor, reached: Tensor, forced: Forced | None) -> tuple[dict[PathName, Sent], CellGate]:
        """Open cells and open paths only, each for the images that take them."""
        factors = x.new_ones(len(x), len(self.paths))
        if not reached.any():
            factors = torch.zeros_like(factors)
        elif forced is None or forced.factors == "gate":
            factors = _put_back(self.gate_factors(_pick_rows(x, reached)), reached)
        factors = _mask(factors, forced)
        is_open = reached & (factors.sum(1) >= OPEN_THRESHOLD)
        passes_on = reached & ~is_open if forced is None else torch.zeros_like(reached)
        gate = _make_gate(factors, is_open, passes_on, reached)
        sent = {path: Sent(None, is_open) for path in self.paths}
        if is_open.any():
            h = self.hidden(_pick_rows(x, is_open))
            for index, path in enumerate(self.paths):
                taken = is_open & (gate.factors[:, index] > 0)
                if taken.any():
                    y = self.path_output(path, _pick_rows(h, taken[is_open]))
                    y = y * _per_image(gate.factors[taken, index]).to(y.dtype)
                    sent[path] = Sent(_put_back(y, taken), is_open)
        if passes_on.any():
            kept = sent["keep"].features
            identity = x if passes_on.all() else x * _per_image(passes_on).to(x.dtype)
            sent["keep"] = Sent(identity if kept is None else kept + identity, is_open | passes_on)
        return sent, gate


def _mask(factors: Tensor, forced: Forced | None) -> Tensor:
    if forced is None:
        return factors
    mask = forced.mask.to(factors.dtype)
    return mask if forced.factors == "one" else factors * mask


def _make_gate(factors: Tensor, is_open: Tensor, passes_on: Tensor, reached: Tensor) -> CellGate:
    """Factors as applied: an open cell's own; keep = 1 and nothing else for a closed one; 0 for a dead one."""
    identity = torch.zeros_like(factors)
    identity[:, 0] = 1
    applied = torch.where(is_open[:, None], factors, identity * passes_on[:, None].to(factors.dtype))
    state = torch.full_like(is_open, DEAD, dtype=torch.uint8)
    state = torch.where(reached, torch.where(is_open, OPEN, CLOSED).to(torch.uint8), state)
    return CellGate(applied, state)


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _pick_rows(x: Tensor, images: Tensor) -> Tensor:
    """The rows of the chosen images; no copy where all are chosen."""
    return x if bool(images.all()) else x[images]


def _put_back(rows: Tensor, images: Tensor) -> Tensor:
    """Rows of the chosen images, back in their places among all N, zeros elsewhere."""
    if bool(images.all()):
        return rows
    full = rows.new_zeros(len(images), *rows.shape[1:])
    full[images] = rows
    return full
