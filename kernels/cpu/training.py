"""A training step's network in C++: forward, cross-entropy and backward on flat buffers, and the optimizer's update.

Imports torch and nothing of the core. What the passes read, keep and compute again: `csrc/cpu/training/README.md`. The
same bits for every number of threads and every instruction set.

Shapes: N images of H×W; C' = C·2^scale channels of a cell; K classes; P paths in all; h×w a quarter of the padded H×W.
"""

from __future__ import annotations

import ctypes
import functools
import os
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from dynroute_kernels.cache import BuildError
from dynroute_kernels.cpu import build
from dynroute_kernels.cpu.network import ISA_VARIABLE

PART = build.Part(
    "step",
    ("training/*.cpp", "pool.cpp", "memory.cpp"),
    ("training/*.h", "pool.h", "memory.h"),
    ("-ffp-contract=off", "-fno-math-errno"),  # what is fused is written: see simd.h
)
PATHS = ("keep", "up", "down")
GATES = ("none", "full", "small")
DTYPES = (torch.float32, torch.float64)
ALIGNMENT = 16  # elements: where tensors begin in a flat buffer; a whole vector of every instruction set


@dataclass(frozen=True)
class StepCell:
    """A cell and the paths that leave it, in the order of its gate's outputs."""

    layer: int
    scale: int
    paths: tuple[Literal["keep", "up", "down"], ...]


