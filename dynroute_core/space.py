"""The routing space of the paper (section 3.1): which cells there are, which paths join them, how wide and coarse each
is.

Takes a `ModelConfig`; gives cells, paths and sizes. Geometry is written here once: the model, the cost accounting, the
engine and the figures all walk `RoutingSpace`. No torch here, no weights, no costs.

A *restricted* space holds some of the paths only, and the cells that these join: a fixed network, whose other cells do
not exist. What walks the space follows without being told.

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
LARGEST_SIDE = 1 << 13  # pixels of an image, a crop or a nominal size; beyond: no machine, but a slip of the keyboard
OPEN_THRESHOLD = 1e-4  # a cell is closed where its factors sum to less; a path is charged where its factor is more


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What fixes a network. The defaults are the paper's Layer16 with full gates, for the 19 classes of Cityscapes.

    Raises ValueError for values that no network can have.
    """

    layers: int = 16  # L, behind the stem and the initial cell
    channels: int = 64  # C, of scale 0; scale k has C·2^k
    classes: int = 19  # that the network tells apart
    gate: GateKind = "full"  # of every cell: full, small (on features at a quarter of the size) or none
    operations: tuple[OperationName, ...] = ("sep_conv_3x3", "skip_connect")  # of every cell, whose results are summed
    stem: StemKind = "separable"  # the kind of the stem's second and third convolution
    stem_channels: int = 64  # width of the stem's first two convolutions; 64 in every published row, whatever C is
    # The sub-graph that a fixed network consists of, each path as CELL>PATH (init>keep, 3.2>up), in any order; empty
    # for the whole space. Such networks have no gates: a closed cell of theirs would pass its input along a keep that
    # they may not have.
    paths: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, least, most in (
            ("layers", 1, 256),
            ("channels", 2, 1024),
            ("classes", 1, 254),
            ("stem_channels", 1, 1024),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}: give a whole number of at least {least}.")
            if getattr(self, name) > most:  # a settings file may say anything; 254 and 255 are no classes in a label
                raise ValueError(f"{name}={getattr(self, name)}: give a whole number of at most {most}.")
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
        if self.paths:
            if self.gate != "none":
                raise ValueError(f"paths with gate={self.gate!r}: a fixed network has no gates; give gate='none'.")
            # One sub-graph, one spelling: configs that mean the same network are equal, and give the same key.
            object.__setattr__(self, "paths", tuple(map(path_name, RoutingSpace.of(self).all_paths)))


class Cell(NamedTuple):
    """A place in the routing space. Written `3.2` (layer 3, scale 2) or `init` in files and figures."""

    layer: int
    scale: int

    def __str__(self) -> str:
        return "init" if self.layer < 0 else f"{self.layer}.{self.scale}"


INITIAL = Cell(-1, 0)

PathKey = tuple[Cell, PathName]
"""A path, by the cell it leaves."""

Route = frozenset[PathKey]
"""The set of open paths."""


def path_name(path: PathKey) -> str:
    """A path as files and settings write it: `3.2>up`."""
    return f"{path[0]}>{path[1]}"


