"""A routed network as plain tensors, and the compiled CPU network made from it.

Shapes: C' = C·2^scale channels of a cell; K classes. Batch norms are folded: every pointwise convolution has a bias.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from dynroute_kernels.cache import BuildError
from dynroute_kernels.cpu import build

PATH_CODES = {"keep": 0, "up": 1, "down": 2}
DTYPES = (torch.float32, torch.bfloat16)
ISA_VARIABLE = "DYNROUTE_ISA"  # names the instruction set, instead of the best one that the processor has


@dataclass(frozen=True)
class ConvSpec:
    """A convolution: weight N×K×1×1 or N×K×3×3, bias N."""

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True)
class StemSpec:
    """first: M×3×3×3, stride 2, no padding; then twice depthwise M×1×3×3 (the second of stride 2) and pointwise."""

    first: ConvSpec
    depthwise: tuple[Tensor, Tensor]
    pointwise: tuple[ConvSpec, ConvSpec]


@dataclass(frozen=True)
class GateSpec:
    """reduce: C'/2×C'; factors: paths×C'/2."""

    reduce: ConvSpec
    factors: ConvSpec


@dataclass(frozen=True)
class CellSpec:
    """sep_conv_3x3 + skip_connect. paths: those that leave the cell, in the order of the gate's outputs."""

    layer: int
    scale: int
    paths: tuple[Literal["keep", "up", "down"], ...]
    depthwise: tuple[Tensor, Tensor]
    pointwise: tuple[ConvSpec, ConvSpec]
    up: ConvSpec | None
    down: ConvSpec | None
    gate: GateSpec | None


@dataclass(frozen=True)
class HeadSpec:
    """narrow: from scale 1 up, each C·2^(scale-1)×C·2^scale; fuse: C×C; predictor: K×C×3×3."""

    narrow: tuple[ConvSpec, ...]
    fuse: ConvSpec
    predictor: ConvSpec


