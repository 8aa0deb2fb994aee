"""The engine's plain torch backend: needs no compiler, runs on any device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dynroute_core.engine_backend import ForcedRoute, ImageGates
from dynroute_core.model import Segmenter
from dynroute_core.space import FINEST_STRIDE, Route

STRIP = 64  # rows of quarter-size logits that `labels` enlarges at a time: a few MB at 2048 columns


class TorchBackend:
    """A `Backend`. network: folded; changed to dtype and channels-last in place."""

    def __init__(self, network: Segmenter, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._network = network
        self._network.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._paths = network.space.all_paths

    def describe(self) -> str:
        kind = str(self.dtype).removeprefix("torch.")
        device = self._network.head.predictor.weight.device
        if device.type != "cpu":
            return f"torch {kind}, {device.type}"
        return f"torch {kind}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"

    def logits(self, image: Tensor, forced: ForcedRoute | None, out: Tensor) -> ImageGates:
        quarter, gates = self._quarter(image, forced)
        height, width = out.shape[-2:]
        full = F.interpolate(quarter, scale_factor=FINEST_STRIDE, mode="bilinear", align_corners=False)
        out.copy_(full[0, :, :height, :width])
        return gates

    def labels(self, image: Tensor, forced: ForcedRoute | None, out: Tensor) -> ImageGates:
        quarter, gates = self._quarter(image, forced)
        argmax_in_strips(quarter, out)
        return gates

    def _quarter(self, image: Tensor, forced: ForcedRoute | None) -> tuple[Tensor, ImageGates]:
        route: Route | None = None
        if forced is not None:
            route = frozenset(path for path, opened in zip(self._paths, forced.opened, strict=True) if opened)
        image = image.contiguous(memory_format=torch.channels_last)
        quarter, gates = self._network.quarter_logits(
            image, route=route, route_factors="one" if forced is None else forced.factors
        )
        single = torch.float64 if self.dtype == torch.float64 else torch.float32
        factors = torch.cat([gate.factors[0] for gate in gates.values()]).to(single)
        return quarter.to(single), ImageGates(factors, torch.cat([gate.state for gate in gates.values()]))


def load(network: Segmenter, dtype: torch.dtype) -> TorchBackend:
    """The `Loader`; every device and network will do."""
    return TorchBackend(network, dtype)


def argmax_in_strips(quarter: Tensor, out: Tensor) -> None:
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