@dataclass(frozen=True)
class RoutingSpace:
    """The cells and paths of a network of `layers` layers whose finest scale has `channels` channels.

    kept: the only paths of a restricted space; empty: every path. Made by `of` and `restricted`, which check it.
    """

    layers: int
    channels: int
    kept: Route = frozenset()

    @classmethod
    def of(cls, config: ModelConfig) -> RoutingSpace:
        whole = cls(config.layers, config.channels)
        return whole.restricted(whole.parse_paths(config.paths)) if config.paths else whole

    @property
    def whole(self) -> RoutingSpace:
        """The unrestricted space around this one."""
        return RoutingSpace(self.layers, self.channels)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """Every cell, the initial one first, in the order a forward pass visits them."""
        grid = (
            INITIAL,
            *(Cell(layer, scale) for layer in range(self.layers) for scale in range(self.scales_in(layer))),
        )
        return tuple(cell for cell in grid if self.paths(cell))

    @cached_property
    def routed_cells(self) -> tuple[Cell, ...]:
        """Every cell but the initial one: those whose operation and gate are charged."""
        return self.cells[1:]

    @property
    def last_cells(self) -> tuple[Cell, ...]:
        """The cells whose `keep` the head reads, finest first."""
        return tuple(cell for cell in self.cells if cell.layer == self.layers - 1)

    @property
    def head_scales(self) -> int:
        """How many scales the head goes through, from the coarsest it reads to scale 0: all of them in the whole space,
        shallow ones included; in a restricted one as many as its last layer sends."""
        return self.last_cells[-1].scale + 1 if self.kept else SCALES

    def scales_in(self, layer: int) -> int:
        """How many cells a layer of the whole space has: 1 for the initial layer, then 2, 3, 4, 4, ..."""
        return min(layer + 2, SCALES)

    def paths(self, cell: Cell) -> tuple[PathName, ...]:
        """The paths that leave a cell, in the order of its gate's outputs: keep, up, down, each where it leads
        somewhere.

        `up` leads to the finer scale, `down` to the coarser. Cells of the last layer have only `keep`.
        """
        paths: tuple[PathName, ...] = ("keep",)
        if cell.layer < self.layers - 1:
            if cell.scale > 0:
                paths += ("up",)
            if cell.scale < SCALES - 1:
                paths += ("down",)
        return tuple(path for path in paths if (cell, path) in self.kept) if self.kept else paths

    def target(self, cell: Cell, path: PathName) -> Cell | None:
        """The cell where a path arrives; None for the last layer's keep, which the head reads."""
        if cell.layer == self.layers - 1:
            return None
        step = {"keep": 0, "up": -1, "down": 1}[path]
        return Cell(cell.layer + 1, cell.scale + step)

    def arrivals(self, cell: Cell) -> tuple[PathKey, ...]:
        """(source, path) of everything that can reach a cell: down from the finer scale, keep, up from the coarser."""
        if cell.layer < 0:
            return ()
        before = cell.layer - 1
        candidates: tuple[PathKey, ...] = (
            (Cell(before, cell.scale - 1), "down"),
            (Cell(before, cell.scale), "keep"),
            (Cell(before, cell.scale + 1), "up"),
        )
        inside = ((source, path) for source, path in candidates if 0 <= source.scale < self.scales_in(before))
        return tuple((source, path) for source, path in inside if path in self.paths(source))

    @cached_property
    def all_paths(self) -> tuple[PathKey, ...]:
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

    def parse_paths(self, names: Iterable[str]) -> Route:
        """The paths written so (`3.2>up`); raises ValueError naming the first that this space does not have."""
        known = {path_name(path): path for path in self.all_paths}
        given = list(names)
        for name in given:
            if name not in known:
                raise ValueError(
                    f"no path {name!r} in a space of {self.layers} layers: write CELL>PATH, such as 3.2>up."
                )
        return frozenset(known[name] for name in given)

    def check_route(self, paths: Iterable[PathKey]) -> Route:
        """The route of these paths; raises ValueError naming the first path that this space does not have."""
        known = frozenset(self.all_paths)
        route = frozenset(paths)
        for cell, path in sorted(route, key=str):
            if (cell, path) not in known:
                raise ValueError(f"no path {path!r} leaves cell {cell} in a space of {self.layers} layers.")
        return route

    def restricted(self, paths: Iterable[PathKey]) -> RoutingSpace:
        """The space that holds these paths only, and the cells they join.

        Raises ValueError for a path that this space does not have, and naming the first cell that the initial cell does
        not reach or that does not lead to the head (`prune` leaves such cells out).
        """
        route = self.check_route(paths)
        reached = {INITIAL} | {target for cell, path in route if (target := self.target(cell, path)) is not None}
        sending = {cell for cell, _ in route}
        for cell in sorted(reached | sending):
            if cell not in reached:
                raise ValueError(f"cell {cell} is not reached from the initial cell: add a path to it, or prune it.")
            if cell not in sending:
                raise ValueError(f"cell {cell} does not lead to the head: add a path that leaves it, or prune it.")
        return RoutingSpace(self.layers, self.channels, route)

    def prune(self, paths: Iterable[PathKey]) -> Route:
        """Those of these paths that lie on a way from the initial cell to the head; none where there is no such way.

        Raises ValueError for a path that this space does not have.
        """
        route = self.check_route(paths)
        ahead = sorted(route)
        reached = {INITIAL}
        for cell, path in ahead:  # by layer: a cell's arrivals come before its own paths
            target = self.target(cell, path)
            if cell in reached and target is not None:
                reached.add(target)
        leading: set[Cell | None] = {None}
        for cell, path in reversed(ahead):
            if self.target(cell, path) in leading:
                leading.add(cell)
        return frozenset(p for p in route if p[0] in reached and self.target(*p) in leading)
