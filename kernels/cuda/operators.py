"""The CUDA operators as torch sees them: schema, checks, launch. `reference.py` says what each computes.

Maps are N×H×W×C, contiguous, C a multiple of 16, bfloat16 or float32; weights of 1×1 convolutions inputs × outputs of
the same type; biases, depthwise weights, sums and gate records float32. A gate record (N×4) holds a cell's factors of
keep, up and down as applied, and its state. Every operator writes into what it is given, waits for nothing, and leaves
images alone for which a record says that nothing is to be done. Lists, one entry per cell or path, go in one launch.

Raises ValueError where shapes, types or devices do not fit; RuntimeError where a launch fails.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dynroute_kernels.cuda import build as cuda_build
from dynroute_kernels.cuda.checks import (
    RECORD,
    check,
    check_count,
    check_map,
    check_out,
    check_same,
    check_weights,
    pointers,
    sizes,
)
from dynroute_kernels.cuda.checks import sources as source_records
from dynroute_kernels.cuda.problems import (
    MOST_PROBLEMS,
    Assemble,
    Decide,
    GateSums,
    Labels,
    Logits,
    Pointwise,
    Separable,
    Stem,
)

NAMESPACE = "dynroute_cuda"
TILE_ROWS = 128  # pixels of a block's tile (kTileRows)
MOST_SUM_ROWS = 128  # rows of a gate's sums: enough blocks to fill a GPU, few enough to add up
KEEP, UP, DOWN, STATE = range(RECORD)
OPEN, CLOSED, DEAD = 0, 1, 2
FREE, FORCED_ONES, FORCED_GATES = 0, 1, 2
SMALL_GATE_SHRINK = 4

SCHEMAS = {
    "separable": "(Tensor[] x, Tensor[] depthwise, Tensor[] weight, Tensor[] bias, Tensor[] gate, Tensor(a!)[] out,"
    " int stride, bool relu, bool accumulate) -> ()",
    "pointwise": "(Tensor[] x, Tensor[] weight, Tensor[] bias, Tensor[] gate, Tensor(a!)[] out, int[] slot,"
    " int[] stride) -> ()",
    "gate_sums": "(Tensor[] x, Tensor[] weight, Tensor[] bias, Tensor?[] sources, Tensor mode, Tensor(a!)[] sums,"
    " bool small) -> ()",
    "decide": "(Tensor?[] sums, Tensor?[] weight, Tensor?[] bias, Tensor?[] sources, Tensor mode, Tensor[] route,"
    " Tensor(a!)[] gate, int[] pixels, int[] paths) -> ()",
    "assemble": "(Tensor(a!)[] map, Tensor?[] down, Tensor?[] up, Tensor?[] sources) -> ()",
    "logits": "(Tensor x, Tensor weight, Tensor bias, Tensor(a!) out) -> ()",
    "stem": "(Tensor image, Tensor weight, Tensor bias, Tensor mean, Tensor(a!) out) -> ()",
    "labels": "(Tensor logits, Tensor(a!) out) -> ()",
}


@dataclass(frozen=True)
class Launch:
    """One call of an entry point; `like` says for how many images, of which type, and where."""

    entry: str
    like: Tensor
    problems: Sequence[ctypes.Structure]


def sum_rows(pixels: int) -> tuple[int, int]:
    """Rows of a gate's sums over so many pixels, and tiles of pixels per row."""
    tiles = -(-pixels // TILE_ROWS)
    per_row = -(-tiles // MOST_SUM_ROWS)
    return -(-tiles // per_row), per_row


def shrunk_size(height: int, width: int) -> tuple[int, int]:
    """The size at which a small gate looks at a map: a quarter of each side, at least 1."""
    return max(height // SMALL_GATE_SHRINK, 1), max(width // SMALL_GATE_SHRINK, 1)


def separable(
    x: Sequence[Tensor],
    depthwise: Sequence[Tensor],
    weight: Sequence[Tensor],
    bias: Sequence[Tensor],
    gate: Sequence[Tensor],
    out: Sequence[Tensor],
    stride: int,
    relu: bool,
    accumulate: bool,
) -> Launch:
    check(stride in (1, 2), f"stride={stride}: give 1 or 2.")
    check_count(x=x, depthwise=depthwise, weight=weight, bias=bias, gate=gate, out=out)
    problems = []
    for i, given in enumerate(x):
        images, _, _, channels = check_map("x", given)
        check_out(out[i], given, stride)
        check_weights(weight[i], bias[i], given, channels, out[i].shape[3])
        check_same("depthwise", depthwise[i], (9, channels), torch.float32, given)
        check_same("gate", gate[i], (images, RECORD), torch.float32, given)
        problem = Separable(*pointers(given, depthwise[i], weight[i], bias[i], gate[i], out[i]), *sizes(given, out[i]))
        problem.relu, problem.accumulate = relu, accumulate
        problems.append(problem)
    return Launch("separable" if stride == 1 else "separable_halving", x[0], problems)


def pointwise(
    x: Sequence[Tensor],
    weight: Sequence[Tensor],
    bias: Sequence[Tensor],
    gate: Sequence[Tensor],
    out: Sequence[Tensor],
    slot: Sequence[int],
    stride: Sequence[int],
) -> Launch:
    check_count(x=x, weight=weight, bias=bias, gate=gate, out=out, slot=slot, stride=stride)
    problems = []
    for i, given in enumerate(x):
        images, _, _, channels = check_map("x", given)
        check(slot[i] in (KEEP, UP, DOWN), f"slot={slot[i]}: give 0 (keep), 1 (up) or 2 (down).")
        check(stride[i] >= 1, f"stride={stride[i]}: give 1 or more.")
        check_out(out[i], given, stride[i])
        check_weights(weight[i], bias[i], given, channels, out[i].shape[3])
        check_same("gate", gate[i], (images, RECORD), torch.float32, given)
        problem = Pointwise(*pointers(given, weight[i], bias[i], gate[i], out[i]), *sizes(given, out[i]))
        problem.stride, problem.slot = stride[i], slot[i]
        problems.append(problem)
    return Launch("pointwise", x[0], problems)


def gate_sums(
    x: Sequence[Tensor],
    weight: Sequence[Tensor],
    bias: Sequence[Tensor],
    sources: Sequence[Tensor | None],
    mode: Tensor,
    sums: Sequence[Tensor],
    small: bool,
) -> Launch:
    check_count(x=x, weight=weight, bias=bias, sources=sources[::3], sums=sums)
    problems = []
    for i, given in enumerate(x):
        images, height, width, channels = check_map("x", given)
        outputs = weight[i].shape[-1]
        check_weights(weight[i], bias[i], given, channels, outputs)
        check_same("mode", mode, (1,), torch.int32, given)
        size = shrunk_size(height, width) if small else (height, width)
        rows, tiles = sum_rows(size[0] * size[1])
        check_same("sums", sums[i], (images, rows, outputs), torch.float32, given)
        problem = GateSums(*pointers(given, weight[i], bias[i]))
        problem.sources = source_records(sources[3 * i : 3 * i + 3], given)
        problem.mode, problem.sums = pointers(mode, sums[i])
        problem.in_height, problem.in_width, problem.height, problem.width = height, width, *size
        problem.channels, problem.outputs, problem.rows, problem.tiles_per_row = channels, outputs, rows, tiles
        if small:
            exact = min(height, width) >= SMALL_GATE_SHRINK  # then sampled at exactly 4 pixels a step, as released
            problem.step_down = SMALL_GATE_SHRINK if exact else height / size[0]
            problem.step_across = SMALL_GATE_SHRINK if exact else width / size[1]
        problems.append(problem)
    return Launch("gate_sums", x[0], problems)


def decide(
    sums: Sequence[Tensor | None],
    weight: Sequence[Tensor | None],
    bias: Sequence[Tensor | None],
    sources: Sequence[Tensor | None],
    mode: Tensor,
    route: Sequence[Tensor],
    gate: Sequence[Tensor],
    pixels: Sequence[int],
    paths: Sequence[int],
) -> Launch:
    check_count(
        sums=sums, weight=weight, bias=bias, sources=sources[::3], route=route, gate=gate, pixels=pixels, paths=paths
    )
    problems = []
    for i, record in enumerate(gate):
        images = len(record)
        check_same("gate", record, (images, RECORD), torch.float32, record)
        check_same("route", route[i], (images, RECORD), torch.uint8, record)
        check_same("mode", mode, (1,), torch.int32, record)
        check(pixels[i] >= 1 and 0 < paths[i] < 8, f"pixels={pixels[i]}, paths={paths[i]}: give ≥ 1 and bits 1 to 7.")
        problem = Decide()
        problem.mode, problem.route, problem.gate = pointers(mode, route[i], record)
        problem.sources = source_records(sources[3 * i : 3 * i + 3], record)
        problem.pixels, problem.paths = pixels[i], paths[i]
        total, second, offset = sums[i], weight[i], bias[i]
        if total is not None:
            assert second is not None and offset is not None
            check(total.dim() == 3, f"sums of shape {tuple(total.shape)}: give N × rows × inputs.")
            check_same("sums", total, (images, *total.shape[1:]), torch.float32, record)
            check_same("weight", second, (3, total.shape[2]), torch.float32, record)
            check_same("bias", offset, (3,), torch.float32, record)
            problem.sums, problem.weight, problem.bias = pointers(total, second, offset)
            problem.rows, problem.inputs = total.shape[1:]
        problems.append(problem)
    return Launch("decide", gate[0], problems)


def assemble(
    map: Sequence[Tensor],
    down: Sequence[Tensor | None],
    up: Sequence[Tensor | None],
    sources: Sequence[Tensor | None],
) -> Launch:
    check_count(map=map, down=down, up=up, sources=sources[::3])
    problems = []
    for i, given in enumerate(map):
        images, height, width, channels = check_map("map", given)
        coming, coarse = down[i], up[i]
        if coming is not None:
            check_same("down", coming, tuple(given.shape), given.dtype, given)
        if coarse is not None:
            check(height % 2 == 0 and width % 2 == 0, f"map of {height}×{width}: up needs even sides.")
            check_same("up", coarse, (images, height // 2, width // 2, channels), given.dtype, given)
        problem = Assemble(*pointers(given, coming, coarse))
        problem.sources = source_records(sources[3 * i : 3 * i + 3], given)
        problem.height, problem.width, problem.channels = height, width, channels
        problems.append(problem)
    return Launch("assemble", map[0], problems)


def logits(x: Tensor, weight: Tensor, bias: Tensor, out: Tensor) -> Launch:
    images, height, width, channels = check_map("x", x)
    check(out.dim() == 4, f"out of shape {tuple(out.shape)}: give N×K×H×W.")
    classes, columns = out.shape[1], weight.shape[-1]
    check(0 < classes <= columns, f"{classes} classes from {columns} columns of weights: give as many columns or more.")
    check_weights(weight, bias, x, 9 * channels, columns)
    check_same("out", out, (images, classes, height, width), torch.float32, x)
    problem = Logits(*pointers(x, weight, bias, out), height, width, channels, columns, classes)
    return Launch("logits", x, [problem])


def stem(image: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, out: Tensor) -> Launch:
    _, height, width, outputs = check_map("out", out)
    check(image.dim() == 4 and image.shape[1] == 3, f"image of shape {tuple(image.shape)}: give N×3×H×W.")
    check(image.dtype in (torch.uint8, torch.float32), f"image of {image.dtype}: give uint8 or float32.")
    check_same("image", image, (len(out), 3, *image.shape[2:]), image.dtype, out)
    check_weights(weight, bias, out, 32, outputs)
    check_same("mean", mean, (3,), torch.float32, out)
    problem = Stem(*pointers(image, weight, bias, mean, out), *image.shape[2:], height, width, outputs)
    problem.bytes = image.element_size()
    return Launch("stem", out, [problem])


def labels(logits: Tensor, out: Tensor) -> Launch:
    check(logits.dim() == 4 and out.dim() == 3, "give logits N×K×h×w and labels N×H×W.")
    images, classes, height, width = logits.shape
    check(0 < classes <= 256, f"{classes} classes: labels of one byte hold 1 to 256.")
    check_same("logits", logits, tuple(logits.shape), torch.float32, logits)
    check_same("out", out, (images, *out.shape[1:]), torch.uint8, logits)
    fits = 0 < out.shape[1] <= 4 * height and 0 < out.shape[2] <= 4 * width
    check(fits, f"labels of {tuple(out.shape[1:])} from logits of {height}×{width}: give up to four times each side.")
    problem = Labels(*pointers(logits, out), height, width, classes, *out.shape[1:])
    return Launch("labels", logits, [problem])


BUILDERS: dict[str, Callable[..., Launch]] = {
    "separable": separable,
    "pointwise": pointwise,
    "gate_sums": gate_sums,
    "decide": decide,
    "assemble": assemble,
    "logits": logits,
    "stem": stem,
    "labels": labels,
}


def _on_gpu(launch: Launch) -> None:
    device = launch.like.device
    with torch.cuda.device(device):
        code = _enter(cuda_build.gpu_library(), launch, torch.cuda.current_stream(device).cuda_stream)
        if code:
            raise RuntimeError(f"{launch.entry}: {cuda_build.gpu_library().dynroute_error(code).decode()}")


def _emulated(launch: Launch) -> None:
    if _enter(cuda_build.emulator_library(), launch, 0):
        raise RuntimeError(f"{launch.entry}: {cuda_build.emulator_library().dynroute_emulator_error().decode()}")


def _enter(kernels: ctypes.CDLL, launch: Launch, stream: int) -> int:
    count, like = len(launch.problems), launch.like
    array = (type(launch.problems[0]) * count)(*launch.problems)
    entry = getattr(kernels, f"dynroute_{launch.entry}")
    code: int = entry(array, count, len(like), like.dtype == torch.float32, stream)
    return code


def _operator(build: Callable[..., Launch], run: Callable[[Launch], None]) -> Callable[..., None]:
    def operator(*arguments: object, **named: object) -> None:
        launch = build(*arguments, **named)
        check(0 < len(launch.problems) <= MOST_PROBLEMS, f"{len(launch.problems)} cells: give 1 to {MOST_PROBLEMS}.")
        run(launch)

    return operator


def _nothing(_: Launch) -> None:
    """Of fake tensors: the checks have run, and there is nothing to give back."""


def emulate() -> None:
    """Runs the operators on CPU tensors from now on, through the emulator: to check them, not to be fast."""
    if EMULATED:
        return
    cuda_build.emulator_library()
    for name, build in BUILDERS.items():
        library.impl(name, _operator(build, _emulated), "CPU")
    EMULATED.append(True)


EMULATED: list[bool] = []  # registering twice is an error to torch
library = torch.library.Library(NAMESPACE, "DEF")
for _name, _build in BUILDERS.items():
    library.define(_name + SCHEMAS[_name])
    library.impl(_name, _operator(_build, _on_gpu), "CUDA")
    torch.library.register_fake(f"{NAMESPACE}::{_name}", _operator(_build, _nothing), lib=library)
