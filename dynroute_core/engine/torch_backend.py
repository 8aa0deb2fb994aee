"""The engine's plain torch backend: needs no compiler, runs on any device.

The plan (chains of layers) is made once per network; memory is taken once and kept. An image walks through the space
cell by cell; only what its gates open is computed, strip of rows by strip of rows, so that what lies within a cell
stays in the cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dynroute_core.cell import CLOSED, DEAD, OPEN, CellModule, shrink
from dynroute_core.engine.backend import ForcedRoute, ImageGates, folded
from dynroute_core.engine.strips import argmax_rows, chain_of, enlarged_rows, every_second, run_rows, strips
from dynroute_core.model import Segmenter
from dynroute_core.operations import NoOperation
from dynroute_core.space import (
    COARSEST_STRIDE,
    FINEST_STRIDE,
    INITIAL,
    OPEN_THRESHOLD,
    SCALES,
    Cell,
    PathName,
    RoutingSpace,
)

STRIP_BYTES = 2**22  # of one map's strip: the few that a cell holds at a time stay in the cache
WHOLE = 2**30  # rows; strips pay on the CPU alone


@dataclass(eq=False)
class Slot:
    """The map that a cell's input is gathered in, and what has reached it: nothing, zeros only, or features."""

    map: Tensor
    reached: bool = False
    filled: bool = False

    def put(self, first: int, values: Tensor, factor: float = 1.0) -> None:
        """Adds values·factor to the rows from `first` on; the caller marks the slot filled after the last rows."""
        rows = self.map[:, :, first : first + values.shape[2]]
        if self.filled:
            rows.add_(values, alpha=factor)
        else:
            torch.mul(values, factor, out=rows)

    def features(self) -> Tensor:
        """The map, zeroed where only zeros came."""
        if not self.filled:
            self.map.zero_()
            self.filled = True
        return self.map


class Memory:
    """Flat blocks that maps are views of: kept from image to image, grown where a larger image comes."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype, self.device = dtype, device
        self._blocks: dict[str, Tensor] = {}

    def map(self, name: str, channels: int, height: int, width: int) -> Tensor:
        """A map 1×C×H×W, channels-last, in block `name`; it holds whatever was there before."""
        size = channels * height * width
        if name not in self._blocks or len(self._blocks[name]) < size:
            self._blocks[name] = torch.empty(size, dtype=self.dtype, device=self.device)
        return self._blocks[name][:size].view(1, height, width, channels).permute(0, 3, 1, 2)

    def slots(self, name: str, channels: int, height: int, width: int) -> list[Slot]:
        """An empty slot per scale; the sizes are scale 0's."""
        return [Slot(self.map(f"{name}{k}", channels << k, height >> k, width >> k)) for k in range(SCALES)]


class CellPlan:
    """A cell's layers as chains, and where its paths lead.

    skips: how many of its operations pass x on. sparse: the operations at every second row and column, for an image
    that takes the down path alone.
    """

    def __init__(self, cell: Cell, module: CellModule, space: RoutingSpace, single: torch.dtype) -> None:
        self.scale = cell.scale
        self.targets = {path: (space.target(cell, path) or cell).scale for path in module.paths}
        operations = [operation for operation in module.operations if not isinstance(operation, NoOperation)]
        self.operations = [chain_of(one) for one in operations if not isinstance(one, nn.Identity)]
        self.sparse = [every_second(chain) for chain in self.operations]
        self.skips = len(operations) - len(self.operations)
        self.paths = {"up": chain_of(module.up), "down": chain_of(module.down), "keep": ()}
        self.has_gate, self.small_gate = module.gate is not None, module.gate is not None and module.gate.small
        if module.gate is not None:
            self.reduce = chain_of(module.gate.reduce)
            self.factors = module.gate.factors.to(single)

    def gate(self, x: Tensor, at_most: int) -> list[float]:
        """The factor of each path for the map x, read in strips of at most so many rows."""
        if not self.has_gate:
            return [1.0] * len(self.targets)
        if self.small_gate:
            x = shrink(x)
        sums = torch.zeros(1, self.factors.in_channels, dtype=self.factors.weight.dtype, device=x.device)
        for span in strips(x.shape[2], at_most):
            sums += run_rows(self.reduce, x, span).sum(dim=(2, 3), dtype=sums.dtype)
        pooled = (sums / (x.shape[2] * x.shape[3])).view(1, -1, 1, 1)
        found: list[float] = torch.tanh(self.factors(pooled)).clamp(min=0).flatten().tolist()
        return found

    def hidden(self, x: Tensor, span: tuple[int, int], step: int) -> Tensor:
        """These rows of ReLU(h), taken at every `step`-th row and column of the cell."""
        here = x[:, :, step * span[0] : step * span[1] : step, ::step]
        parts = [run_rows(chain, x, span) for chain in (self.operations if step == 1 else self.sparse)]
        y = parts[0] if parts else torch.zeros_like(here)
        for part in (*parts[1:], *[here] * self.skips):
            y.add_(part)
        return y.relu_()


