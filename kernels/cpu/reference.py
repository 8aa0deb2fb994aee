"""What the compiled CPU network computes, in plain torch: one function per operation, and the walk that joins them.

Slow and short; tests hold `NativeNetwork` to it. Maps are 1×C'×H×W, float32 or float64; weights as in `network.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from dynroute_kernels.cpu.network import CellSpec, ConvSpec, GateSpec, HeadSpec, ImageResult, NetworkSpec, StemSpec

OPEN, CLOSED, DEAD = 0, 1, 2
OPEN_THRESHOLD = 1e-4  # a cell whose factors sum to less is closed
STEPS = {"keep": 0, "up": -1, "down": 1}


def pointwise(x: Tensor, conv: ConvSpec, *, residual: Tensor | None = None) -> Tensor:
    """ReLU(w·x + b + residual)."""
    y = F.conv2d(x, conv.weight.to(x.dtype), conv.bias.to(x.dtype))
    return F.relu(y if residual is None else y + residual)


def depthwise(x: Tensor, weight: Tensor, *, stride: int = 1) -> Tensor:
    """3×3, each channel by itself, a border of zeros."""
    return F.conv2d(x, weight.to(x.dtype), stride=stride, padding=1, groups=len(weight))


def enlarge(x: Tensor, times: int) -> Tensor:
    """Bilinear with half-pixel centres; the edge pixel is repeated beyond the edge."""
    return F.interpolate(x, scale_factor=times, mode="bilinear", align_corners=False)


def stem(image: Tensor, mean: Sequence[float], spec: StemSpec) -> Tensor:
    """3×H×W, 0..255 → less the mean, zeros to a multiple of 32, 3×3 stride 2 unpadded, two separable pairs."""
    x = image - torch.tensor(mean, dtype=image.dtype, device=image.device).view(3, 1, 1)
    height, width = x.shape[-2:]
    x = F.pad(x, (0, -width % 32, 0, -height % 32))[None]
    x = F.relu(F.conv2d(x, spec.first.weight.to(x.dtype), spec.first.bias.to(x.dtype), stride=2))
    x = pointwise(depthwise(x, spec.depthwise[0]), spec.pointwise[0])
    return pointwise(depthwise(x, spec.depthwise[1], stride=2), spec.pointwise[1])


def arrive(keep: Tensor | None, down: Tensor | None, up: Tensor | None) -> Tensor | None:
    """down + keep + bilinear×2(up), of those that came; up is at the coarser scale's size."""
    parts = [part for part in (down, keep, None if up is None else enlarge(up, 2)) if part is not None]
    return sum(parts[1:], parts[0]) if parts else None


