"""Layers on strips of rows, for `torch_backend.py`: what lies between two layers then stays in the cache.

A *chain* is a tuple of `Stage`s, one layer after the other. `run_rows` computes some rows of a chain's output from the
input rows that reach them: as many more as the kernels are high, computed once for each of two neighbouring strips.
Maps are N×C×H×W, channels-last, so rows of a map are one block of memory.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dynroute_core.operations import ConvNorm

Span = tuple[int, int]  # first row, and the one after the last


@dataclass(frozen=True, eq=False)
class Stage:
    """A convolution or pooling, and a ReLU where asked. kernel: its height, dilation included."""

    layer: nn.Module
    kernel: int
    stride: int
    padding: int
    relu: bool = False

    def rows(self, rows: int) -> int:
        """How many rows it makes of so many."""
        return (rows + 2 * self.padding - self.kernel) // self.stride + 1

    def needs(self, span: Span, rows: int) -> Span:
        """The rows, of so many, that these rows of its output come from; the first a multiple of the stride."""
        first, last = span
        low = max(first * self.stride - self.padding, 0) // self.stride * self.stride
        return low, min((last - 1) * self.stride - self.padding + self.kernel, rows)


Chain = tuple[Stage, ...]


def chain_of(module: nn.Module | None) -> Chain:
    """The stages of a layer, or of layers in sequence, norms folded. Raises ValueError for a layer it does not know."""
    match module:
        case nn.Identity() | None:
            return ()
        case ConvNorm():
            (stage,) = chain_of(module.conv)
            return (replace(stage, relu=len(module) == 3),)
        case nn.Sequential():
            return tuple(stage for part in module for stage in chain_of(part))
        case nn.Conv2d():
            reach = module.dilation[0] * (module.kernel_size[0] - 1)
            return (Stage(module, reach + 1, module.stride[0], int(module.padding[0])),)
        case nn.AvgPool2d() | nn.MaxPool2d():
            return (Stage(module, int(module.kernel_size), int(module.stride), int(module.padding)),)  # type: ignore[arg-type]
        case _:
            raise ValueError(f"no stage for {type(module).__name__}")


def every_second(chain: Chain) -> Chain:
    """The chain that computes every second row and column of this one's output, from row and column 0 on."""
    last = max((place for place, stage in enumerate(chain) if stage.kernel > 1), default=0)
    stage = chain[last]
    layer = copy.copy(stage.layer)
    layer.stride = 2 if isinstance(layer, nn.AvgPool2d | nn.MaxPool2d) else (2, 2)  # type: ignore[assignment]
    return (*chain[:last], replace(stage, layer=layer, stride=2), *chain[last + 1 :])


def run_rows(chain: Chain, x: Tensor, span: Span) -> Tensor:
    """These rows of the chain's output on a map x; a view of x where the chain is empty."""
    heights = [x.shape[2]]
    for stage in chain:
        heights.append(stage.rows(heights[-1]))
    spans = [span]
    for stage, rows in zip(reversed(chain), reversed(heights[:-1]), strict=True):
        spans.insert(0, stage.needs(spans[0], rows))
    y = x[:, :, slice(*spans[0])]
    for stage, (low, _), (first, last) in zip(chain, spans, spans[1:], strict=False):
        # Rows next to a cut see its padding in place of their neighbours: they are among those dropped here.
        y = stage.layer(y)[:, :, first - low // stage.stride : last - low // stage.stride]
        if stage.relu:
            y.relu_()
    return y


def strips(rows: int, at_most: int) -> Iterator[Span]:
    """The rows of a map in strips, each beginning at an even row."""
    step = max(at_most // 2 * 2, 2)
    for first in range(0, rows, step):
        yield first, min(first + step, rows)


def enlarged_rows(x: Tensor, span: Span, factor: int) -> Tensor:
    """These rows of the bilinear enlargement of a map x: all of its width."""
    first, last = span
    low, high = max(first // factor - 1, 0), min(-(-last // factor) + 1, x.shape[2])
    part = F.interpolate(x[:, :, low:high], scale_factor=factor, mode="bilinear", align_corners=False)
    return part[:, :, first - factor * low : last - factor * low]


def argmax_rows(quarter: Tensor, span: Span, out: Tensor) -> None:
    """argmax over classes of the ×4 bilinear enlargement of N×K×h×w logits, rows `span` of h, into `out`: N×H×W uint8.

    Pixels of the same place within their block of 4×4 lie between the same four logits: one place after the other.
    """
    first, last = span
    rows, columns = quarter.shape[2:]
    height, width = out.shape[1:]
    # Half-pixel centres: places 0 and 1 lie between a logit and the one before it, 2 and 3 between it and the next.
    places = ((-1, 0.625), (-1, 0.875), (0, 0.125), (0, 0.375))
    for y, (above, down) in enumerate(places):
        index = torch.arange(first, last, dtype=torch.int64, device=quarter.device) + above
        here = torch.lerp(quarter[:, :, index.clamp(min=0)], quarter[:, :, (index + 1).clamp(max=rows - 1)], down)
        here = F.pad(here, (1, 1, 0, 0), mode="replicate")
        for x, (left, right) in enumerate(places):
            part = out[:, 4 * first + y : min(4 * last, height) : 4, x:width:4]
            start = 1 + left
            one = here[:, :, : part.shape[1], start : start + columns]
            other = here[:, :, : part.shape[1], start + 1 : start + 1 + columns]
            part.copy_(argmax_classes(torch.lerp(one, other, right))[:, :, : part.shape[2]])


def argmax_classes(values: Tensor) -> Tensor:
    """N×K×h×w → N×h×w uint8: the first of the largest. Class by class: torch's own, over that axis, is far slower.

    The values are used up: the largest end in the first class.
    """
    best, *others = values.unbind(1)
    labels = torch.zeros(best.shape, dtype=torch.uint8, device=values.device)
    for number, other in enumerate(others, start=1):
        labels.masked_fill_(other > best, number)
        best = torch.maximum(best, other, out=best)
    return labels