class TorchBackend:
    """A `Backend`. network: folded; changed to dtype and channels-last in place."""

    def __init__(self, network: Segmenter, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._single = torch.float64 if dtype == torch.float64 else torch.float32
        self._config, space, head = network.config, network.space, network.head
        self._device = head.predictor.weight.device
        self._mean = network.get_buffer("pixel_mean").to(self._single)
        network.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._cells = {cell: CellPlan(cell, network.cell(cell), space, self._single) for cell in space.cells}
        self._stem = chain_of(network.stem)
        self._narrow = [chain_of(module) for module in head.narrow]
        self._last = chain_of(head.fuse) + chain_of(head.predictor)
        self._memory = Memory(dtype, self._device)

    def describe(self) -> str:
        kind = str(self._dtype).removeprefix("torch.")
        if self._device.type != "cpu":
            return f"torch {kind}, {self._device.type}"
        return f"torch {kind}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"

    def logits(self, image: Tensor, forced: ForcedRoute | None, out: Tensor) -> ImageGates:
        quarter, gates = self._quarter(image, forced)
        height, width = out.shape[-2:]
        for span in strips(height, self._rows(self._config.classes, width)):
            out[:, slice(*span)] = enlarged_rows(quarter, span, FINEST_STRIDE)[0, :, :, :width]
        return gates

    def labels(self, image: Tensor, forced: ForcedRoute | None, out: Tensor) -> ImageGates:
        quarter, gates = self._quarter(image, forced)
        for span in strips(-(-out.shape[0] // FINEST_STRIDE), self._rows(self._config.classes, quarter.shape[3])):
            argmax_rows(quarter[0], span, out)
        return gates

    def _rows(self, channels: int, width: int) -> int:
        """How many rows of so many channels and columns a strip has."""
        return STRIP_BYTES // (channels * width * self._dtype.itemsize) if self._device.type == "cpu" else WHOLE

    def _quarter(self, image: Tensor, forced: ForcedRoute | None) -> tuple[Tensor, ImageGates]:
        """Logits at a quarter of the padded size, 1×K×h×w, NCHW, and the gates."""
        size = [-(-side // COARSEST_STRIDE) * COARSEST_STRIDE for side in image.shape[-2:]]
        quarter = [side // FINEST_STRIDE for side in size]
        now, then = (self._memory.slots(name, self._config.channels, *quarter) for name in ("even", "odd"))
        self._run_stem(image, size, now[0])
        factors: list[float] = []
        states: list[int] = []
        layer, place = INITIAL.layer, 0
        for cell, plan in self._cells.items():
            for _ in range(layer, cell.layer):
                now, then = _advance(now, then)
            layer = cell.layer
            opened = None if forced is None else forced.opened[place : place + len(plan.targets)]
            place += len(plan.targets)
            state, applied = self._run_cell(plan, now, then, opened, forced is not None and forced.factors == "one")
            factors += applied
            states.append(state)
        gates = ImageGates(
            torch.tensor(factors, dtype=self._single, device=self._device),
            torch.tensor(states, dtype=torch.uint8, device=self._device),
        )
        return self._run_head(then), gates

    def _run_stem(self, image: Tensor, size: Sequence[int], into: Slot) -> None:
        # The maps of the odd layers are not needed yet: the pixels lie where the finest of them will.
        pixels = self._memory.map("odd0", 3, *size)
        height, width = image.shape[-2:]
        torch.sub(image, self._mean, out=pixels[:, :, :height, :width])
        pixels[:, :, height:].zero_()
        pixels[:, :, :height, width:].zero_()
        # The stem's first maps have four times the pixels of its last.
        at_most = self._rows(self._config.stem_channels, size[1]) // 2
        for span in strips(into.map.shape[2], at_most):
            into.put(span[0], run_rows(self._stem, pixels, span))
        into.reached = into.filled = True

    def _run_cell(
        self, plan: CellPlan, now: list[Slot], then: list[Slot], opened: Sequence[bool] | None, ones: bool
    ) -> tuple[int, list[float]]:
        """Runs one cell; gives its state and its factors as applied. opened: of a forced route; ones: its factors."""
        here = now[plan.scale]
        nothing = [0.0] * len(plan.targets)
        if not here.reached:
            return DEAD, nothing
        x = here.features()
        factors = [1.0] * len(plan.targets) if ones else plan.gate(x, self._rows(x.shape[1], x.shape[3]))
        if opened is not None:
            factors = [factor if taken else 0.0 for factor, taken in zip(factors, opened, strict=True)]
        if sum(factors) >= OPEN_THRESHOLD:
            self._run_open(plan, x, then, dict(zip(plan.targets, factors, strict=True)))
            return OPEN, factors
        if opened is not None:
            return CLOSED, nothing
        target = then[plan.scale]
        if target.filled:
            target.put(0, x)
        else:
            here.map, target.map = target.map, here.map
        target.reached = target.filled = True
        return CLOSED, [1.0, *nothing[1:]]

    def _run_open(self, plan: CellPlan, x: Tensor, then: list[Slot], factors: Mapping[PathName, float]) -> None:
        for path in factors:
            then[plan.targets[path]].reached = True
        taken = {path: factor for path, factor in factors.items() if factor > 0}
        step = 2 if list(taken) == ["down"] else 1
        channels, height, width = x.shape[1:]
        fine = self._memory.map("up", channels // 2, height, width) if "up" in taken else None
        for span in strips(height // step, self._rows(channels, width // step)):
            h = plan.hidden(x, span, step)
            whole = (0, h.shape[2])
            if "keep" in taken:
                then[plan.targets["keep"]].put(span[0], h, taken["keep"])
            if fine is not None:
                torch.mul(run_rows(plan.paths["up"], h, whole), taken["up"], out=fine[:, :, slice(*span)])
            if "down" in taken:
                coarse = h[:, :, :: 2 // step, :: 2 // step]
                y = run_rows(plan.paths["down"], coarse, (0, coarse.shape[2]))
                then[plan.targets["down"]].put(span[0] * step // 2, y, taken["down"])
        if fine is not None:
            self._enlarge(fine, then[plan.targets["up"]])
        for path in taken:
            then[plan.targets[path]].filled = True

    def _enlarge(self, x: Tensor, into: Slot) -> None:
        """Adds x, enlarged ×2, and marks the slot filled."""
        channels, height, width = into.map.shape[1:]
        for span in strips(height, self._rows(channels, width)):
            into.put(span[0], enlarged_rows(x, span, 2))
        into.filled = True

    def _run_head(self, features: list[Slot]) -> Tensor:
        y = features[len(self._narrow)].features()
        for scale in reversed(range(len(self._narrow))):
            into = features[scale]
            narrow = self._memory.map("up", into.map.shape[1], *y.shape[2:])
            for span in strips(y.shape[2], self._rows(y.shape[1], y.shape[3])):
                narrow[:, :, slice(*span)] = run_rows(self._narrow[scale], y, span)
            self._enlarge(narrow, into)
            y = into.map
        quarter = y.new_empty(1, self._config.classes, *y.shape[2:], dtype=self._single)
        for span in strips(y.shape[2], self._rows(y.shape[1], y.shape[3])):
            quarter[:, :, slice(*span)] = run_rows(self._last, y, span)
        return quarter


def _advance(now: list[Slot], then: list[Slot]) -> tuple[list[Slot], list[Slot]]:
    """The next layer's slots, and empty ones for what it sends."""
    for slot in now:
        slot.reached = slot.filled = False
    return then, now


def load(network: Segmenter, dtype: torch.dtype) -> TorchBackend:
    """The `Loader`; every device and network will do."""
    return TorchBackend(folded(network, dtype), dtype)
