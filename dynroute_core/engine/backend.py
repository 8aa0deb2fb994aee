"""The seam of the engine: what a backend takes and gives, and how norms are folded into convolutions.

A backend runs as many images at a time as it says; `inference.py` checks, loops over the batch and assembles. Backends:
`torch_backend.py` (plain torch, anywhere), `native_backend.py` (compiled for the CPU), `cuda_backend.py`. Each offers
`load`, a `Loader`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval, fuse_conv_bn_weights

from dynroute_core.cell import RouteFactors
from dynroute_core.model import Segmenter
from dynroute_core.operations import ConvNorm
from dynroute_core.system.errors import BlockedError


class BackendUnavailableError(BlockedError):
    """A backend that cannot run here, or not this network; the text says what is missing and what to do."""


@dataclass(frozen=True)
class ForcedRoute:
    """A forced route of one image. opened: per path, in the order of `RoutingSpace.all_paths`; factors: 1 for each, or
    what the gates compute."""

    opened: tuple[bool, ...]
    factors: RouteFactors


@dataclass(frozen=True)
class BatchGates:
    """The gates of N images, on the engine's device. factors: N×paths as applied, in the order of `all_paths`, float32
    or float64; states: N×cells, uint8, OPEN, CLOSED or DEAD, in forward order."""

    factors: Tensor
    states: Tensor


class Backend(Protocol):
    """Runs N×3×H×W images, BGR 0..255 of any dtype and any H, W ≥ 1, without a gradient; writes into `out`.

    forced: a route for each image, all with the same kind of factors; None where the gates decide.
    """

    def describe(self) -> str:
        """Name, dtype and what of the machine it uses, for records: `torch float32, AVX512, 2 threads`."""

    def at_a_time(self, height: int, width: int) -> int:
        """The most images of this size that `logits` and `labels` take."""

    def logits(self, images: Tensor, forced: Sequence[ForcedRoute] | None, out: Tensor) -> BatchGates:
        """out: N×K×H×W, contiguous, float32 (float64 where the engine's dtype is)."""

    def labels(self, images: Tensor, forced: Sequence[ForcedRoute] | None, out: Tensor) -> BatchGates:
        """out: N×H×W uint8, contiguous: the argmax of what `logits` gives, which is never held at full size."""


Loader = Callable[[Segmenter, torch.dtype], Backend]
"""(network, dtype of weights and activations) → a backend on the network's device, with weights of its own.

Raises BackendUnavailableError.
"""


def folded(model: Segmenter, dtype: torch.dtype) -> Segmenter:
    """A frozen copy in evaluation, every norm folded into its convolution; float64 where dtype is, else float32."""
    network = copy.deepcopy(model).eval().requires_grad_(False).double()  # rounds once, after folding
    fold_batch_norms(network)
    return network.to(torch.float64 if dtype == torch.float64 else torch.float32)


def fold_batch_norms(network: nn.Module) -> None:
    """Replaces the norm of every ConvNorm inside `network`, in place, by weights of its convolution."""
    for module in network.modules():
        if isinstance(module, ConvNorm):
            module.conv = fuse_conv_bn_eval(module.conv, module.norm)
            module.norm = nn.Identity()  # type: ignore[assignment]


def folded_weights(module: ConvNorm) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution with its norm folded in, float64 where there was one: they are rounded once."""
    conv, norm = module.conv, module.norm
    if isinstance(norm, nn.Identity):
        assert conv.bias is not None
        return conv.weight.detach(), conv.bias.detach()
    assert norm.running_mean is not None and norm.running_var is not None
    statistics = norm.running_mean.double(), norm.running_var.double()
    weight, bias = fuse_conv_bn_weights(
        conv.weight.double(), None, *statistics, norm.eps, norm.weight.double(), norm.bias.double()
    )
    return weight.detach(), bias.detach()
