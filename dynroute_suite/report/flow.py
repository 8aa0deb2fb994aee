"""What a routing diagram shows, as numbers: the factor of every path, the state of every cell, the cost of every layer.

Takes routes as recorded; gives means over images (one image: its own numbers). Costs follow `cost.py`'s realised cost
in the paper's accounting, from recorded states and factors instead of tensors: a test holds the two together. Records
round factors, so a factor just above the closing threshold may count as closed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import msgspec

from dynroute_core.cost import CostTable, cost_table
from dynroute_core.runs.record import ImageRoute, Record, Routes
from dynroute_core.space import OPEN_THRESHOLD, Cell, ModelConfig, PathKey, RoutingSpace, path_name
from dynroute_core.system.errors import suggest
from dynroute_suite.report.numbers import macs_of, share_text


@dataclass(frozen=True)
class LayerCost:
    """Mean MACs of one layer by part; paths are charged where they arrive. all_open: with every path open."""

    gates: float
    operations: float
    paths: float
    all_open: float

    @property
    def total(self) -> float:
        return self.gates + self.operations + self.paths


@dataclass(frozen=True)
class Flow:
    """Means over `images` images. factors: along open cells' paths, 0 where closed. open_paths: the share of images,
    0..1, in which a path is open; opened, closed, dead: likewise a cell (closed: it passes its input on)."""

    config: ModelConfig
    height: int
    width: int
    images: int
    factors: Mapping[PathKey, float]
    open_paths: Mapping[PathKey, float]
    opened: Mapping[Cell, float]
    closed: Mapping[Cell, float]
    dead: Mapping[Cell, float]

    @cached_property
    def space(self) -> RoutingSpace:
        return RoutingSpace.of(self.config)

    @cached_property
    def table(self) -> CostTable:
        return cost_table(self.config, height=self.height, width=self.width, accounting="paper")

    @cached_property
    def layers(self) -> tuple[LayerCost, ...]:
        """Every layer's cost, the first routed one first."""
        return tuple(self._layer_cost(layer) for layer in range(self.config.layers))

    @property
    def total_macs(self) -> float:
        return self.table.stem + self.table.head + sum(layer.total for layer in self.layers)

    def _layer_cost(self, layer: int) -> LayerCost:
        cells = [cell for cell in self.space.routed_cells if cell.layer == layer]
        arrivals = [arrival for cell in cells for arrival in self.space.arrivals(cell)]
        table = self.table
        gates = sum(table.gates[cell] for cell in cells)
        return LayerCost(
            gates=gates,
            operations=sum(self.opened[cell] * table.operations[cell] for cell in cells),
            paths=sum(self.open_paths[arrival] * table.paths[arrival] for arrival in arrivals),
            all_open=gates
            + sum(table.operations[cell] for cell in cells)
            + sum(table.paths[arrival] for arrival in arrivals),
        )

    def open_share(self, scale: int | None = None) -> float:
        """The share of open paths, 0..1; of those that leave cells of one scale where `scale` is given."""
        shares = [share for (cell, _), share in self.open_paths.items() if scale is None or cell.scale == scale]
        return sum(shares) / len(shares) if shares else 0.0

    def summary(self) -> str:
        """The flow in words: how much is open, where, and what it costs."""
        overall = self.open_share()
        words = [f"{share_text(overall)} of paths open{self._busiest_scales(overall)}"]
        for name, shares in (("closed", self.closed), ("dead", self.dead)):
            count = sum(shares.values())
            if count:
                shown = f"{count:.0f}" if self.images == 1 else f"{count:.1f}"
                words.append(f"{shown} of {len(self.space.cells)} cells {name}")
        cost, name = self.total_macs, "cost" if self.images == 1 else "mean cost"
        spent = share_text(cost / self.table.all_open)
        words.append(f"{name} {macs_of(cost, self.table.all_open)} ({spent} of all open)")
        return "; ".join(words)

    def _busiest_scales(self, overall: float) -> str:
        if share_text(overall) in ("0 %", "100 %"):
            return ""
        present = sorted({cell.scale for cell in self.space.cells})
        shares = {scale: self.open_share(scale) for scale in present}
        if max(shares.values()) - min(shares.values()) < 0.1:
            return ", evenly over the scales"
        *names, last = (scale_name(self.space, scale) for scale in present if shares[scale] > overall)
        return f", mostly at {', '.join(names)}{' and ' if names else ''}{last}"