@dataclass(frozen=True)
class StepSpec:
    """A network and the batches it is trained on. parameters, statistics: where each tensor begins in its flat buffer,
    in the order of `csrc/cpu/training/network.h`. mean: of the pixels, BGR. epsilon: of the batch norms."""

    images: int
    height: int
    width: int
    channels: int
    stem_channels: int
    classes: int
    head_scales: int
    gate: Literal["none", "full", "small"]
    cells: tuple[StepCell, ...]
    parameters: tuple[int, ...]
    statistics: tuple[int, ...]
    mean: tuple[float, float, float]
    epsilon: float

    @property
    def path_count(self) -> int:
        return sum(len(cell.paths) for cell in self.cells)

    @property
    def quarter(self) -> tuple[int, int]:
        """h, w: of the logits."""
        return -(-self.height // 32) * 8, -(-self.width // 32) * 8


@dataclass(frozen=True)
class Pass:
    """What a forward pass gives. logits: N×h×w×K; factors: N×P, as applied; open: N×cells, bool."""

    logits: Tensor
    factors: Tensor
    open: Tensor


class TrainingStep:
    """`spec` compiled for this processor, in float32 or float64. One batch at a time: `backward` follows its `forward`.

    Raises ValueError for another dtype and where a batch norm would see a single value, `BuildError` where the kernels
    cannot be compiled or the instruction set named in DYNROUTE_ISA is not to be had.
    """

    def __init__(self, spec: StepSpec, dtype: torch.dtype) -> None:
        _require_dtype(dtype)
        coarsest = spec.quarter[0] // 8, spec.quarter[1] // 8
        if spec.gate == "small":
            coarsest = max(coarsest[0] // 4, 1), max(coarsest[1] // 4, 1)
        if spec.images * coarsest[0] * coarsest[1] < 2:
            raise ValueError(
                f"{spec.images} image of {spec.height}x{spec.width} leaves batch norm a single value: give more images."
            )
        self.spec, self.dtype, self.isa = spec, dtype, isa()
        self._library = library()
        sizes = (
            *(spec.images, spec.height, spec.width, spec.channels, spec.stem_channels, spec.classes, spec.head_scales),
            *(GATES.index(spec.gate), len(spec.cells), spec.path_count, len(spec.parameters), len(spec.statistics)),
        )
        cells = [
            number
            for cell in spec.cells
            for number in (
                *(cell.layer, cell.scale),
                *(cell.paths.index(path) if path in cell.paths else -1 for path in PATHS),
            )
        ]
        self._step = self._library.dynroute_step_create(
            self.isa.encode(),
            dtype == torch.float64,
            *(_integers(values) for values in (sizes, cells, spec.parameters, spec.statistics)),
            _doubles(spec.mean),
            spec.epsilon,
        )
        if not self._step:
            raise RuntimeError(self._library.dynroute_step_error().decode())
        weakref.finalize(self, self._library.dynroute_step_destroy, self._step)

    @property
    def bytes(self) -> int:
        """Of the blocks that hold every map and what threads work with."""
        return int(self._library.dynroute_step_bytes(self._step))

    def forward(
        self,
        images: Tensor,
        parameters: Tensor,
        statistics: Tensor,
        *,
        momentum: float,
        forced: Tensor | None = None,
        gate_factors: bool = False,
        drop: Tensor | None = None,
    ) -> Pass:
        """images: N×3×H×W, uint8 or the dtype, of any strides. statistics: moved towards the batch's by `momentum`.

        forced: N×P, bool, the paths of forced routes; their factors are 1, or the gates'. drop: cells×N, what each
        cell's operation is multiplied by.
        """
        spec = self.spec
        shape = (spec.images, 3, spec.height, spec.width)
        if tuple(images.shape) != shape or images.dtype not in (torch.uint8, self.dtype):
            given = f"images {tuple(images.shape)}, {images.dtype}"
            raise ValueError(f"{given}: give {shape}, torch.uint8 or {self.dtype}.")
        logits = torch.empty(spec.images, *spec.quarter, spec.classes, dtype=self.dtype, device="cpu")
        factors = torch.empty(spec.images, spec.path_count, dtype=self.dtype, device="cpu")
        opened = torch.empty(spec.images, len(spec.cells), dtype=torch.bool, device="cpu")
        self._call(
            "forward",
            images.data_ptr(),
            images.dtype == torch.uint8,
            _integers(images.stride()),
            self._flat(parameters),
            self._flat(statistics),
            momentum,
            None if forced is None else _pointer(forced, torch.bool, (spec.images, spec.path_count)),
            gate_factors,
            None if drop is None else _pointer(drop, self.dtype, (len(spec.cells), spec.images)),
            logits.data_ptr(),
            factors.data_ptr(),
            opened.data_ptr(),
        )
        return Pass(logits, factors, opened)

    def backward(self, logits: Tensor, factors: Tensor | None, gradient: Tensor) -> None:
        """From the gradients of the last forward's logits and factors to the parameters', written to `gradient`."""
        spec = self.spec
        self._call(
            "backward",
            _pointer(logits, self.dtype, (spec.images, *spec.quarter, spec.classes)),
            None if factors is None else _pointer(factors, self.dtype, (spec.images, spec.path_count)),
            self._flat(gradient),
        )

    def cross_entropy(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> tuple[float, Tensor]:
        """The sum over pixels of the cross-entropy of the logits (N×h×w×K) enlarged ×4 and cropped, and its gradient.

        labels: N×H×W uint8; 255 is left out. weights: K, of the classes. Raises RuntimeError for other labels.
        """
        spec = self.spec
        gradient, loss = torch.empty_like(logits), ctypes.c_double()
        self._call(
            "cross_entropy",
            _pointer(logits, self.dtype, (spec.images, *spec.quarter, spec.classes)),
            _pointer(labels, torch.uint8, (spec.images, spec.height, spec.width)),
            None if weights is None else _pointer(weights, self.dtype, (spec.classes,)),
            gradient.data_ptr(),
            ctypes.byref(loss),
        )
        return loss.value, gradient

    def _flat(self, values: Tensor) -> int:
        return _pointer(values, self.dtype, tuple(values.shape[:1]))

    def _call(self, function: str, *arguments: object) -> None:
        _call(self._library, function, self._step, torch.get_num_threads(), *arguments)


def squares(values: Tensor) -> float:
    """The sum of squares of a vector, in double precision."""
    found = ctypes.c_double()
    _with_type("squares", values.dtype, *_pointers((values,)), len(values), ctypes.byref(found))
    return found.value


def scaled(values: Tensor, factor: float) -> Tensor:
    """factor·values, contiguous ones of any shape. torch's own would leave a thread looking for more: see `zeros`."""
    assert values.is_contiguous()
    out = torch.empty_like(values)
    _with_type("scaled", values.dtype, values.data_ptr(), values.numel(), factor, out.data_ptr())
    return out


def zeros(count: int, dtype: torch.dtype) -> Tensor:
    """A vector of zeros without torch's threads: after each operation OpenMP's look for more, for milliseconds, and
    take a core from the step's own."""
    return torch.frombuffer(bytearray(count * dtype.itemsize), dtype=dtype)


@dataclass(frozen=True)
class Spans:
    """The tensors of a flat buffer: first elements and lengths, each with its weight decay and its learning rate."""

    firsts: Sequence[int]
    counts: Sequence[int]
    decays: Sequence[float]
    rates: Sequence[float]


def update(
    parameters: Tensor, gradient: Tensor, momenta: Tensor, spans: Spans, *, momentum: float, scale: float
) -> None:
    """SGD in place: momenta ← momentum·momenta + gradient·scale + decay·parameters; parameters ← … - rate·momenta."""
    _by_spans("update", spans, (parameters, gradient, momenta), momentum, scale)


def update_adamw(
    parameters: Tensor, gradient: Tensor, first: Tensor, second: Tensor, spans: Spans, *,
    step: int, betas: tuple[float, float], epsilon: float, scale: float,
) -> None:  # fmt: skip
    """AdamW in place, as torch's, of gradient·scale: parameters lose rate·decay of themselves first.

    first, second: the moments so far. step: which one this is, from 1.
    """
    assert step >= 1 and epsilon > 0, (step, epsilon)
    _by_spans("update_adamw", spans, (parameters, gradient, first, second), _doubles((*betas, epsilon, scale)), step)


def average(averaged: Tensor, parameters: Tensor, *, keep: float) -> None:
    """In place: averaged ← keep·averaged + (1 - keep)·parameters, over whole flat buffers."""
    count = len(parameters)
    assert count % ALIGNMENT == 0, count
    _with_type("average", parameters.dtype, *_pointers((averaged, parameters)), count, keep)


def peak_macs() -> float:
    """float32 multiply-accumulates a second of one core, in registers: the best of twenty tries, each of a few ms."""
    name, rounds, best = isa().encode(), 1_000_000, 0.0
    for _ in range(20):
        begin, done = time.perf_counter(), library().dynroute_step_multiply_adds(name, rounds)
        best = max(best, done / (time.perf_counter() - begin))
    return best


def isa() -> str:
    """The instruction set that runs; raises BuildError where the one named in DYNROUTE_ISA is not to be had."""
    wanted = os.environ.get(ISA_VARIABLE, "").removesuffix("_bf16")  # the step has no bfloat16: float32's is AVX-512's
    found = library().dynroute_step_isa(wanted.encode())
    if found is None:
        raise BuildError(f"{ISA_VARIABLE}={wanted}: not compiled in, or not in this processor.")
    return str(found.decode())


@functools.cache
def library() -> ctypes.CDLL:
    """The step's library, compiled if need be, with the types of its functions. Raises BuildError."""
    loaded = build.load(PART)
    pointer, integer, long, double = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_double
    images, typed, spans = (pointer, integer, pointer), (ctypes.c_char_p, integer, integer), (*[pointer] * 3, integer)
    for name, result, arguments in (
        ("error", ctypes.c_char_p, ()),
        ("isa", ctypes.c_char_p, (ctypes.c_char_p,)),
        ("create", pointer, (ctypes.c_char_p, integer, *[pointer] * 5, double)),
        ("destroy", None, (pointer,)),
        ("bytes", long, (pointer,)),
        ("forward", integer, (pointer, integer, *images, *[pointer] * 2, double, pointer, integer, *[pointer] * 4)),
        ("backward", integer, (pointer, integer, *[pointer] * 3)),
        ("cross_entropy", integer, (pointer, integer, *[pointer] * 5)),
        ("multiply_adds", long, (ctypes.c_char_p, long)),
        ("scaled", integer, (*typed, pointer, long, double, pointer)),
        ("squares", integer, (*typed, pointer, long, pointer)),
        ("update", integer, (*typed, *spans, *[pointer] * 3, double, double)),
        ("update_adamw", integer, (*typed, *spans, *[pointer] * 5, long)),
        ("average", integer, (*typed, pointer, pointer, long, double)),
    ):
        function = getattr(loaded, f"dynroute_step_{name}")
        function.restype, function.argtypes = result, list(arguments)
    return loaded


def _call(library: ctypes.CDLL, function: str, *arguments: object) -> None:
    if getattr(library, f"dynroute_step_{function}")(*arguments):
        raise RuntimeError(library.dynroute_step_error().decode())


def _with_type(function: str, dtype: torch.dtype, *arguments: object) -> None:
    """Calls what is no step's: the instruction set, the type and the threads come first."""
    _require_dtype(dtype)
    _call(library(), function, isa().encode(), dtype == torch.float64, torch.get_num_threads(), *arguments)


def _by_spans(function: str, spans: Spans, buffers: tuple[Tensor, ...], *arguments: object) -> None:
    firsts_counts = [number for pair in zip(spans.firsts, spans.counts, strict=True) for number in pair]
    _with_type(
        function, buffers[0].dtype, _integers(firsts_counts), _doubles(spans.decays), _doubles(spans.rates),
        len(spans.firsts), *_pointers(buffers), *arguments,
    )  # fmt: skip


def _doubles(values: Sequence[float]) -> ctypes.Array[ctypes.c_double]:
    return (ctypes.c_double * len(values))(*values)


def _integers(values: Sequence[int]) -> ctypes.Array[ctypes.c_int64]:
    return (ctypes.c_int64 * len(values))(*values)


def _pointers(buffers: Sequence[Tensor]) -> list[int]:
    """Of flat buffers that are all alike."""
    return [_pointer(values, buffers[0].dtype, (len(buffers[0]),)) for values in buffers]


def _pointer(values: Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> int:
    assert values.dtype == dtype and tuple(values.shape) == shape, (values.dtype, values.shape)
    assert values.is_contiguous()
    return values.data_ptr()


def _require_dtype(dtype: torch.dtype) -> None:
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype}: the compiled step has torch.float32 and torch.float64.")
