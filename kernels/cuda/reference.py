"""What each CUDA operator means, in plain torch: the specification its tests hold it to, in any floating type.

Arguments as in `operators.py`, of one cell; each function gives what the operator leaves in what it writes. Where a
gate record says that nothing is done for an image, that image's part of `out` stays as it was.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dynroute_kernels.cuda.operators import (
    CLOSED,
    DEAD,
    FORCED_ONES,
    FREE,
    KEEP,
    OPEN,
    SMALL_GATE_SHRINK,
    STATE,
    shrunk_size,
)

OPEN_THRESHOLD = 1e-4  # of space.py
Records = tuple[Tensor | None, Tensor | None, Tensor | None]  # N×4 of what comes down, kept and up


def planes(x: Tensor) -> Tensor:
    return x.movedim(3, 1)


def pixels(x: Tensor) -> Tensor:
    return x.movedim(1, 3)


def _where(images: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(images.view(-1, 1, 1, 1), new, old)


def separable(
    x: Tensor,
    depthwise: Tensor,
    weight: Tensor,
    bias: Tensor,
    gate: Tensor,
    out: Tensor,
    stride: int = 1,
    *,
    relu: bool,
    accumulate: bool,
) -> Tensor:
    """[ReLU](pointwise(depthwise3×3(x)) + bias [+ out]) where the cell is open."""
    channels = x.shape[3]
    windows = depthwise.T.reshape(channels, 1, 3, 3)
    y = pixels(F.conv2d(planes(x), windows, stride=stride, padding=1, groups=channels)) @ weight + bias
    y = y + out if accumulate else y
    return _where(gate[:, STATE] == OPEN, y.relu() if relu else y, out)


def pointwise(x: Tensor, weight: Tensor, bias: Tensor, gate: Tensor, out: Tensor, slot: int, stride: int) -> Tensor:
    """factor · ReLU(pointwise(x at every stride-th pixel and row) + bias) where the factor is positive."""
    factor = gate[:, slot]
    y = (x[:, ::stride, ::stride] @ weight + bias).relu() * factor.view(-1, 1, 1, 1)
    return _where(factor > 0, y, out)


def shrink(x: Tensor) -> Tensor:
    """Bilinear to a quarter of each side, sampled at exactly 4 positions a step where both have four; at least 1×1."""
    if min(x.shape[1:3]) >= SMALL_GATE_SHRINK:
        return pixels(F.interpolate(planes(x), scale_factor=1 / SMALL_GATE_SHRINK, mode="bilinear"))
    return pixels(F.interpolate(planes(x), size=shrunk_size(*x.shape[1:3]), mode="bilinear"))


def gate_sums(x: Tensor, weight: Tensor, bias: Tensor, *, small: bool) -> Tensor:
    """N × outputs: the sum over pixels of ReLU(pointwise(x) + bias). The operator gives rows that add up to it."""
    return ((shrink(x) if small else x) @ weight + bias).relu().sum((1, 2))


def reached(sources: Records, images: int) -> Tensor:
    """N, bool: whether anything, be it zeros, comes: from an open cell, or from a closed one that passes on."""
    found = torch.zeros(images, dtype=torch.bool)
    for index, record in enumerate(sources):
        if record is not None:
            found = found | (record[:, STATE] == OPEN)
            if index == 1:
                found = found | ((record[:, STATE] == CLOSED) & (record[:, KEEP] > 0))
    return found


def decide(
    total: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    sources: Records,
    mode: int,
    route: Tensor,
    count: int,
    paths: int,
) -> Tensor:
    """The record N×4 of a cell. total: N × inputs, summed over `count` pixels; None: factors of one."""
    present = torch.tensor([bool(paths >> slot & 1) for slot in range(3)], dtype=torch.bool, device=weight.device)
    factors = torch.ones(len(route), 3, dtype=weight.dtype, device=weight.device)
    if total is not None and mode != FORCED_ONES:
        factors = torch.tanh(total / count @ weight.T + bias).clamp(min=0)
    factors = factors * present
    if mode != FREE:
        factors = factors * (route[:, :3] != 0)
    arrived = reached(sources, len(route))
    is_open = factors.sum(1) >= OPEN_THRESHOLD
    record = torch.zeros(len(route), 4, dtype=weight.dtype, device=weight.device)
    record[:, :3] = factors * (is_open & arrived).unsqueeze(1)
    if mode == FREE:
        record[arrived & ~is_open, KEEP] = 1
    record[:, STATE] = torch.where(arrived, torch.where(is_open, OPEN, CLOSED), DEAD).to(record.dtype)
    return record


def assemble(map: Tensor, down: Tensor | None, up: Tensor | None, sources: Records) -> Tensor:
    """keep · map + down + bilinear×2(up), each where its source sends it; images that nothing reaches stay."""
    from_down, from_keep, from_up = sources
    total = torch.zeros_like(map)
    if from_keep is not None:
        total = total + _share(map, from_keep[:, KEEP])
    if down is not None and from_down is not None:
        total = total + _share(down, ((from_down[:, STATE] == OPEN) & (from_down[:, 2] > 0)).to(map.dtype))
    if up is not None and from_up is not None:
        double = pixels(F.interpolate(planes(up), scale_factor=2, mode="bilinear"))
        total = total + _share(double, ((from_up[:, STATE] == OPEN) & (from_up[:, 1] > 0)).to(map.dtype))
    return _where(reached(sources, len(map)), total, map)


def _share(x: Tensor, factor: Tensor) -> Tensor:
    """x · factor, and 0 where the factor is 0, whatever x holds there."""
    return _where(factor > 0, x * factor.view(-1, 1, 1, 1), torch.zeros_like(x))


def logits(x: Tensor, weight: Tensor, bias: Tensor, classes: int) -> Tensor:
    """N×K×H×W: conv3×3(x) + bias; weight: rows (row, column, channel) of the window, classes padded."""
    windows = weight.view(3, 3, x.shape[3], -1).permute(3, 2, 0, 1)
    return F.conv2d(planes(x), windows, bias, padding=1)[:, :classes]


def stem(image: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, size: tuple[int, int]) -> Tensor:
    """ReLU(conv3×3, stride 2, without padding, of image − mean with zeros up to `size` of the result, + bias)."""
    normal = image.to(weight.dtype) - mean.view(1, 3, 1, 1)
    missing = [max(2 * side + 1 - given, 0) for side, given in zip(size, image.shape[2:], strict=True)]
    normal = F.pad(normal, (0, missing[1], 0, missing[0]))[..., : 2 * size[0] + 1, : 2 * size[1] + 1]
    windows = weight[:27].view(3, 3, 3, -1).permute(3, 2, 0, 1)
    return (pixels(F.conv2d(normal, windows, stride=2)) + bias).relu()


def labels(logits: Tensor, height: int, width: int) -> Tensor:
    """The argmax over classes of the ×4 bilinear enlargement, cropped."""
    large = F.interpolate(logits, scale_factor=4, mode="bilinear")
    return large[..., :height, :width].argmax(1).to(torch.uint8)
