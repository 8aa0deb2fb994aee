"""The operations that `operations.py` times: each in three ways, and what it means.

An operation that changes its input gets it anew before each run, outside the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from dynroute_core.cell import Gate, double_size
from dynroute_core.cost import cost_table
from dynroute_core.engine.backend import folded
from dynroute_core.engine.network_spec import network_spec
from dynroute_core.engine.slots import Slot
from dynroute_core.engine.strips import argmax_rows, enlarged_rows, run_rows, strips
from dynroute_core.engine.torch_backend import TorchBackend
from dynroute_core.model import Segmenter
from dynroute_core.space import SCALES, Cell, ModelConfig, PathName
from dynroute_kernels import NativeNetwork, NetworkSpec
from dynroute_kernels.cpu import reference
from dynroute_kernels.cpu.single_operation import Alone, MapName

LAYER = 3  # the first whose cells have every path that their scale allows; later ones have the same sizes
FACTOR = 0.7
ONE = (0,)  # the places of a group of one image
DTYPES = (torch.float32, torch.bfloat16)


@dataclass(frozen=True)
class Subject:
    """`run` is timed, after `prepare`. result: of a compiled operation, what its last run gave."""

    run: Callable[[], object]
    prepare: Callable[[], object] = lambda: None
    result: Callable[[], Tensor] | None = None


@dataclass(frozen=True)
class Task:
    """One operation at one size. meaning: the reference's result, float32."""

    part: str
    size: tuple[int, int]
    macs: float
    meaning: Callable[[], Tensor]
    subjects: dict[str, Subject]