def shrink(x: Tensor) -> Tensor:
    """What the small gate sees: every fourth position, bilinear; a side under 4 to its own quarter, at least 1."""
    if min(x.shape[-2:]) >= 4:
        return F.interpolate(x, scale_factor=0.25, mode="bilinear", align_corners=False)
    size = [max(side // 4, 1) for side in x.shape[-2:]]
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def gate(x: Tensor, spec: GateSpec, *, small: bool) -> Tensor:
    """Factors, one per path: max(0, tanh(w · mean(ReLU(reduce(x))) + b))."""
    pooled = pointwise(shrink(x) if small else x, spec.reduce).mean(dim=(2, 3), keepdim=True)
    logits = F.conv2d(pooled, spec.factors.weight.to(x.dtype), spec.factors.bias.to(x.dtype))
    return torch.tanh(logits).clamp(min=0).flatten()


def cell(x: Tensor, spec: CellSpec) -> Tensor:
    """h = ReLU(pw(dw(ReLU(pw(dw(x))))) + x)."""
    t = pointwise(depthwise(x, spec.depthwise[0]), spec.pointwise[0])
    return pointwise(depthwise(t, spec.depthwise[1]), spec.pointwise[1], residual=x)


def send(h: Tensor, spec: CellSpec, path: str, factor: Tensor) -> Tensor:
    """keep: α·h; up: α·ReLU(conv(h)), enlarged where it arrives; down: α·ReLU(conv of every second row and column)."""
    if path == "keep":
        return factor * h
    conv = spec.up if path == "up" else spec.down
    assert conv is not None
    return factor * pointwise(h if path == "up" else h[..., ::2, ::2], conv)


def head(features: Sequence[Tensor | None], spec: HeadSpec) -> Tensor:
    """Coarse to fine: y ← bilinear×2(ReLU(narrow(y))) + f; then ReLU(fuse(y)), and the 3×3 predictor."""
    *finer, y = features
    assert y is not None
    for conv, feature in zip(reversed(spec.narrow), reversed(finer), strict=True):
        y = enlarge(pointwise(y, conv), 2)
        y = y if feature is None else y + feature
    y = pointwise(y, spec.fuse)
    return F.conv2d(y, spec.predictor.weight.to(y.dtype), spec.predictor.bias.to(y.dtype), padding=1)


def run(
    spec: NetworkSpec, image: Tensor, mask: Sequence[bool] | None = None, gate_factors: bool = False
) -> tuple[Tensor, ImageResult]:
    """Logits K×H×W of one image 3×H×W, factors and states, as `NativeNetwork.logits`."""
    x = stem(image, spec.mean, spec.stem)
    came: dict[tuple[int, int], dict[str, Tensor | None]] = {(spec.cells[0].layer, 0): {"keep": x}}
    applied, states, taken = [], [], 0
    for each in spec.cells:
        paths = range(taken, taken := taken + len(each.paths))
        here = came.pop((each.layer, each.scale), None)
        state, factors = DEAD, x.new_zeros(len(paths))
        if here is not None:
            y = arrive(here.get("keep"), here.get("down"), here.get("up"))
            if y is None:
                y = _zeros(x, spec, each.scale)
            factors = _factors(y, each, spec, None if mask is None else [mask[p] for p in paths], gate_factors)
            state = OPEN if factors.sum() >= OPEN_THRESHOLD else CLOSED
            sent: dict[str, Tensor | None] = {}
            if state == OPEN:
                h = cell(y, each)
                for path, factor in zip(each.paths, factors, strict=True):
                    sent[path] = send(h, each, path, factor) if factor > 0 else None
            elif mask is None:  # a forced route leaves no identity keep
                sent["keep"] = y
            for arriving, what in sent.items():
                came.setdefault((each.layer + 1, each.scale + STEPS[arriving]), {})[arriving] = what
            if state == CLOSED:
                kept = [float(mask is None and path == "keep") for path in each.paths]
                factors = torch.tensor(kept, dtype=x.dtype, device=x.device)
        applied.append(factors)
        states.append(state)
    last = spec.cells[-1].layer + 1
    features = [came.get((last, scale), {}).get("keep") for scale in range(len(spec.head.narrow) + 1)]
    if features[-1] is None:
        features[-1] = _zeros(x, spec, len(features) - 1)
    logits = enlarge(head(features, spec.head), 4)[0, :, : image.shape[-2], : image.shape[-1]]
    return logits, ImageResult(torch.cat(applied).float(), torch.tensor(states, dtype=torch.uint8, device="cpu"))


def _factors(
    x: Tensor, spec: CellSpec, network: NetworkSpec, mask: Sequence[bool] | None, gate_factors: bool
) -> Tensor:
    opened = torch.tensor(mask or [True] * len(spec.paths), dtype=x.dtype, device=x.device)
    if spec.gate is None or (mask is not None and not gate_factors):
        return opened
    return gate(x, spec.gate, small=network.small_gate) * opened


def _zeros(like: Tensor, spec: NetworkSpec, scale: int) -> Tensor:
    height, width = like.shape[-2:]
    return like.new_zeros(1, spec.channels << scale, height >> scale, width >> scale)
