"""The engine's plain torch backend: needs no compiler, runs on any device.

The plan (chains of layers) is made once per network; memory is taken once and kept. Images walk through the space cell
by cell; only what their gates open is computed.

Size decides what is computed at a time, `STRIP_BYTES` of a map: of small images as many as have so much at the finest
scale, since calling an operation costs more than what it does to one of them; of large maps a strip of rows, so that
what lies within a cell stays in the cache. An operation runs on those of its images that take its path.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dynroute_core.cell import CLOSED, DEAD, OPEN, CellModule, shrink
from dynroute_core.engine.backend import BatchGates, ForcedRoute, folded
from dynroute_core.engine.slots import Images, Memory, Slot, of_images, per_image
from dynroute_core.engine.strips import Span, argmax_rows, chain_of, enlarged_rows, every_second, run_rows, strips
from dynroute_core.model import Segmenter
from dynroute_core.operations import NoOperation
from dynroute_core.space import (
    COARSEST_STRIDE,
    FINEST_STRIDE,
    INITIAL,
    OPEN_THRESHOLD,
    Cell,
    PathName,
    RoutingSpace,
)

STRIP_BYTES = 2**22  # of a strip, or a group's maps of one scale: the few that a cell holds at a time stay in the cache
WHOLE = 2**30  # rows, or images; strips and groups pay on the CPU alone


CellResult = tuple[list[list[float]], list[int]]  # of each image: the factors as applied, the state


class Taken(NamedTuple):
    """A path's images among those whose cell is open: their places among these and in the group, and their factors."""

    places: list[int]
    images: list[int]
    factors: list[float]

    @classmethod
    def of(cls, images: Images, factors: Sequence[float]) -> Taken:
        places = [place for place, factor in enumerate(factors) if factor > 0]
        return cls(places, [images[place] for place in places], [factors[place] for place in places])


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

    def gate(self, x: Tensor, at_most: int) -> list[list[float]]:
        """The factor of each path for each image's map, read in strips of at most so many rows."""
        if not self.has_gate:
            return [[1.0] * len(self.targets)] * len(x)
        if self.small_gate:
            x = shrink(x)
        sums = torch.zeros(len(x), self.factors.in_channels, dtype=self.factors.weight.dtype, device=x.device)
        for span in strips(x.shape[2], at_most):
            sums += run_rows(self.reduce, x, span).sum(dim=(2, 3), dtype=sums.dtype)
        pooled = (sums / (x.shape[2] * x.shape[3])).view(*sums.shape, 1, 1)
        found: list[list[float]] = torch.tanh(self.factors(pooled)).clamp(min=0).flatten(1).tolist()
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

    def at_a_time(self, height: int, width: int) -> int:
        if self._device.type != "cpu":
            return WHOLE
        positions = math.prod(
            -(-side // COARSEST_STRIDE) * COARSEST_STRIDE // FINEST_STRIDE for side in (height, width)
        )
        return max(STRIP_BYTES // (positions * self._config.channels * self._dtype.itemsize), 1)

    def logits(self, images: Tensor, forced: Sequence[ForcedRoute] | None, out: Tensor) -> BatchGates:
        quarter, gates = self._quarter(images, forced)
        height, width = out.shape[-2:]
        for span in strips(height, self._rows(len(out) * self._config.classes, width)):
            out[:, :, slice(*span)] = enlarged_rows(quarter, span, FINEST_STRIDE)[..., :width]
        return gates

    def labels(self, images: Tensor, forced: Sequence[ForcedRoute] | None, out: Tensor) -> BatchGates:
        quarter, gates = self._quarter(images, forced)
        for span in strips(quarter.shape[2], self._rows(len(out) * self._config.classes, quarter.shape[3])):
            argmax_rows(quarter, span, out)
        return gates

    def _rows(self, channels: int, width: int) -> int:
        """How many rows of so many columns a strip has; channels: of all images together."""
        return STRIP_BYTES // (channels * width * self._dtype.itemsize) if self._device.type == "cpu" else WHOLE

    def _quarter(self, images: Tensor, forced: Sequence[ForcedRoute] | None) -> tuple[Tensor, BatchGates]:
        """Logits at a quarter of the padded size, N×K×h×w, NCHW, and the gates."""
        size = [-(-side // COARSEST_STRIDE) * COARSEST_STRIDE for side in images.shape[-2:]]
        shape = (len(images), self._config.channels, *(side // FINEST_STRIDE for side in size))
        now, then = (self._memory.slots(name, shape) for name in ("even", "odd"))
        self._run_stem(images, size, now[0])
        found: list[CellResult] = []
        layer, place = INITIAL.layer, 0
        for cell, plan in self._cells.items():
            for _ in range(layer, cell.layer):
                now, then = _advance(now, then)
            layer = cell.layer
            paths = slice(place, place + len(plan.targets))
            place = paths.stop
            opened = None if forced is None else [each.opened[paths] for each in forced]
            found.append(self._run_cell(plan, now, then, opened, forced is not None and forced[0].factors == "one"))
        factors = [[value for cell_factors, _ in found for value in cell_factors[k]] for k in range(len(images))]
        gates = BatchGates(
            torch.tensor(factors, dtype=self._single, device=self._device),
            torch.tensor([states for _, states in found], dtype=torch.uint8, device=self._device).T,
        )
        return self._run_head(then), gates

    def _run_stem(self, images: Tensor, size: Sequence[int], into: Slot) -> None:
        # The maps of the odd layers are not needed yet: the pixels lie where the finest of them will.
        pixels = self._memory.map("odd0", (len(images), 3, *size))
        height, width = images.shape[-2:]
        torch.sub(images, self._mean, out=pixels[:, :, :height, :width])
        pixels[:, :, height:].zero_()
        pixels[:, :, :height, width:].zero_()
        everyone = range(len(images))
        # The stem's first maps have four times the pixels of its last.
        at_most = self._rows(len(images) * self._config.stem_channels, size[1]) // 2
        for span in strips(into.map.shape[2], at_most):
            into.put(everyone, span[0], run_rows(self._stem, pixels, span))
        into.fill(everyone)

    def _run_cell(
        self, plan: CellPlan, now: list[Slot], then: list[Slot], opened: Sequence[Sequence[bool]] | None, ones: bool
    ) -> CellResult:
        """Runs one cell; gives its factors as applied. opened: of forced routes; ones: these routes' factors."""
        here = now[plan.scale]
        paths, count = len(plan.targets), len(here.reached)
        applied, states = [[0.0] * paths for _ in range(count)], [DEAD] * count
        reached = [image for image in range(count) if here.reached[image]]
        if not reached:
            return applied, states
        x = here.features(reached)
        factors = (
            [[1.0] * paths] * len(reached) if ones else plan.gate(x, self._rows(x.shape[0] * x.shape[1], x.shape[3]))
        )
        for image, found in zip(reached, factors, strict=True):
            taken = found if opened is None else [f if o else 0.0 for f, o in zip(found, opened[image], strict=True)]
            states[image] = OPEN if sum(taken) >= OPEN_THRESHOLD else CLOSED
            if states[image] == OPEN:
                applied[image] = taken
            elif opened is None:
                applied[image] = [1.0, *applied[image][1:]]
        is_open = [image for image in reached if states[image] == OPEN]
        if is_open:
            of_path = zip(*(applied[image] for image in is_open), strict=True)
            self._run_open(plan, here.features(is_open), then, is_open, dict(zip(plan.targets, of_path, strict=True)))
        closed = [image for image in reached if states[image] == CLOSED]
        if closed and opened is None:
            self._pass_on(here, then[plan.scale], closed)
        return applied, states

    def _pass_on(self, here: Slot, target: Slot, images: Images) -> None:
        """The maps of a closed cell, unchanged; without a copy where all are closed and nothing came before."""
        if len(images) == len(here.map) and not any(target.filled):
            here.map, target.map = target.map, here.map
        else:
            target.put(images, 0, of_images(here.map, images))
        target.fill(images)

    def _run_open(
        self,
        plan: CellPlan,
        x: Tensor,
        then: list[Slot],
        images: Images,
        factors: Mapping[PathName, Sequence[float]],
    ) -> None:
        """The open cell of these images, whose maps x are; factors: of each path, for each of them."""
        for path in factors:
            for image in images:
                then[plan.targets[path]].reached[image] = True
        taken = {path: Taken.of(images, found) for path, found in factors.items() if max(found) > 0}
        step = 2 if list(taken) == ["down"] else 1
        count, channels, height, width = x.shape
        up = taken.get("up")
        fine = None if up is None else self._memory.map("up", (len(up.images), channels // 2, height, width))
        for span in strips(height // step, self._rows(count * channels, width // step)):
            h = plan.hidden(x, span, step)
            for path, (places, some, chosen) in taken.items():
                y, into = of_images(h, places), then[plan.targets[path]]
                if path == "keep":
                    into.put(some, span[0], y, chosen)
                elif path == "down":
                    coarse = y[:, :, :: 2 // step, :: 2 // step]
                    y = run_rows(plan.paths["down"], coarse, (0, coarse.shape[2]))
                    into.put(some, span[0] * step // 2, y, chosen)
                else:
                    assert fine is not None
                    y = run_rows(plan.paths["up"], y, (0, y.shape[2]))
                    torch.mul(y, per_image(chosen, y), out=fine[:, :, slice(*span)])
        if up is not None and fine is not None:
            self._enlarge(fine, then[plan.targets["up"]], up.images)
        for path, (_, some, _) in taken.items():
            then[plan.targets[path]].fill(some)

    def _enlarge(self, x: Tensor, into: Slot, images: Images) -> None:
        """Adds x, enlarged ×2, to these images' maps and marks them filled."""
        channels, height, width = into.map.shape[1:]
        for span in strips(height, self._rows(len(images) * channels, width)):
            into.put(images, span[0], enlarged_rows(x, span, 2))
        into.fill(images)

    def _run_head(self, features: list[Slot]) -> Tensor:
        everyone = range(len(features[0].map))
        y = features[len(self._narrow)].features(everyone)
        for scale in reversed(range(len(self._narrow))):
            into = features[scale]
            narrow = self._memory.map("up", (len(everyone), into.map.shape[1], *y.shape[2:]))
            for span in self._strips(y):
                narrow[:, :, slice(*span)] = run_rows(self._narrow[scale], y, span)
            self._enlarge(narrow, into, everyone)
            y = into.map
        quarter = y.new_empty(len(everyone), self._config.classes, *y.shape[2:], dtype=self._single)
        for span in self._strips(y):
            quarter[:, :, slice(*span)] = run_rows(self._last, y, span)
        return quarter

    def _strips(self, x: Tensor) -> Iterator[Span]:
        return strips(x.shape[2], self._rows(x.shape[0] * x.shape[1], x.shape[3]))


def _advance(now: list[Slot], then: list[Slot]) -> tuple[list[Slot], list[Slot]]:
    """The next layer's slots, and empty ones for what it sends."""
    for slot in now:
        slot.empty()
    return then, now


def load(network: Segmenter, dtype: torch.dtype) -> TorchBackend:
    """The `Loader`; every device and network will do."""
    return TorchBackend(folded(network, dtype), dtype)
