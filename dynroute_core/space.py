"""The routing space of the paper (section 3.1): which cells there are, which paths join them, how wide and coarse each
is.

Takes a `ModelConfig`; gives cells, paths and sizes. Geometry is written here once: the model, the cost accounting, the
engine and the figures all walk `RoutingSpace`. No torch here, no weights, no costs.

Legend: *layer* l = 0..L-1 (the initial cell is layer -1), *scale* k = 0..3 (stride 4·2^k, C·2^k channels).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, get_args

PathName = Literal["keep", "up", "down"]
GateKind = Literal["full", "small", "none"]
StemKind = Literal["separable", "dense"]
OperationName = Literal[
    "none",
    "skip_connect",
    "avg_pool_3x3",
    "max_pool_3x3",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
    "sep_conv_heavy_3x3",
    "sep_conv_heavy_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "conv_3x3_basic",
    "Bottleneck_3x3",
    "Bottleneck_5x5",
    "MBConv_3x3",
    "MBConv_5x5",
]

SCALES = 4
FINEST_STRIDE = 4
COARSEST_STRIDE = FINEST_STRIDE * 2 ** (SCALES - 1)  # inputs are padded to a multiple of this
SMALL_GATE_SHRINK = 4
OPEN_THRESHOLD = 1e-4  # a cell is closed where its factors sum to less; a path is charged where its factor is more


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What fixes a network. The defaults are the paper's Layer16 with full gates, for the 19 classes of Cityscapes.

    channels: C of scale 0; scale k has C·2^k. stem_channels: width of the stem's first two convolutions (64 in every
    published row, whatever C is). Raises ValueError for values that no network can have.
    """

    layers: int = 16
    channels: int = 64
    classes: int = 19
    gate: GateKind = "full"
    operations: tuple[OperationName, ...] = ("sep_conv_3x3", "skip_connect")
    stem: StemKind = "separable"
    stem_channels: int = 64

    def __post_init__(self) -> None:
        for name, least in (("layers", 1), ("channels", 2), ("classes", 1), ("stem_channels", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}: give a whole number of at least {least}.")
        if self.channels % 2:
            raise ValueError(f"channels={self.channels}: give an even number (paths up and gates halve it).")
        for name, given, allowed in (
            ("gate", (self.gate,), get_args(GateKind)),
            ("stem", (self.stem,), get_args(StemKind)),
            ("operations", self.operations, get_args(OperationName)),
        ):
            unknown = [value for value in given if value not in allowed]
            if unknown or not given:
                raise ValueError(f"{name}={unknown or 'empty'}: choose from {', '.join(allowed)}.")


class Cell(NamedTuple):
    """A place in the routing space. Written `3.2` (layer 3, scale 2) or `init` in files and figures."""

    layer: int
    scale: int

    def __str__(self) -> str:
        return "init" if self.layer < 0 else f"{self.layer}.{self.scale}"


INITIAL = Cell(-1, 0)

Route = frozenset[tuple[Cell, PathName]]
"""The set of open paths, each named by the cell it leaves."""


@dataclass(frozen=True)
class RoutingSpace:
    """The cells and paths of a network of `layers` layers whose finest scale has `channels` channels."""

    layers: int
    channels: int

    @classmethod
    def of(cls, config: ModelConfig) -> RoutingSpace:
        return cls(config.layers, config.channels)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every cell, the initial one first, in the order a forward pass visits them."""
        return (
            INITIAL,
            *(Cell(layer, scale) for layer in range(self.layers) for scale in range(self.scales_in(layer))),
        )

    @cached_property
    def routed_cells(self) -> tuple[Cell, ...]:
        """Every cell but the initial one: those whose operation and gate are charged."""
        return self.cells[1:]

    @property
    def last_cells(self) -> tuple[Cell, ...]:
        """The cells whose `keep` the head reads, finest first."""
        return tuple(Cell(self.layers - 1, scale) for scale in range(self.scales_in(self.layers - 1)))

    def scales_in(self, layer: int) -> int:
        """How many cells a layer has: 1 for the initial layer, then 2, 3, 4, 4, ..."""
        return min(layer + 2, SCALES)

    def paths(self, cell: Cell) -> tuple[PathName, ...]:
        """The paths that leave a cell, in the order of its gate's outputs: keep, up, down, each where it leads
        somewhere.

        `up` leads to the finer scale, `down` to the coarser. Cells of the last layer have only `keep`.
        """
        if cell.layer == self.layers - 1:
            return ("keep",)
        paths: tuple[PathName, ...] = ("keep",)
        if cell.scale > 0:
            paths += ("up",)
        if cell.scale < SCALES - 1:
            paths += ("down",)
        return paths

    def target(self, cell: Cell, path: PathName) -> Cell | None:
        """The cell where a path arrives; None for the last layer's keep, which the head reads."""
        if cell.layer == self.layers - 1:
            return None
        step = {"keep": 0, "up": -1, "down": 1}[path]
        return Cell(cell.layer + 1, cell.scale + step)

    def arrivals(self, cell: Cell) -> tuple[tuple[Cell, PathName], ...]:
        """(source, path) of everything that can reach a cell: down from the finer scale, keep, up from the coarser."""
        if cell.layer < 0:
            return ()
        before = cell.layer - 1
        candidates: tuple[tuple[Cell, PathName], ...] = (
            (Cell(before, cell.scale - 1), "down"),
            (Cell(before, cell.scale), "keep"),
            (Cell(before, cell.scale + 1), "up"),
        )
        return tuple((source, path) for source, path in candidates if 0 <= source.scale < self.scales_in(before))

    @cached_property
    def all_paths(self) -> tuple[tuple[Cell, PathName], ...]:
        """Every path, by the cell it leaves, in forward order."""
        return tuple((cell, path) for cell in self.cells for path in self.paths(cell))

    def channels_at(self, scale: int) -> int:
        return self.channels * 2**scale

    def stride_at(self, scale: int) -> int:
        return FINEST_STRIDE * 2**scale

    def parse_cell(self, text: str) -> Cell:
        """The cell written `text`; raises ValueError where this space has no such cell."""
        for cell in self.cells:
            if str(cell) == text:
                return cell
        raise ValueError(
            f"no cell {text!r} in a space of {self.layers} layers: write init or LAYER.SCALE, such as 3.2."
        )

    def check_route(self, paths: Iterable[tuple[Cell, PathName]]) -> Route:
        """The route of these paths; raises ValueError naming the first path that this space does not have."""
        known = frozenset(self.all_paths)
        route = frozenset(paths)
        for cell, path in sorted(route, key=str):
            if (cell, path) not in known:
                raise ValueError(f"no path {path!r} leaves cell {cell} in a space of {self.layers} layers.")
        return route
