"""The engine's compiled CPU backend: hands a network to `dynroute_kernels` and adapts what comes back.

It has what the rows of the table use: separable stem, sep_conv_3x3 + skip_connect, any gate, fixed networks; float32
and bfloat16. The rest runs in plain torch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dynroute_core.engine.backend import BackendUnavailableError, BatchGates, ForcedRoute
from dynroute_core.engine.network_spec import OPERATIONS, network_spec
from dynroute_core.model import Segmenter
from dynroute_kernels import BuildError, ImageResult, NativeNetwork


class NativeBackend:
    """A `Backend` on the CPU."""

    def __init__(self, network: NativeNetwork) -> None:
        self._network = network

    def describe(self) -> str:
        return self._network.describe()

    def at_a_time(self, height: int, width: int) -> int:
        return 1

    def logits(self, images: Tensor, forced: Sequence[ForcedRoute] | None, out: Tensor) -> BatchGates:
        return _gates(self._network.logits(images[0], out[0], *_kernel_route(forced)))

    def labels(self, images: Tensor, forced: Sequence[ForcedRoute] | None, out: Tensor) -> BatchGates:
        return _gates(self._network.labels(images[0], out[0], *_kernel_route(forced)))


def load(network: Segmenter, dtype: torch.dtype) -> NativeBackend:
    """The `Loader`. Raises BackendUnavailableError for a network or dtype it does not have, or without a compiler."""
    config = network.config
    if sorted(config.operations) != sorted(OPERATIONS):
        raise _lack_error(f"operations={', '.join(config.operations)}", ", ".join(OPERATIONS))
    if config.stem != "separable":
        raise _lack_error(f"stem={config.stem!r}", "'separable'")
    if dtype not in (torch.float32, torch.bfloat16):
        raise _lack_error(f"dtype={dtype}", "torch.float32 and torch.bfloat16")
    try:
        return NativeBackend(NativeNetwork(network_spec(network), dtype))
    except BuildError as error:
        raise BackendUnavailableError(f"{error} Or give backend='torch'.") from error


def _gates(result: ImageResult) -> BatchGates:
    return BatchGates(result.factors[None], result.states[None])


def _kernel_route(forced: Sequence[ForcedRoute] | None) -> tuple[tuple[bool, ...] | None, bool]:
    return (None, False) if forced is None else (forced[0].opened, forced[0].factors == "gate")


def _lack_error(given: str, has: str) -> BackendUnavailableError:
    return BackendUnavailableError(f"the native backend does not have {given}, only {has}. Give backend='torch'.")