@dataclass(frozen=True)
class NetworkSpec:
    """A network in forward order: cells by layer, then scale. mean: of the pixels, BGR."""

    stem: StemSpec
    cells: tuple[CellSpec, ...]
    head: HeadSpec
    small_gate: bool
    mean: tuple[float, float, float]

    @property
    def classes(self) -> int:
        return self.head.predictor.weight.shape[0]

    @property
    def channels(self) -> int:
        return self.head.fuse.weight.shape[0]

    @property
    def path_count(self) -> int:
        return sum(len(cell.paths) for cell in self.cells)

    def check(self) -> None:
        """Raises ValueError where the shapes do not fit each other."""
        order = [(cell.layer, cell.scale) for cell in self.cells]
        if not order or order != sorted(set(order)) or order[0][1] != 0:
            raise ValueError(f"cells {order[:4]}…: give each once, by layer, then scale, from one at scale 0.")
        channels, middle = self.channels, self.stem.first.weight.shape[0]
        _fits("stem.first", self.stem.first, middle, 3, 3)
        _pairs_fit("stem", self.stem.depthwise, self.stem.pointwise, middle, (middle, channels))
        for cell in self.cells:
            name, width = f"cell {cell.layer}.{cell.scale}", channels << cell.scale
            if not 0 <= cell.scale < 4 or not cell.paths or set(cell.paths) - set(PATH_CODES):
                raise ValueError(f"{name} with paths {cell.paths}: scales are 0..3, paths keep, up and down.")
            _pairs_fit(name, cell.depthwise, cell.pointwise, width, (width, width))
            for path, conv, outputs in (("up", cell.up, width // 2), ("down", cell.down, width * 2)):
                if (path in cell.paths) != (conv is not None):
                    raise ValueError(f"{name}: give a convolution for {path!r} exactly where the path exists.")
                if conv is not None:
                    _fits(f"{name} {path}", conv, outputs, width, 1)
            if ("up" in cell.paths and cell.scale == 0) or ("down" in cell.paths and cell.scale == 3):
                raise ValueError(f"{name}: no scale lies where {cell.paths} lead.")
            if cell.gate is not None:
                _fits(f"{name} gate", cell.gate.reduce, width // 2, width, 1)
                _fits(f"{name} factors", cell.gate.factors, len(cell.paths), width // 2, 1)
        for scale, conv in enumerate(self.head.narrow, start=1):
            _fits(f"narrow {scale}", conv, channels << (scale - 1), channels << scale, 1)
        _fits("fuse", self.head.fuse, channels, channels, 1)
        _fits("predictor", self.head.predictor, self.classes, channels, 3)

    def weights(self) -> Tensor:
        """Every number in the order of `csrc/cpu/api.cpp`, one float32 array."""
        return torch.cat([part.detach().to("cpu", torch.float32).reshape(-1) for part in self._parts()])

    def _parts(self) -> Iterator[Tensor]:
        yield from _dense(self.stem.first)
        yield from _pairs(self.stem.depthwise, self.stem.pointwise)
        for cell in self.cells:
            yield from _pairs(cell.depthwise, cell.pointwise)
            for conv in (cell.up, cell.down):
                if conv is not None:
                    yield from _dense(conv)
            if cell.gate is not None:
                yield from _dense(cell.gate.reduce)
                yield from _dense(cell.gate.factors)
        for conv in (*self.head.narrow, self.head.fuse, self.head.predictor):
            yield from _dense(conv)

    def cell_table(self) -> Tensor:
        """layer, scale, number of paths, their codes as base-4 digits, has a gate: cells×5, int64."""
        rows = [
            (
                cell.layer,
                cell.scale,
                len(cell.paths),
                sum(PATH_CODES[path] * 4**place for place, path in enumerate(cell.paths)),
                int(cell.gate is not None),
            )
            for cell in self.cells
        ]
        return torch.tensor(rows, dtype=torch.int64, device="cpu")


@dataclass(frozen=True)
class ImageResult:
    """factors: per path, float32, as applied, in forward order; states: per cell, uint8: 0 open, 1 closed, 2 dead."""

    factors: Tensor
    states: Tensor


def chosen_isa(dtype: torch.dtype) -> str:
    """The instruction set of a dtype's kernels: the best that is here, or the one that DYNROUTE_ISA names.

    Raises `BuildError` where that is not to be had, or the kernels cannot be compiled.
    """
    wanted = os.environ.get(ISA_VARIABLE, "")
    isa = build.library().dynroute_isa(wanted.encode(), dtype == torch.bfloat16)
    if isa is None:
        raise BuildError(f"{ISA_VARIABLE}={wanted}: not compiled in, or not in this processor.")
    return str(isa.decode())


def instruction_sets() -> str:
    """What this process computes with on the CPU: `torch AVX512, kernels avx512 (float32), avx512_bf16 (bfloat16)`.

    Kernels are not compiled for this. Raises `BuildError` as `chosen_isa` does.
    """
    here = f"torch {torch.backends.cpu.get_cpu_capability()}"
    if build.built(sanitized=bool(os.environ.get("DYNROUTE_SANITIZE"))) is None:
        return f"{here}, kernels not compiled yet"
    chosen = (f"{chosen_isa(dtype)} ({str(dtype).removeprefix('torch.')})" for dtype in DTYPES)
    return f"{here}, kernels {', '.join(chosen)}"


class NativeNetwork:
    """`spec` compiled for this processor. dtype: of weights and activations; sums are float32 in both.

    Raises ValueError for a spec that does not fit together or another dtype, `BuildError` where the kernels cannot be
    compiled or the instruction set named in DYNROUTE_ISA is not to be had.
    """

    def __init__(self, spec: NetworkSpec, dtype: torch.dtype = torch.float32) -> None:
        if dtype not in DTYPES:
            raise ValueError(f"dtype={dtype}: the compiled network has torch.float32 and torch.bfloat16.")
        spec.check()
        self.dtype = dtype
        self.classes, self._paths, self._cells = spec.classes, spec.path_count, len(spec.cells)
        self._library = build.library()
        self.isa = chosen_isa(dtype)
        weights, table = spec.weights(), spec.cell_table()
        middle, scales = spec.stem.first.weight.shape[0], len(spec.head.narrow) + 1
        sizes = (spec.classes, spec.channels, middle, scales, int(spec.small_gate))
        self._network = self._library.dynroute_create(
            self.isa.encode(),
            dtype == torch.bfloat16,
            (ctypes.c_int64 * len(sizes))(*sizes),
            (ctypes.c_float * 3)(*spec.mean),
            table.data_ptr(),
            len(table),
            weights.data_ptr(),
            weights.numel(),
        )
        if not self._network:
            raise RuntimeError(self._library.dynroute_error().decode())
        weakref.finalize(self, self._library.dynroute_destroy, self._network)

    def describe(self) -> str:
        """`native bfloat16, avx512_bf16, 2 threads`."""
        return f"native {str(self.dtype).removeprefix('torch.')}, {self.isa}, {torch.get_num_threads()} threads"

    @property
    def arena_bytes(self) -> int:
        """Of the block that holds every map of the last image's size; 0 before the first image."""
        return int(self._library.dynroute_arena_bytes(self._network))

    def logits(
        self, image: Tensor, out: Tensor, mask: Sequence[bool] | None = None, gate_factors: bool = False
    ) -> ImageResult:
        """image: 3×H×W, BGR, 0..255 → out: K×H×W float32, contiguous. mask: forces a route, a flag per path in forward
        order; its factors are 1, or the gates'. Raises ValueError for other shapes."""
        _check("out", out, (self.classes, *image.shape[-2:]), torch.float32)
        return self._run(image, out, None, mask, gate_factors)

    def labels(
        self, image: Tensor, out: Tensor, mask: Sequence[bool] | None = None, gate_factors: bool = False
    ) -> ImageResult:
        """As `logits`, but out: H×W uint8, the argmax; logits are held at a quarter of the size only."""
        if self.classes > 256:
            raise ValueError(f"{self.classes} classes do not fit uint8 labels: take the argmax of the logits.")
        _check("out", out, tuple(image.shape[-2:]), torch.uint8)
        return self._run(image, None, out, mask, gate_factors)

    def _run(
        self, image: Tensor, logits: Tensor | None, labels: Tensor | None, mask: Sequence[bool] | None, gates: bool
    ) -> ImageResult:
        if image.dim() != 3 or image.shape[0] != 3 or image.numel() == 0 or image.device.type != "cpu":
            raise ValueError(f"image of shape {tuple(image.shape)} on {image.device}: give 3×H×W on the CPU.")
        if mask is not None and len(mask) != self._paths:
            raise ValueError(f"{len(mask)} flags for {self._paths} paths.")
        pixels = (image if image.dtype == torch.uint8 else image.to(torch.float32)).contiguous()
        forced = None if mask is None else bytes(mask)
        result = ImageResult(
            torch.empty(self._paths, dtype=torch.float32, device="cpu"),
            torch.empty(self._cells, dtype=torch.uint8, device="cpu"),
        )
        self.call(
            "run",
            pixels.data_ptr(),
            pixels.dtype == torch.uint8,
            *pixels.shape[-2:],
            forced,
            gates,
            torch.get_num_threads(),
            None if logits is None else logits.data_ptr(),
            None if labels is None else labels.data_ptr(),
            result.factors.data_ptr(),
            result.states.data_ptr(),
        )
        return result

    def call(self, function: str, *arguments: object) -> None:
        """A function of `csrc/cpu/api.cpp` on this network; raises RuntimeError with its error's text."""
        if getattr(self._library, f"dynroute_{function}")(self._network, *arguments):
            raise RuntimeError(self._library.dynroute_error().decode())


def _check(name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if tuple(tensor.shape) != shape or tensor.dtype != dtype or not tensor.is_contiguous():
        raise ValueError(f"{name} of shape {tuple(tensor.shape)}, {tensor.dtype}: give {shape}, {dtype}, contiguous.")


def _fits(name: str, conv: ConvSpec, outputs: int, inputs: int, size: int) -> None:
    wanted = (outputs, inputs, size, size)
    if tuple(conv.weight.shape) != wanted or tuple(conv.bias.shape) != (outputs,):
        given = f"{tuple(conv.weight.shape)} and bias {tuple(conv.bias.shape)}"
        raise ValueError(f"{name}: weight {given}; give {wanted} and ({outputs},).")


def _pairs_fit(
    name: str, depthwise: Sequence[Tensor], pointwise: Sequence[ConvSpec], width: int, outputs: Sequence[int]
) -> None:
    for index, (deep, point) in enumerate(zip(depthwise, pointwise, strict=True)):
        if tuple(deep.shape) != (width, 1, 3, 3):
            raise ValueError(f"{name} depthwise {index}: weight {tuple(deep.shape)}; give {(width, 1, 3, 3)}.")
        _fits(f"{name} pointwise {index}", point, outputs[index], width, 1)


def _dense(conv: ConvSpec) -> tuple[Tensor, Tensor]:
    return conv.weight.permute(0, 2, 3, 1), conv.bias


def _pairs(depthwise: Sequence[Tensor], pointwise: Sequence[ConvSpec]) -> Iterator[Tensor]:
    for deep, point in zip(depthwise, pointwise, strict=True):
        yield deep
        yield from _dense(point)