def scale_name(space: RoutingSpace, scale: int) -> str:
    return f"1/{space.stride_at(scale)}"


def flow(routes: Routes, images: Sequence[ImageRoute], *, config: ModelConfig, height: int, width: int) -> Flow:
    """The mean flow of some images. Raises ValueError for another network's routes, and for no images."""
    space = RoutingSpace.of(config)
    _check(routes, space)
    if not images:
        raise ValueError("no images to take the mean over: give routes with at least one image.")
    share = 1 / len(images)
    cell_index = {cell: index for index, cell in enumerate(space.cells)}
    position = {name: index for index, name in enumerate(routes.paths)}

    def factor(image: ImageRoute, key: PathKey) -> float:
        value = image.factors[position[path_name(key)]] if image.states[cell_index[key[0]]] == "o" else 0.0
        return value if value > OPEN_THRESHOLD else 0.0

    def shares(letter: str) -> dict[Cell, float]:
        return {
            cell: sum(image.states[index] == letter for image in images) * share for cell, index in cell_index.items()
        }

    return Flow(
        config=config,
        height=height,
        width=width,
        images=len(images),
        factors={key: sum(factor(image, key) for image in images) * share for key in space.all_paths},
        open_paths={key: sum(factor(image, key) > 0 for image in images) * share for key in space.all_paths},
        opened=shares("o"),
        closed=shares("c"),
        dead=shares("d"),
    )


def all_open(config: ModelConfig, *, height: int, width: int) -> Flow:
    """The flow of an image for which every factor is 1."""
    space = RoutingSpace.of(config)
    ones = dict.fromkeys(space.all_paths, 1.0)
    nothing = dict.fromkeys(space.cells, 0.0)
    opened = dict.fromkeys(space.cells, 1.0)
    return Flow(config, height, width, 1, ones, ones, opened, nothing, nothing)


def image_route(routes: Routes, name: str) -> ImageRoute:
    """One image's route; raises UsageError with the nearest names where the routes lack it."""
    for image in routes.images:
        if image.name == name:
            return image
    raise suggest("image", name, [image.name for image in routes.images])


def config_of(record: Record) -> ModelConfig:
    """The network a record speaks of; raises ValueError where its settings hold none."""
    try:
        return msgspec.convert(record.config["model"], ModelConfig)
    except (KeyError, msgspec.ValidationError) as error:
        raise ValueError(f"{record.label}: its settings hold no readable model ({error}).") from error


def open_names(routes: Routes, image: ImageRoute) -> frozenset[str]:
    """The names of the paths that one image opened: its route."""
    state = dict(zip(routes.cells, image.states, strict=True))
    return frozenset(
        name
        for name, factor in zip(routes.paths, image.factors, strict=True)
        if factor > OPEN_THRESHOLD and state[name.split(">")[0]] == "o"
    )


def _check(routes: Routes, space: RoutingSpace) -> None:
    cells = tuple(str(cell) for cell in space.cells)
    paths = {path_name(key) for key in space.all_paths}
    if routes.cells != cells or set(routes.paths) != paths or len(routes.paths) != len(paths):
        raise ValueError(
            f"routes of {routes.row!r} have {routes.layers} layers, {len(routes.cells)} cells and {len(routes.paths)} "
            f"paths; the network given has {space.layers}, {len(cells)} and {len(paths)}: give the config of the run."
        )
