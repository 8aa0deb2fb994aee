"""The cost accounting counted again: a network's own modules, run on shapes alone, against the formulas of `cost.py`.

Takes a `ModelConfig` and an input size; gives, part by part, the convolutions' multiply-accumulates by torch's own
counter (two flops each) and everything else by the size of each module's output. No arithmetic is done and no memory
taken (torch's meta device), so the published width and size cost nothing.

Four conventions of the count are not what the modules do: the stem is run here with a padded first convolution (the
count halves each side), each charged path has a ReLU of its own (the modules share one), a gate's mean over its map is
an addition a value, and the initial cell's operation and gate are charged nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dynroute_core.cell import CellModule
from dynroute_core.cost import CostTable, cost_table, relu_macs
from dynroute_core.model import Head, Stem
from dynroute_core.operations import ConvNorm
from dynroute_core.space import INITIAL, SCALES, SMALL_GATE_SHRINK, Cell, ModelConfig, PathName, RoutingSpace

Part = Literal["stem", "gates", "operations", "paths", "head"]
OUTPUT_MACS: Mapping[type[nn.Module], tuple[str, int]] = {
    nn.BatchNorm2d: ("norms", 2),
    nn.ReLU: ("relus", 1),
    nn.AvgPool2d: ("poolings", 9),
    nn.MaxPool2d: ("poolings", 9),
}


@dataclass(frozen=True, kw_only=True)
class Counted:
    """MACs of a part, counted: convolutions by torch's counter, the rest by the sizes of outputs."""

    convolutions: int = 0
    norms: int = 0
    relus: int = 0
    poolings: int = 0

    @property
    def total(self) -> int:
        return self.convolutions + self.norms + self.relus + self.poolings

    def __add__(self, other: Counted) -> Counted:
        return Counted(
            convolutions=self.convolutions + other.convolutions,
            norms=self.norms + other.norms,
            relus=self.relus + other.relus,
            poolings=self.poolings + other.poolings,
        )


@dataclass(frozen=True)
class NetworkAudit:
    """A whole network at one size. parts: counted by its modules; table: by the formulas ("paper" accounting).

    initial_cell: what the modules of the initial cell's operation and gate do, which no table charges.
    """

    parts: Mapping[Part, Counted]
    table: CostTable
    initial_cell: Counted

    @property
    def formulas(self) -> Mapping[Part, int]:
        """The table's cost of each part, every path open."""
        return {
            "stem": self.table.stem,
            "gates": sum(self.table.gates.values()),
            "operations": sum(self.table.operations.values()),
            "paths": sum(self.table.paths.values()),
            "head": self.table.head,
        }


