"""A network as `dynroute_kernels` takes it: its weights by their places, norms folded. Both compiled backends use it.

Folding while reading spares the copy of the network that `backend.folded` makes: most of an engine's start.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from dynroute_core.cell import CellModule
from dynroute_core.engine.backend import folded_weights
from dynroute_core.model import PIXEL_MEAN_BGR, Segmenter
from dynroute_core.operations import ConvNorm
from dynroute_core.space import Cell
from dynroute_kernels import CellSpec, ConvSpec, GateSpec, HeadSpec, NetworkSpec, StemSpec

OPERATIONS = ("sep_conv_3x3", "skip_connect")  # what there are kernels for, in either order


def network_spec(network: Segmenter) -> NetworkSpec:
    """What the kernels need of a network, folded before or not; the network stays as it is."""
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
    if isinstance(module, ConvNorm):
        return ConvSpec(*folded_weights(module))
    assert isinstance(module, nn.Conv2d) and module.bias is not None
    return ConvSpec(module.weight, module.bias)
