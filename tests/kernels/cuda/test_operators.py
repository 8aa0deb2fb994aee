"""The CUDA operators against their plain torch meaning in float64: on the CPU through the emulator, and on a GPU.

Inputs are fresh and random, surrounded by NaN; what an operator is to write is NaN before. The emulator runs a block's
threads in three orders, so that a missing barrier shows. It says nothing of speed, nor of races between blocks.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dynroute_kernels.cuda import operators as cuda_ops
from dynroute_kernels.cuda import reference as reference_cuda
from support import cuda_benches
from support.cuda_benches import Bench, assert_near, exact, guards_hold

device, bench, float_bench = cuda_benches.device, cuda_benches.bench, cuda_benches.float_bench  # fixtures
OPERATORS = torch.ops.dynroute_cuda
OPEN = (1.0, 1.0, 1.0, cuda_ops.OPEN)
SHUT = (1.0, 0.0, 0.0, cuda_ops.CLOSED)
DEAD = (0.0, 0.0, 0.0, cuda_ops.DEAD)
SIZES = [(1, 1), (2, 3), (31, 33), (16, 8)]


def layer(bench: Bench, inputs: int, outputs: int) -> tuple[Tensor, Tensor]:
    return bench.random(inputs, outputs, scale=inputs**-0.5), bench.random(outputs, dtype=torch.float32)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("inputs", "outputs"), [(16, 16), (80, 48), (64, 144)])
@pytest.mark.parametrize("size", SIZES)
def test_separable(bench, size, inputs, outputs, stride):
    x, depthwise = bench.random(3, *size, inputs), bench.random(9, inputs, scale=1 / 3, dtype=torch.float32)
    weight, bias = layer(bench, inputs, outputs)
    gate = bench.records([OPEN, SHUT, OPEN])
    out = bench.random(3, -(-size[0] // stride), -(-size[1] // stride), outputs)
    for relu, accumulate in ((True, False), (True, True), (False, True)):
        operands = exact(x, depthwise, weight, bias, gate, out)
        wanted = reference_cuda.separable(*operands, stride, relu=relu, accumulate=accumulate)
        OPERATORS.separable([x], [depthwise], [weight], [bias], [gate], [out], stride, relu, accumulate)
        assert_near(out, wanted)
        assert torch.equal(out[1].double().cpu(), wanted[1])  # the closed cell's map is not touched
        assert guards_hold(out)


def test_several_cells_in_one_launch(bench):
    """Four cells of a layer, each with its own size, width and states."""
    shapes = [(3, 5, 144), (6, 10, 80), (12, 20, 32), (24, 40, 16)]
    x = [bench.random(2, *shape) for shape in shapes]
    depthwise = [bench.random(9, shape[2], scale=1 / 3, dtype=torch.float32) for shape in shapes]
    layers = [layer(bench, shape[2], shape[2]) for shape in shapes]
    weight, bias = [one for one, _ in layers], [one for _, one in layers]
    gate = [bench.records(rows) for rows in ([OPEN, OPEN], [OPEN, SHUT], [DEAD, DEAD], [DEAD, OPEN])]
    out = [bench.random(2, *shape) for shape in shapes]
    operands = [exact(*row) for row in zip(x, depthwise, weight, bias, gate, out, strict=True)]
    wanted = [reference_cuda.separable(*row, relu=True, accumulate=False) for row in operands]
    OPERATORS.separable(x, depthwise, weight, bias, gate, out, 1, True, False)
    for found, right in zip(out, wanted, strict=True):
        assert_near(found, right)
        assert guards_hold(found)


@pytest.mark.parametrize(("inputs", "outputs"), [(16, 32), (144, 80), (96, 192)])
@pytest.mark.parametrize("size", SIZES)
def test_pointwise(bench, size, inputs, outputs):
    """Down, strided, and up in one launch; an image whose path is closed keeps its NaN."""
    x, (weight, bias) = bench.random(3, *size, inputs), layer(bench, inputs, outputs)
    gate = bench.records([(0.7, 0.0, 0.4, cuda_ops.OPEN), (0.0, 0.9, 0.0, cuda_ops.OPEN), SHUT])
    down = bench.poisoned(3, -(-size[0] // 2), -(-size[1] // 2), outputs)
    up = bench.poisoned(3, *size, outputs)
    OPERATORS.pointwise([x, x], [weight] * 2, [bias] * 2, [gate] * 2, [down, up], [cuda_ops.DOWN, cuda_ops.UP], [2, 1])
    for out, slot, stride, runs in ((down, cuda_ops.DOWN, 2, 0), (up, cuda_ops.UP, 1, 1)):
        wanted = reference_cuda.pointwise(*exact(x, weight, bias, gate, out), slot, stride)
        assert_near(out[runs], wanted[runs])
        assert all(out[image].isnan().all() for image in range(3) if image != runs)
        assert guards_hold(out)


@pytest.mark.parametrize("small", [False, True], ids=["full", "small"])
@pytest.mark.parametrize(("inputs", "outputs"), [(16, 16), (80, 48), (144, 144)])
@pytest.mark.parametrize("size", [*SIZES, (2, 66), (40, 37)])
def test_gate_sums(bench, size, inputs, outputs, small):
    x, (weight, bias) = bench.random(2, *size, inputs), layer(bench, inputs, outputs)
    mode = bench.guarded(torch.tensor([cuda_ops.FREE]), torch.int32)
    seen = cuda_ops.shrunk_size(*size) if small else size
    sums = bench.poisoned(2, cuda_ops.sum_rows(seen[0] * seen[1])[0], outputs, dtype=torch.float32)
    keep = bench.records([SHUT, DEAD])
    OPERATORS.gate_sums([x], [weight], [bias], [None, keep, None], mode, [sums], small)
    wanted = reference_cuda.gate_sums(*exact(x, weight, bias), small=small)
    found = sums[0].double().cpu().sum(0)
    count = seen[0] * seen[1]
    # As `assert_near`; here errors of `count` pixels add up.
    tolerance = (2e-6 if bench.dtype == torch.float32 else 2**-7) * count * 5
    assert (found - wanted[0]).abs().max() <= tolerance
    assert sums[1].isnan().all() and guards_hold(sums)


def test_gate_sums_many_tiles_per_row(float_bench):
    """More tiles of pixels than rows of sums: 16 513 pixels are 130 tiles, two to a row, and the last has one pixel."""
    bench = float_bench
    x, (weight, bias) = bench.random(1, 1, 16513, 16), layer(bench, 16, 16)
    assert cuda_ops.sum_rows(16513) == (65, 2)
    sums = bench.poisoned(1, 65, 16, dtype=torch.float32)
    mode = bench.guarded(torch.tensor([cuda_ops.FREE]), torch.int32)
    OPERATORS.gate_sums([x], [weight], [bias], [None, bench.records([OPEN]), None], mode, [sums], False)
    wanted = reference_cuda.gate_sums(*exact(x, weight, bias), small=False)
    assert ((sums.double().cpu().sum(1) - wanted).abs() <= 1e-6 * wanted).all()


# Of one image each: what comes down, is kept and comes up.
ARRIVALS = [(OPEN, OPEN, OPEN), (DEAD, SHUT, DEAD), (DEAD, DEAD, OPEN), (SHUT, DEAD, SHUT), (OPEN, DEAD, DEAD)]
FORCED_SHUT = (0.0, 0.0, 0.0, cuda_ops.CLOSED)  # sends nothing, not even its input


def sources_of(bench: Bench, rows) -> list[Tensor]:
    return [bench.records([row[k] for row in rows]) for k in range(3)]


@pytest.mark.parametrize("gated", [True, False], ids=["gate", "no-gate"])
@pytest.mark.parametrize("mode", [cuda_ops.FREE, cuda_ops.FORCED_ONES, cuda_ops.FORCED_GATES])
@pytest.mark.parametrize("paths", [0b001, 0b101, 0b111, 0b110])
def test_decide(float_bench, gated, mode, paths):
    bench = float_bench
    rows = [*ARRIVALS, (DEAD, FORCED_SHUT, DEAD)] * 3
    images, inputs, count = len(rows), 80, 77
    sources = sources_of(bench, rows)
    total, weight = bench.random(images, 5, inputs).abs_(), bench.random(3, inputs, scale=0.5)
    bias = bench.random(3)
    route = bench.guarded(torch.randint(0, 2, (images, 4)), torch.uint8)
    gate = bench.poisoned(images, 4)
    word = bench.guarded(torch.tensor([mode]), torch.int32)
    learned = [[total], [weight], [bias]] if gated else [[None]] * 3
    OPERATORS.decide(*learned, sources, word, [route], [gate], [count], [paths])
    summed = exact(total)[0].sum(1) if gated else None
    wanted = reference_cuda.decide(summed, *exact(weight, bias), exact(*sources), mode, route.cpu(), count, paths)
    assert torch.equal(gate[:, 3].double().cpu(), wanted[:, 3])
    assert_near(gate, wanted)
    assert guards_hold(gate)


def test_decide_reaches_every_state(float_bench):
    """The reference and the kernel agree above; here that a sample of factors is open, closed and dead at all."""
    bench = float_bench
    sources = sources_of(bench, [(DEAD, OPEN, DEAD), (DEAD, OPEN, DEAD), (DEAD, DEAD, DEAD)])
    total = bench.guarded(torch.tensor([1.0, -1.0, 1.0]).view(3, 1, 1).expand(3, 1, 16))
    weight, bias = bench.guarded(torch.full((3, 16), 1 / 16)), bench.guarded(torch.zeros(3))
    gate = bench.poisoned(3, 4)
    word, route = bench.guarded(torch.tensor([0]), torch.int32), bench.poisoned(3, 4, dtype=torch.uint8)
    OPERATORS.decide([total], [weight], [bias], sources, word, [route], [gate], [1], [0b111])
    assert gate[:, 3].tolist() == [cuda_ops.OPEN, cuda_ops.CLOSED, cuda_ops.DEAD]
    assert gate[1].tolist() == [1, 0, 0, cuda_ops.CLOSED]
    torch.testing.assert_close(gate[0, :3].cpu(), torch.full((3,), 1.0).tanh(), rtol=1e-6, atol=0)  # one rounding


@pytest.mark.parametrize("channels", [16, 80])
@pytest.mark.parametrize("half", [(1, 1), (1, 3), (16, 17)])
def test_assemble(bench, half, channels):
    """Sources that send nothing hold NaN: they must not be read."""
    size = (2 * half[0], 2 * half[1])
    passing = (0.5, 0.0, 0.25, cuda_ops.OPEN)
    rows = [*ARRIVALS, (passing, passing, passing), (DEAD, FORCED_SHUT, OPEN)]
    sources = sources_of(bench, rows)
    images = len(rows)
    map, down, up = (bench.poisoned(images, *side, channels) for side in (size, size, half))
    for image, (from_down, from_keep, from_up) in enumerate(rows):
        map[image] = torch.randn(*size, channels) if from_keep[0] > 0 else torch.nan
        down[image] = torch.randn(*size, channels) if from_down[2] > 0 else torch.nan
        up[image] = torch.randn(*half, channels) if from_up[1] > 0 else torch.nan
    wanted = reference_cuda.assemble(*exact(map, down, up), exact(*sources))
    OPERATORS.assemble([map], [down], [up], sources)
    nothing = [image for image, row in enumerate(rows) if row == (SHUT, DEAD, SHUT)]
    assert all(map[image].isnan().all() for image in nothing)
    some = [image for image in range(images) if image not in nothing]
    for image in some:
        assert_near(map[image], wanted[image])
    assert guards_hold(map)


def test_assemble_zeros(bench):
    """Open cells that send only zeros, and paths that the space lacks, make a map of zeros."""
    silent = (0.0, 0.5, 0.0, cuda_ops.OPEN)
    map, down = bench.poisoned(1, 2, 6, 16), bench.poisoned(1, 2, 6, 16)
    OPERATORS.assemble([map], [down], [None], [bench.records([silent]), bench.records([silent]), None])
    assert (map == 0).all() and guards_hold(map)
    alone = bench.poisoned(1, 2, 6, 16)
    OPERATORS.assemble([alone], [None], [None], [bench.records([OPEN]), None, None])
    assert (alone == 0).all()
