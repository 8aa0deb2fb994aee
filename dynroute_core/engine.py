"""Fast inference in plain torch: the network of `model.py` without what need not be computed. Needs no compiler.

Takes a trained `Segmenter`; gives the same logits, gates and labels. What differs: batch norm is folded into the
convolutions; activations are channels-last; images go through one by one, so that a batch costs what its images cost
and not their union; `labels` never holds full-size logits. `model.py` is the specification: tests hold the two equal.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence, Set

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import fuse_conv_bn_eval

from dynroute_core.cell import RouteFactors
from dynroute_core.cost import CellGate
from dynroute_core.model import RoutingOutput, Segmenter, check_images
from dynroute_core.operations import ConvNorm
from dynroute_core.space import Route

STRIP = 64  # rows of quarter-size logits that `labels` enlarges at a time: a few MB at 2048 columns
DTYPES = (torch.float32, torch.bfloat16, torch.float64)


class InferenceEngine:
    """A frozen, folded copy of `model`, on its device. dtype: of weights and activations; bfloat16 moves half the
    bytes.

    The model is neither changed nor kept. Raises ValueError for another dtype.
    """

    def __init__(self, model: Segmenter, *, dtype: torch.dtype = torch.float32) -> None:
        if dtype not in DTYPES:
            raise ValueError(f"dtype={dtype}: choose from {', '.join(str(known) for known in DTYPES)}.")
        self.dtype = dtype
        self._network = copy.deepcopy(model).eval().requires_grad_(False)
        fold_batch_norms(self._network)
        self._network.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def __call__(
        self, images: Tensor, *, route: Route | Sequence[Route] | None = None, route_factors: RouteFactors = "one"
    ) -> RoutingOutput:
        """As `Segmenter.forward` in evaluation: N×3×H×W BGR images, 0..255 → logits N×K×H×W and the gates."""
        check_images(images)
        outputs = [
            self._network(image, route=one, route_factors=route_factors)
            for image, one in zip(self._one_by_one(images), _per_image(route, len(images)), strict=True)
        ]
        gates = {
            cell: CellGate(
                torch.cat([output.gates[cell].factors for output in outputs]),
                torch.cat([output.gates[cell].state for output in outputs]),
            )
            for cell in outputs[0].gates
        }
        return RoutingOutput(torch.cat([output.logits for output in outputs]), gates, self._network.config)

    @torch.inference_mode()
    def labels(
        self, images: Tensor, *, route: Route | Sequence[Route] | None = None, route_factors: RouteFactors = "one"
    ) -> Tensor:
        """Train ids N×H×W, uint8: the argmax of the logits, enlarged strip by strip."""
        height, width = check_images(images)
        found = torch.empty(len(images), height, width, dtype=torch.uint8, device=images.device)
        ways = _per_image(route, len(images))
        for index, image in enumerate(self._one_by_one(images)):
            quarter, _ = self._network.quarter_logits(image, route=ways[index], route_factors=route_factors)
            _argmax_in_strips(quarter, found[index])
        return found

    def _one_by_one(self, images: Tensor) -> list[Tensor]:
        return [image.contiguous(memory_format=torch.channels_last) for image in images.split(1)]


def fold_batch_norms(network: nn.Module) -> None:
    """Replaces the norm of every ConvNorm inside `network`, in place, by weights of its convolution."""
    for module in network.modules():
        if isinstance(module, ConvNorm):
            module.conv = fuse_conv_bn_eval(module.conv, module.norm)
            module.norm = nn.Identity()  # type: ignore[assignment]
            if len(module) == 3:
                module.relu = nn.ReLU(inplace=True)


def _per_image(route: Route | Sequence[Route] | None, count: int) -> Sequence[Route | None]:
    if route is None or isinstance(route, Set):
        return [route] * count
    if len(route) != count:
        raise ValueError(f"{len(route)} routes for {count} images: give one for all, or one per image.")
    return route


def _argmax_in_strips(quarter: Tensor, out: Tensor) -> None:
    """argmax of the ×4 bilinear enlargement of 1×K×h×w, cropped to `out`'s H×W, without holding the enlargement.

    A strip is enlarged with one row more on each side, as far as there is one, and these rows' share is cut off.
    """
    rows, (height, width) = quarter.shape[-2], out.shape
    for first in range(0, rows, STRIP):
        last = min(first + STRIP, rows)
        above, below = max(first - 1, 0), min(last + 1, rows)
        strip = F.interpolate(quarter[..., above:below, :], scale_factor=4, mode="bilinear", align_corners=False)
        top, bottom = 4 * first, min(4 * last, height)
        if top >= height:
            return
        skip = top - 4 * above
        out[top:bottom] = strip[0, :, skip : skip + bottom - top, :width].argmax(0)