class Plain:
    """The plain torch engine taken apart: its maps are channels-last, of one dtype."""

    def __init__(self, model: Segmenter, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.backend = TorchBackend(folded(model, dtype), dtype)

    def map(self, x: Tensor) -> Tensor:
        return x.to(self.dtype).contiguous(memory_format=torch.channels_last)

    def spans(self, x: Tensor) -> Iterator[tuple[int, int]]:
        return strips(x.shape[2], self.backend._rows(x.shape[1], x.shape[3]))


def filler(alone: Alone, maps: Sequence[tuple[MapName, int, Tensor]]) -> Callable[[], None]:
    """Fills these maps (name, scale, values), converted once."""
    given = [(name, scale, x.to(alone.dtype, memory_format=torch.channels_last)) for name, scale, x in maps]

    def fill() -> None:
        for name, scale, x in given:
            alone.fill(name, scale, x)

    return fill


class Work:
    """The operations of a network with one kind of gate, on images of one size."""

    def __init__(self, kind: Literal["full", "small"], channels: int, height: int, width: int) -> None:
        config = ModelConfig(layers=LAYER + 2, gate=kind, channels=channels, stem_channels=min(channels, 64))
        self.size = (height, width)
        torch.manual_seed(0)
        self.model = Segmenter(config).eval().requires_grad_(False)
        for module in self.model.modules():
            if isinstance(module, Gate):  # open, with factors that depend on what it sees
                torch.nn.init.normal_(module.factors.weight, 0, 0.03)
        self.spec: NetworkSpec = network_spec(folded(self.model, torch.float32))
        self.cost = cost_table(config, height=height, width=width, accounting="paper")
        self.plain = {dtype: Plain(self.model, dtype) for dtype in DTYPES}
        self.compiled = {dtype: Alone(NativeNetwork(self.spec, dtype), self.spec, *self.size) for dtype in DTYPES}

    def sides(self, scale: int) -> tuple[int, int]:
        return self.size[0] // 4 >> scale, self.size[1] // 4 >> scale

    def map(self, scale: int, *, coarser: int = 0) -> Tensor:
        """Random, as a ReLU leaves it."""
        height, width = self.sides(scale + coarser)
        return torch.randn(1, self.spec.channels << scale, height, width).relu_()

    def number(self, cell: Cell) -> int:
        return self.model.space.cells.index(cell)

    def task(
        self,
        part: str,
        scale: int,
        macs: float,
        meaning: Callable[[], Tensor],
        eager: Callable[[], object],
        plain: Callable[[Plain], Subject],
        native: Callable[[Alone], Subject],
        *,
        size: tuple[int, int] | None = None,
        dtypes: tuple[torch.dtype, ...] = DTYPES,
    ) -> Task:
        names = {dtype: str(dtype).removeprefix("torch.") for dtype in dtypes}
        subjects = {"eager float32": Subject(eager)}
        subjects |= {f"torch {name}": plain(self.plain[dtype]) for dtype, name in names.items()}
        subjects |= {f"native {name}": native(self.compiled[dtype]) for dtype, name in names.items()}
        return Task(part, size or self.sides(scale), macs, meaning, subjects)


def stem(work: Work) -> Task:
    image = torch.randint(0, 256, (1, 3, *work.size), dtype=torch.uint8)

    def plain(engine: Plain) -> Subject:
        into = Slot(engine.map(work.map(0)))

        return Subject(lambda: engine.backend._run_stem(image, work.size, into), into.empty)

    return work.task(
        "stem", 0, work.cost.stem,
        lambda: reference.stem(image[0].float(), work.spec.mean, work.spec.stem),
        lambda: work.model.stem(work.model._normalise_and_pad(image)),
        plain,
        lambda alone: Subject(lambda: alone.stem(image[0]), result=lambda: alone.read("x", 0)),
        size=work.size,
    )  # fmt: skip


def arrival(work: Work, scale: int) -> Task:
    keep, down, up = work.map(scale), work.map(scale) if scale else None, None
    came: list[PathName] = ["keep", "down"] if scale else ["keep"]
    if scale < SCALES - 1:
        up = work.map(scale, coarser=1)
        came.append("up")
    number = work.number(Cell(LAYER, scale))

    def eager() -> Tensor:
        total = keep if down is None else down + keep
        return total if up is None else total + double_size(up)

    def plain(engine: Plain) -> Subject:
        first, second = engine.map(keep), None if down is None else engine.map(down)
        third = None if up is None else engine.map(up)
        into = Slot(torch.empty_like(first))
        into.fill(ONE)

        def run() -> None:
            if second is not None:
                into.put(ONE, 0, second)
            if third is not None:
                engine.backend._enlarge(third, into, ONE)

        return Subject(run, lambda: into.map.copy_(first))

    def native(alone: Alone) -> Subject:
        maps: list[tuple[MapName, int, Tensor]] = [("x", scale, keep)]
        if down is not None:
            maps.append(("down", scale, down))
        if up is not None:
            maps.append(("up", scale, up))
        fill = filler(alone, maps)
        return Subject(lambda: alone.arrive(number, came, gated=False), fill, lambda: alone.read("x", scale))

    def meaning() -> Tensor:
        found = reference.arrive(keep, down, up)
        assert found is not None
        return found

    return work.task("arrival", scale, 0, meaning, eager, plain, native)


def gate(work: Work, scale: int) -> Task:
    cell, x = Cell(LAYER, scale), work.map(scale)
    number, module = work.number(cell), work.model.cell(cell).gate
    spec = work.spec.cells[number].gate
    assert module is not None and spec is not None
    small = module.small

    def plain(engine: Plain) -> Subject:
        plan, given = engine.backend._cells[cell], engine.map(x)
        return Subject(lambda: plan.gate(given, engine.backend._rows(x.shape[1], x.shape[3])))

    def native(alone: Alone) -> Subject:
        factors = torch.empty(len(work.spec.cells[number].paths))
        return Subject(
            lambda: factors.copy_(alone.arrive(number, ["keep"], gated=True)),
            filler(alone, [("x", scale, x)]),
            lambda: factors,
        )

    return work.task(
        "small gate" if small else "gate", scale, work.cost.gates[cell],
        lambda: reference.gate(x, spec, small=small), lambda: module(x), plain, native,
    )  # fmt: skip


def cell(work: Work, scale: int) -> Task:
    """With `keep`, which the cell's own writing scales."""
    cell, x = Cell(LAYER, scale), work.map(scale)
    number, module = work.number(cell), work.model.cell(cell)
    spec = work.spec.cells[number]

    def plain(engine: Plain) -> Subject:
        plan, given = engine.backend._cells[cell], engine.map(x)
        then = engine.backend._memory.slots("odd", (1, work.spec.channels, *work.sides(0)))
        factors = {path: [FACTOR * (path == "keep")] for path in plan.targets}
        return Subject(lambda: engine.backend._run_open(plan, given, then, ONE, factors), then[scale].empty)

    def native(alone: Alone) -> Subject:
        return Subject(
            lambda: alone.cell(number, {"keep": FACTOR}),
            filler(alone, [("x", scale, x)]),
            lambda: alone.read("x", scale),
        )

    return work.task(
        "cell", scale, work.cost.operations[cell],
        lambda: FACTOR * reference.cell(x, spec), lambda: module.hidden(x) * FACTOR, plain, native,
    )  # fmt: skip


def path(work: Work, scale: int, name: Literal["up", "down"]) -> Task:
    """From h in memory; `up` before its enlargement, which is part of arrival."""
    cell, h = Cell(LAYER, scale), work.map(scale)
    number, module = work.number(cell), work.model.cell(cell)
    spec, conv = work.spec.cells[number], module.up if name == "up" else module.down
    assert conv is not None
    target, step = (scale - 1, 1) if name == "up" else (scale + 1, 2)

    def plain(engine: Plain) -> Subject:
        chain, given = engine.backend._cells[cell].paths[name], engine.map(h)
        source = given[:, :, ::step, ::step]
        out = engine.map(reference.send(h, spec, name, torch.tensor(FACTOR)))

        def run() -> None:
            for first, last in engine.spans(source):
                torch.mul(run_rows(chain, source, (first, last)), FACTOR, out=out[:, :, first:last])

        return Subject(run)

    def native(alone: Alone) -> Subject:
        return Subject(
            lambda: alone.send(number, name, FACTOR),
            filler(alone, [("x", scale, h)]),
            lambda: alone.read(name, target),
        )

    return work.task(
        name, scale, work.cost.paths[cell, name],
        lambda: reference.send(h, spec, name, torch.tensor(FACTOR)), lambda: conv(h[..., ::step, ::step]) * FACTOR,
        plain, native,
    )  # fmt: skip


def head(work: Work) -> Task:
    features = [work.map(scale) for scale in range(SCALES)]

    def plain(engine: Plain) -> Subject:
        given = [engine.map(x) for x in features]
        slots = [Slot(torch.empty_like(x)) for x in given]

        def prepare() -> None:
            for slot, x in zip(slots, given, strict=True):
                slot.map.copy_(x)
                slot.fill(ONE)

        return Subject(lambda: engine.backend._run_head(slots), prepare)

    def native(alone: Alone) -> Subject:
        out = torch.empty(1, work.spec.classes, *work.sides(0))

        def result() -> Tensor:
            alone.head(out[0])
            return out

        return Subject(alone.head, filler(alone, [("x", scale, x) for scale, x in enumerate(features)]), result)

    return work.task(
        "head", 0, work.cost.head,
        lambda: reference.head(features, work.spec.head), lambda: work.model.head(features), plain, native,
    )  # fmt: skip


def enlargement(work: Work, what: Literal["labels", "logits"]) -> Task:
    quarter = torch.randn(1, work.spec.classes, *work.sides(0))
    shape = work.size if what == "labels" else (work.spec.classes, *work.size)
    dtype = torch.uint8 if what == "labels" else torch.float32

    def whole() -> Tensor:
        larger = F.interpolate(quarter, scale_factor=4, mode="bilinear", align_corners=False)
        return larger if what == "logits" else larger.argmax(1)

    def plain(engine: Plain) -> Subject:
        out, classes = torch.empty(shape, dtype=dtype), work.spec.classes

        def labels() -> None:
            for span in strips(quarter.shape[2], engine.backend._rows(classes, quarter.shape[3])):
                argmax_rows(quarter, span, out[None])

        def logits() -> None:
            for first, last in strips(work.size[0], engine.backend._rows(classes, work.size[1])):
                out[:, first:last] = enlarged_rows(quarter, (first, last), 4)[0]

        return Subject(labels if what == "labels" else logits)

    def native(alone: Alone) -> Subject:
        out = torch.empty(shape, dtype=dtype)
        return Subject(lambda: alone.enlarge(out), lambda: alone.give(quarter[0]), lambda: out[None])

    return work.task(
        f"enlargement, {what}", 0, 0, whole, whole, plain, native, size=work.size, dtypes=(torch.float32,)
    )  # fmt: skip


def every_task(channels: int, height: int, width: int) -> Iterator[Task]:
    """One after the other, so that the maps of one are gone before the next comes."""
    full, small = Work("full", channels, height, width), Work("small", channels, height, width)
    yield stem(full)
    for scale in range(SCALES):
        yield arrival(full, scale)
    for work in (full, small):
        for scale in range(SCALES):
            yield gate(work, scale)
    for scale in range(SCALES):
        yield cell(full, scale)
    for scale in range(1, SCALES):
        yield path(full, scale, "up")
    for scale in range(SCALES - 1):
        yield path(full, scale, "down")
    yield head(full)
    yield enlargement(full, "labels")
    yield enlargement(full, "logits")
