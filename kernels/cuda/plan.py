"""The plan of one input size: where every map lies, and the launches of a forward pass in order.

A plan is made once per size and run many times, as it is or as one CUDA graph. Each scale has one map, in which a
cell's input becomes its output in place; a closed cell leaves it alone, so passing on is free. Cells of a layer go
through each operator in one launch, coarsest first (their blocks are few and long), whatever their sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dynroute_kernels.cuda.checks import RECORD
from dynroute_kernels.cuda.operators import DOWN, KEEP, UP, shrunk_size, sum_rows
from dynroute_kernels.cuda.weights import Linear, PackedCell, PackedNetwork, Pair, padded

SCALES = 4
COARSEST_STRIDE = 32
ALIGNMENT = 256  # bytes, of every buffer
OPERATORS = torch.ops.dynroute_cuda
Argument = Tensor | Sequence[Tensor] | Sequence[Tensor | None] | Sequence[int] | int


@dataclass(frozen=True)
class Step:
    """One launch: an operator of `operators.py` and what it is called with, in the order of its schema. in_place: the
    maps that it reads before it writes them."""

    name: str
    arguments: tuple[Argument, ...]
    in_place: Sequence[Tensor] = ()

    def __call__(self) -> None:
        getattr(OPERATORS, self.name).default(*self.arguments)


@dataclass
class Plan:
    """What a run reads and leaves, and its steps.

    images: N×3×H×W; route: cells × N × 4, uint8; mode: one RouteMode; gates: cells + 1 × N × 4, the last record ever
    open; logits: N×K×h/4×w/4, float32; arena: every map, in bytes.
    """

    images: Tensor
    route: Tensor
    mode: Tensor
    gates: Tensor
    logits: Tensor
    arena: Tensor
    steps: list[Step] = field(default_factory=list)
    graph: torch.cuda.CUDAGraph | None = None

    def run(self) -> None:
        if self.graph is not None:
            self.graph.replay()
            return
        for step in self.steps:
            step()

    def bytes_moved(self) -> dict[str, int]:
        """By operator, what it reads and writes with every path open, each tensor once per launch: neither edges read
        twice nor weights read by several blocks, which the caches are to catch. Maps updated in place count twice, and
        a small gate's map whole."""
        moved: dict[str, int] = {}
        for step in self.steps:
            given = [t for argument in step.arguments for t in (argument if isinstance(argument, list) else [argument])]
            tensors = [tensor for tensor in (*given, *step.in_place) if isinstance(tensor, Tensor)]
            moved[step.name] = moved.get(step.name, 0) + sum(tensor.nbytes for tensor in tensors)
        return moved

    def capture(self) -> None:
        """Runs once eagerly, so that every kernel is loaded, then records the same steps as a graph."""
        self.run()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for step in self.steps:
                step()
        self.graph = graph


