"""The engine's compiled CPU backend: hands a folded network to `dynroute_kernels` and adapts what comes back.

It has what the rows of the table use: separable stem, sep_conv_3x3 + skip_connect, any gate, fixed networks; float32
and bfloat16. The rest runs in plain torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from dynroute_core.cell import CellModule
from dynroute_core.engine.backend import BackendUnavailableError, ForcedRoute, ImageGates
from dynroute_core.model import PIXEL_MEAN_BGR, Segmenter
from dynroute_core.operations import ConvNorm
from dynroute_core.space import Cell
from dynroute_kernels import (
    BuildError,
    CellSpec,
    ConvSpec,
    GateSpec,
    HeadSpec,
    ImageResult,
    NativeNetwork,
    NetworkSpec,
    StemSpec,
)

OPERATIONS = ("sep_conv_3x3", "skip_connect")


class NativeBackend:
    """A `Backend` on the CPU."""

    def __init__(self, network: NativeNetwork) -> None:
        self._network = network

    def describe(self) -> str:
        return self._network.describe()

    def logits(self, image: Tensor, forced: ForcedRoute | None, out: Tensor) -> ImageGates:
        return _gates(self._network.logits(image[0], out, *_how(forced)))

    def labels(self, image: Tensor, forced: ForcedRoute | None, out: Tensor) -> ImageGates:
        return _gates(self._network.labels(image[0], out, *_how(forced)))


def load(network: Segmenter, dtype: torch.dtype) -> NativeBackend:
    """The `Loader`. Raises BackendUnavailableError for a network or dtype it does not have, or without a compiler."""
    config = network.config
    if sorted(config.operations) != sorted(OPERATIONS):
        raise _lacks(f"operations={', '.join(config.operations)}", ", ".join(OPERATIONS))
    if config.stem != "separable":
        raise _lacks(f"stem={config.stem!r}", "'separable'")
    if dtype not in (torch.float32, torch.bfloat16):
        raise _lacks(f"dtype={dtype}", "torch.float32 and torch.bfloat16")
    try:
        return NativeBackend(NativeNetwork(network_spec(network), dtype))
    except BuildError as error:
        raise BackendUnavailableError(f"{error} Or give backend='torch'.") from error


def network_spec(network: Segmenter) -> NetworkSpec:
    """What the kernels need of a folded network."""
    first, *pairs = network.stem.children()
    return NetworkSpec(
        stem=StemSpec(_conv(first), *_separable([part for pair in pairs for part in pair.children()])),
        cells=tuple(_cell(cell, network.cell(cell), network.config.operations) for cell in network.space.cells),
        head=HeadSpec(
            narrow=tuple(map(_conv, network.head.narrow)),
            fuse=_conv(network.head.fuse),
            predictor=_conv(network.head.predictor),
        ),
        small_gate=network.config.gate == "small",
        mean=PIXEL_MEAN_BGR,
    )


def _cell(cell: Cell, module: CellModule, operations: Sequence[str]) -> CellSpec:
    separable = module.operations[operations.index("sep_conv_3x3")]
    assert isinstance(separable, nn.Sequential)
    gate = None if module.gate is None else GateSpec(_conv(module.gate.reduce), _conv(module.gate.factors))
    return CellSpec(
        cell.layer,
        cell.scale,
        module.paths,
        *_separable(separable.children()),
        up=None if module.up is None else _conv(module.up),
        down=None if module.down is None else _conv(module.down),
        gate=gate,
    )


def _separable(parts: Iterable[nn.Module]) -> tuple[tuple[Tensor, Tensor], tuple[ConvSpec, ConvSpec]]:
    """Depthwise and pointwise weights of two pairs."""
    first_deep, first_point, second_deep, second_point = parts
    assert isinstance(first_deep, nn.Conv2d) and isinstance(second_deep, nn.Conv2d)
    return (first_deep.weight, second_deep.weight), (_conv(first_point), _conv(second_point))


def _conv(module: nn.Module) -> ConvSpec:
    conv = module.conv if isinstance(module, ConvNorm) else module
    assert isinstance(conv, nn.Conv2d) and conv.bias is not None
    return ConvSpec(conv.weight, conv.bias)


def _gates(result: ImageResult) -> ImageGates:
    return ImageGates(result.factors, result.states)


def _how(forced: ForcedRoute | None) -> tuple[tuple[bool, ...] | None, bool]:
    return (None, False) if forced is None else (forced.opened, forced.factors == "gate")


def _lacks(given: str, has: str) -> BackendUnavailableError:
    return BackendUnavailableError(f"the native backend does not have {given}, only {has}. Give backend='torch'.")
