"""Each compiled operation by itself equals its plain-torch meaning in kernels/cpu/reference.py."""

from __future__ import annotations

import itertools
from functools import cache

import pytest
import torch

from dynroute_core import Segmenter
from dynroute_core.engine.backend import folded
from dynroute_core.engine.network_spec import network_spec
from dynroute_core.space import Cell
from dynroute_kernels import NativeNetwork, NetworkSpec
from dynroute_kernels.cpu import build, reference
from dynroute_kernels.cpu.single_operation import Alone
from support.sample_engine import relative
from support.sample_models import images, mixed_model, small_config

pytestmark = pytest.mark.skipif(
    build.built() is None and bool(build.missing()), reason=f"not compiled, and no {' nor '.join(build.missing())}"
)

# Sums in another order, a few ulp; bfloat16 holds eight bits, and an operation rounds a few times.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 0.03}
LAYER = 2  # whose cells have every path that their scale allows
SIZES = [(32, 32), (96, 160), (352, 64)]


@pytest.fixture(params=TOLERANCE, ids=str)
def dtype(request):
    return request.param


@pytest.fixture(params=["full", "small"])
def gate(request):
    return request.param


@cache
def network(gate: str) -> tuple[Segmenter, NetworkSpec]:
    model = mixed_model(small_config(layers=4, channels=8, gate=gate), seed=9).float()
    for scale in range(4):  # gates that are open, and not so far that tanh is flat
        factors = model.cell(Cell(LAYER, scale)).gate.factors
        torch.nn.init.uniform_(factors.weight, 0, 0.2)
        torch.nn.init.constant_(factors.bias, 0.1)
    return model, network_spec(folded(model, torch.float32))


class Case:
    """A network, its operations alone, and random maps in the network's dtype."""

    def __init__(self, dtype: torch.dtype, size: tuple[int, int], gate: str = "full") -> None:
        self.model, self.spec = network(gate)
        self.dtype, self.size = dtype, size
        self.alone = Alone(NativeNetwork(self.spec, dtype), self.spec, *size)

    def cell(self, scale: int) -> int:
        return self.model.space.cells.index(Cell(LAYER, scale))

    def map(self, scale: int, *, coarser: int = 0) -> torch.Tensor:
        height, width = (side // 4 >> scale >> coarser for side in self.size)
        return torch.randn(1, self.spec.channels << scale, height, width).to(self.dtype).float()

    def near(self, ours: torch.Tensor, theirs: torch.Tensor) -> bool:
        assert ours.shape == theirs.shape
        return relative(ours.float(), theirs) < TOLERANCE[self.dtype]


@pytest.mark.parametrize("size", SIZES)
def test_stem(dtype, size):
    case, image = Case(dtype, size), images(1, *size)[0]
    case.alone.stem(image)
    assert case.near(case.alone.read("x", 0), reference.stem(image.float(), case.spec.mean, case.spec.stem))


@pytest.mark.parametrize("scale", range(4))
def test_arrival(dtype, scale):
    case = Case(dtype, (96, 160))
    maps = {"keep": case.map(scale)}
    if scale > 0:
        maps["down"] = case.map(scale)
    if scale < 3:
        maps["up"] = case.map(scale, coarser=1)
    names = {"keep": "x", "down": "down", "up": "up"}
    for count in range(1, len(maps) + 1):
        for came in itertools.combinations(maps, count):
            for path, values in maps.items():
                case.alone.fill(names[path], scale, values)
            factors = case.alone.arrive(case.cell(scale), came, gated=False)
            theirs = reference.arrive(*(maps[path] if path in came else None for path in ("keep", "down", "up")))
            assert case.near(case.alone.read("x", scale), theirs), came
            assert factors.tolist() == [1.0] * len(factors)


@pytest.mark.parametrize("scale", range(4))
@pytest.mark.parametrize("size", SIZES)
def test_gates(dtype, scale, size, gate):
    case = Case(dtype, size, gate)
    cell, x = case.cell(scale), case.map(scale)
    case.alone.fill("x", scale, x)
    spec = case.spec.cells[cell]
    theirs = reference.gate(x, spec.gate, small=gate == "small")
    ours = case.alone.arrive(cell, ["keep"], gated=True)
    assert theirs.min() > 0 and theirs.max() < 0.99
    torch.testing.assert_close(ours, theirs, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("scale", range(4))
@pytest.mark.parametrize("size", SIZES)
def test_a_cell_and_what_it_sends(dtype, scale, size):
    case = Case(dtype, size)
    cell, x = case.cell(scale), case.map(scale)
    spec = case.spec.cells[cell]
    h = reference.cell(x, spec)
    factors = dict(zip(spec.paths, (0.7, 0.4, 0.9), strict=False))
    to = {"keep": ("x", scale), "up": ("up", scale - 1), "down": ("down", scale + 1)}
    for count in range(1, len(factors) + 1):
        for paths in itertools.combinations(factors, count):
            case.alone.fill("x", scale, x)
            case.alone.cell(cell, {path: factors[path] for path in paths})
            for path in paths:
                theirs = reference.send(h, spec, path, torch.tensor(factors[path]))
                assert case.near(case.alone.read(*to[path]), theirs), (paths, path)


@pytest.mark.parametrize("scale", range(4))
def test_a_path_by_itself(dtype, scale):
    case = Case(dtype, (96, 160))
    cell, h = case.cell(scale), case.map(scale).relu()
    case.alone.fill("x", scale, h)
    spec = case.spec.cells[cell]
    for path in set(spec.paths) - {"keep"}:
        case.alone.send(cell, path, 0.4)
        ours = case.alone.read(path, scale + reference.STEPS[path])
        assert case.near(ours, reference.send(h, spec, path, torch.tensor(0.4)))
    with pytest.raises(RuntimeError, match="no such path"):
        case.alone.send(cell, "keep", 0.4)


def test_head_and_enlargement(dtype):
    case = Case(dtype, (96, 160))
    features = [case.map(scale) for scale in range(4)]
    for scale, feature in enumerate(features):
        case.alone.fill("x", scale, feature)
    quarter = torch.empty(case.spec.classes, 24, 40)
    case.alone.head(quarter)
    assert case.near(quarter[None], reference.head(features, case.spec.head))
    quarter.normal_()
    case.alone.give(quarter)
    logits, labels = torch.empty(case.spec.classes, 96, 160), torch.empty(96, 160, dtype=torch.uint8)
    case.alone.enlarge(logits)
    case.alone.enlarge(labels)
    assert relative(logits, reference.enlarge(quarter[None], 4)[0]) < TOLERANCE[torch.float32]
    assert torch.equal(labels, logits.argmax(0))


def test_what_does_not_fit_is_refused():
    case = Case(torch.float32, (32, 32))
    with pytest.raises(ValueError, match="multiples of 32"):
        Alone(NativeNetwork(case.spec), case.spec, 33, 32)
    with pytest.raises(ValueError, match="1×C'×H×W"):
        case.alone.fill("x", 1, case.map(0))
    with pytest.raises(RuntimeError, match="no such map"):
        case.alone.fill("down", 0, case.map(0))
    with pytest.raises(ValueError, match="cell 99"):
        case.alone.cell(99, {})
    with pytest.raises(ValueError, match="K×H×W"):
        case.alone.enlarge(torch.empty(1))
    with pytest.raises(ValueError, match=r"torch\.float32"):
        case.alone.head(torch.empty(1))
    with pytest.raises(ValueError, match="logits of shape"):
        case.alone.give(torch.empty(1))
    with pytest.raises(ValueError, match="image of shape"):
        case.alone.stem(torch.empty(3, 32, 31))