def count_leaves(module: nn.Module, run: Callable[[], object]) -> dict[str, Counted]:
    """What each innermost submodule that `run` calls costs, by its name. `run` works on one image, without autograd."""
    found: dict[str, Counted] = {}

    def watch(name: str, kind: str, macs: int) -> Callable[[nn.Module, object, Tensor], None]:
        def add(_: nn.Module, __: object, output: Tensor) -> None:
            found[name] = replace(Counted(), **{kind: macs * output.numel()})

        return add

    handles = [
        layer.register_forward_hook(watch(name, *OUTPUT_MACS[type(layer)]))
        for name, layer in module.named_modules()
        if type(layer) in OUTPUT_MACS
    ]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    for handle in handles:
        handle.remove()
    counts = counter.get_flop_counts()
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d):
            place = f"{type(module).__name__}.{name}" if name else type(module).__name__
            found[name] = Counted(convolutions=sum(counts[place].values()) // 2 if place in counts else 0)
    return found


def under(counts: Mapping[str, Counted], *prefixes: str) -> Counted:
    """The sum over the modules below any of these names."""
    chosen = (c for name, c in counts.items() if any(name == p or name.startswith(f"{p}.") for p in prefixes))
    return sum(chosen, Counted())


def audit(config: ModelConfig, *, height: int, width: int) -> NetworkAudit:
    """Counts a network at an input of height × width, each a multiple of 32 pixels."""
    space = RoutingSpace.of(config)
    table = cost_table(config, height=height, width=width, accounting="paper")
    parts: dict[Part, Counted] = {
        "stem": _count_stem(config, height, width),
        "gates": Counted(),
        "operations": Counted(),
        "paths": Counted(),
        "head": _count_head(config, height, width),
    }
    for cell in space.routed_cells:
        counts = count_cell(config, cell, height=height, width=width)
        parts["gates"] += counts["gate"]
        parts["operations"] += counts["operation"]
    for source, path in table.paths:
        parts["paths"] += count_cell(config, source, height=height, width=width)[path]
    initial = count_cell(config, INITIAL, height=height, width=width)
    return NetworkAudit(parts, table, initial["gate"] + initial["operation"])


def cell_audit(config: ModelConfig, cell: Cell, *, height: int, width: int) -> dict[str, tuple[int, Counted]]:
    """One routed cell, line by line: its gate, its operation, each charged path → (formula, counted)."""
    table = cost_table(config, height=height, width=width, accounting="paper")
    counts = count_cell(config, cell, height=height, width=width)
    paths = [path for path in RoutingSpace.of(config).paths(cell) if (cell, path) in table.paths]
    return {
        "gate": (table.gates[cell], counts["gate"]),
        "operation": (table.operations[cell], counts["operation"]),
        **{path: (table.paths[cell, path], counts[path]) for path in paths},
    }


def count_cell(config: ModelConfig, cell: Cell, *, height: int, width: int) -> Mapping[str, Counted]:
    """What a cell's modules cost with every path open: "gate", "operation", and each path by its name."""
    space = RoutingSpace.of(config)
    stride = space.stride_at(cell.scale)
    return _count_cell(
        config, space.channels_at(cell.scale), space.paths(cell), height=height // stride, width=width // stride
    )


@lru_cache(maxsize=256)  # cells of one scale are alike, save in the last layer
def _count_cell(
    config: ModelConfig, channels: int, paths: tuple[PathName, ...], *, height: int, width: int
) -> Mapping[str, Counted]:
    with torch.device("meta"):
        module = _countable(CellModule(channels, paths, config, drop_share=0.0))
        x, reached = torch.empty(1, channels, height, width), torch.ones(1, dtype=torch.bool)
    counts = count_leaves(module, lambda: module(x, reached))
    rows, columns = height, width
    if config.gate == "small":
        rows, columns = max(height // SMALL_GATE_SHRINK, 1), max(width // SMALL_GATE_SHRINK, 1)
    pooled = 0 if config.gate == "none" else channels // 2 * rows * columns
    own = Counted(relus=relu_macs(channels, height * width))
    return {
        "gate": under(counts, "gate") + Counted(poolings=pooled),
        "operation": under(counts, "operations"),
        **{path: under(counts, path) + own for path in paths},
    }


def _count_stem(config: ModelConfig, height: int, width: int) -> Counted:
    with torch.device("meta"):
        stem = _countable(Stem(config.channels, config.stem_channels, config.stem))
        image = torch.empty(1, 3, height, width)
    first = stem[0]
    assert isinstance(first, ConvNorm)
    first.conv.padding = (1, 1)
    return sum(count_leaves(stem, lambda: stem(image)).values(), Counted())


def _count_head(config: ModelConfig, height: int, width: int) -> Counted:
    space = RoutingSpace.of(config)
    with torch.device("meta"):
        head = _countable(Head(config.channels, config.classes))
        features = [
            torch.empty(1, space.channels_at(k), height // space.stride_at(k), width // space.stride_at(k))
            for k in range(SCALES)
        ]
    return sum(count_leaves(head, lambda: head(features)).values(), Counted())


M = TypeVar("M", bound=nn.Module)


def _countable(module: M) -> M:
    """In training, because evaluation asks which cells are open; batch norm by fixed statistics, for single values."""
    module.train()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
    return module