class Arena:
    """Shapes first, then memory: buffers of one type, in one allocation; `overlay` starts again over what is taken."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.size = 0
        self._next = 0
        self._taken: list[tuple[int, tuple[int, ...]]] = []

    def take(self, *shape: int) -> int:
        """The number of a buffer of this shape."""
        self._taken.append((self._next, shape))
        count = self.dtype.itemsize
        for side in shape:
            count *= side
        self._next += -(-count // ALIGNMENT) * ALIGNMENT
        self.size = max(self.size, self._next)
        return len(self._taken) - 1

    def rewind(self, buffer: int) -> None:
        """The next buffer starts where this one does: the two are never in use at once."""
        self._next = self._taken[buffer][0]

    def views(self, device: torch.device) -> tuple[Tensor, list[Tensor]]:
        """The memory, and the buffers by number."""
        memory = torch.zeros(self.size, dtype=torch.uint8, device=device)
        return memory, [memory[start:].view(self.dtype)[: torch.Size(s).numel()].view(s) for start, s in self._taken]


def make_plan(network: PackedNetwork, images: Tensor) -> Plan:
    """The plan for images like these."""
    return _Planner(network, images).plan


class _Planner:
    def __init__(self, network: PackedNetwork, images: Tensor) -> None:
        self.network = network
        self.count = len(images)
        height, width = (-(-side // COARSEST_STRIDE) * COARSEST_STRIDE for side in images.shape[2:])
        self.sides = [(height // 4 >> scale, width // 4 >> scale) for scale in range(SCALES)]
        self._lay_out((height, width))
        records = torch.zeros(len(network.cells) + 1, self.count, RECORD, dtype=torch.float32, device=network.device)
        records[-1, :, : UP + DOWN] = 1
        self.ever = records[-1]
        self.plan = Plan(
            images=torch.zeros_like(images),
            route=torch.zeros(len(network.cells), self.count, RECORD, dtype=torch.uint8, device=network.device),
            mode=torch.zeros(1, dtype=torch.int32, device=network.device),
            gates=records,
            logits=torch.zeros(self.count, network.classes, *self.sides[0], dtype=torch.float32, device=network.device),
            arena=self.memory,
        )
        self._stem()
        for layer in range(-1, network.layers):
            self._layer(layer)
        self._head()

    def _step(self, name: str, *arguments: Argument, in_place: Sequence[Tensor] = ()) -> None:
        self.plan.steps.append(Step(name, arguments, in_place))

    def _width(self, scale: int) -> int:
        return padded(self.network.channels * 2**scale)

    def _lay_out(self, size: tuple[int, int]) -> None:
        """The maps; the stem's two half-size ones share their memory with what is written after them."""
        network, n = self.network, self.count
        arena = Arena(network.dtype)
        maps = [arena.take(n, *self.sides[0], self._width(0))]
        half = [((side - 3) // 2 + 1) for side in size]
        middle = network.stem_first.weight.shape[1]
        stem = [arena.take(n, *half, middle)]
        stem.append(arena.take(n, *half, network.stem_pairs[0].weight.shape[1]))
        arena.rewind(stem[0])
        maps += [arena.take(n, *self.sides[k], self._width(k)) for k in range(1, SCALES)]
        within = [arena.take(n, *self.sides[k], self._width(k)) for k in range(SCALES)]
        ups = [arena.take(n, *self.sides[k], self._width(k - 1)) for k in range(1, SCALES)]
        downs = [arena.take(n, *self.sides[k + 1], self._width(k + 1)) for k in range(SCALES - 1)]
        self.memory, views = arena.views(network.device)
        self.maps, self.within = [views[i] for i in maps], [views[i] for i in within]
        self.half = [views[i] for i in stem]
        self.ups = [None, *(views[i] for i in ups)]  # by the scale they leave
        self.downs = [*(views[i] for i in downs), None]
        self.sums: dict[int, Tensor] = {}

    def _stem(self) -> None:
        network, plan = self.network, self.plan
        self._step("stem", plan.images, *network.stem_first, network.mean, self.half[0])
        x = self.half[0]
        for stride, out, pair in zip((1, 2), (self.half[1], self.maps[0]), network.stem_pairs, strict=True):
            self._separable([x], [pair], [self.ever], [out], stride=stride, accumulate=False)
            x = out

    def _separable(
        self,
        x: Sequence[Tensor],
        pairs: Sequence[Pair],
        gate: Sequence[Tensor],
        out: Sequence[Tensor],
        *,
        stride: int = 1,
        accumulate: bool,
    ) -> None:
        columns = [[pair[i] for pair in pairs] for i in range(3)]
        self._step("separable", x, *columns, gate, out, stride, True, accumulate, in_place=out if accumulate else ())

    def _cells_of(self, layer: int) -> list[PackedCell]:
        """A layer's cells, coarsest first."""
        cells = self.network.cells
        return [cells[layer, scale] for scale in reversed(range(SCALES)) if (layer, scale) in cells]

    def _record(self, cell: PackedCell) -> Tensor:
        return self.plan.gates[cell.index]

    def _source(self, layer: int, scale: int, slot: int) -> Tensor | None:
        """The record of the cell of this layer and scale, where it has such a path."""
        cell = self.network.cells.get((layer, scale))
        return self._record(cell) if cell is not None and cell.has(slot) else None

    def _sources(self, layer: int, scale: int) -> list[Tensor | None]:
        """The records of what comes down, is kept and comes up into a cell; the initial cell keeps the stem's map."""
        if layer < 0:
            return [None, self.ever, None]
        return [
            self._source(layer - 1, scale - 1, DOWN),
            self._source(layer - 1, scale, KEEP),
            self._source(layer - 1, scale + 1, UP),
        ]

    def _layer(self, layer: int) -> None:
        cells = self._cells_of(layer)
        if not cells:
            return
        scales = [cell.scale for cell in cells]
        sources = [self._sources(layer, scale) for scale in scales]
        flat = [record for row in sources for record in row]
        maps, within = [self.maps[k] for k in scales], [self.within[k] for k in scales]
        records = [self._record(cell) for cell in cells]
        if layer >= 0:
            downs = [self.downs[k - 1] if row[0] is not None else None for k, row in zip(scales, sources, strict=True)]
            ups = [self.ups[k + 1] if row[2] is not None else None for k, row in zip(scales, sources, strict=True)]
            self._step("assemble", maps, downs, ups, flat, in_place=maps)
        self._gates(cells, flat)
        self._separable(maps, [cell.first for cell in cells], records, within, accumulate=False)
        self._separable(within, [cell.second for cell in cells], records, maps, accumulate=True)
        self._send(cells)

    def _gates(self, cells: Sequence[PackedCell], sources: Sequence[Tensor | None]) -> None:
        plan, small = self.plan, self.network.small_gates
        seen = [shrunk_size(*self.sides[c.scale]) if small else self.sides[c.scale] for c in cells]
        pixels = [height * width for height, width in seen]
        sums: list[Tensor | None] = [None] * len(cells)
        gated = [(cell, cell.reduce) for cell in cells if cell.reduce is not None]
        if gated:
            assert len(gated) == len(cells)
            sums = [self._sums(cell, reduce, n) for (cell, reduce), n in zip(gated, pixels, strict=True)]
            maps = [self.maps[cell.scale] for cell in cells]
            layers = [[linear[i] for _, linear in gated] for i in range(2)]
            self._step("gate_sums", maps, *layers, sources, plan.mode, sums, small)
        factors = [[None if cell.factors is None else cell.factors[i] for cell in cells] for i in range(2)]
        routes, records = [plan.route[cell.index] for cell in cells], [self._record(cell) for cell in cells]
        bits = [cell.bits for cell in cells]
        self._step("decide", sums, *factors, sources, plan.mode, routes, records, pixels, bits)

    def _sums(self, cell: PackedCell, reduce: Linear, pixels: int) -> Tensor:
        """The rows of a gate's sums; every cell of a scale uses the same."""
        if cell.scale not in self.sums:
            shape = (self.count, sum_rows(pixels)[0], reduce.weight.shape[1])
            self.sums[cell.scale] = torch.zeros(shape, dtype=torch.float32, device=self.network.device)
        return self.sums[cell.scale]

    def _send(self, cells: Sequence[PackedCell]) -> None:
        """Every path up and down of a layer in one launch."""
        paths: list[tuple[Tensor, Tensor, Tensor, Tensor, Tensor, int, int]] = []
        for cell in cells:
            x, record = self.maps[cell.scale], self._record(cell)
            up, down = self.ups[cell.scale], self.downs[cell.scale]
            if cell.up is not None and up is not None:
                paths.append((x, *cell.up, record, up, UP, 1))
            if cell.down is not None and down is not None:
                paths.append((x, *cell.down, record, down, DOWN, 2))
        if paths:
            self._step("pointwise", *(list(column) for column in zip(*paths, strict=True)))

    def _head(self) -> None:
        """Coarse to fine: what the last cells keep, plus the narrowed and enlarged map of the coarser scale."""
        network = self.network
        last = len(network.narrow)
        for scale in reversed(range(last + 1)):
            kept = self._source(network.layers - 1, scale, KEEP)
            # The record that is ever open makes an unreached map one of zeros, with or without something from above.
            up = self.ups[scale + 1] if scale < last else None
            sources = [self.ever, kept, None if up is None else self.ever]
            maps = [self.maps[scale]]
            self._step("assemble", maps, [None], [up], sources, in_place=maps)
            linear = network.narrow[scale - 1] if scale > 0 else network.fuse
            out = self.ups[scale] if scale > 0 else self.within[0]
            self._step("pointwise", maps, [linear.weight], [linear.bias], [self.ever], [out], [KEEP], [1])
        self._step("logits", self.within[0], *network.predictor, self.plan.logits)
