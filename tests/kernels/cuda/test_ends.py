"""The CUDA operators at the network's ends: stem, predictor, labels. What all operators refuse; their schemas."""

from __future__ import annotations

import pytest
import torch

from dynroute_kernels.cuda import operators as cuda_ops
from dynroute_kernels.cuda import reference as reference_cuda
from support import cuda_benches
from support.cuda_benches import assert_near, emulator, exact, guards_hold

device, bench, float_bench = cuda_benches.device, cuda_benches.bench, cuda_benches.float_bench  # fixtures
OPERATORS = torch.ops.dynroute_cuda


@pytest.mark.parametrize("classes", [1, 2, 19, 33])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (13, 33)])
def test_logits(bench, size, classes):
    """Planar, float32, and only the classes that there are: the weights' columns are padded to 16."""
    columns = -(-classes // 16) * 16
    x, weight = bench.random(2, *size, 48), bench.random(9 * 48, columns, scale=(9 * 48) ** -0.5)
    bias = bench.random(columns, dtype=torch.float32)
    out = bench.poisoned(2, classes, *size, dtype=torch.float32)
    OPERATORS.logits(x, weight, bias, out)
    # Inputs are exact in both, and sums float32: float32's tolerance holds for bf16 too.
    assert_near(out, reference_cuda.logits(*exact(x, weight, bias), classes))
    assert guards_hold(out)


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32], ids=["bytes", "floats"])
@pytest.mark.parametrize("outputs", [16, 80])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 2), (31, 33), (32, 64)])
def test_stem(bench, height, width, outputs, kind):
    """Images as they are given; what they lack to a multiple of 32 is zeros after the mean is taken off."""
    image = bench.guarded(torch.randint(0, 256, (2, 3, height, width)), kind)
    weight = bench.random(32, outputs, scale=1 / 300)
    weight[27:] = 0
    bias, mean = (
        bench.random(outputs, dtype=torch.float32),
        bench.guarded(torch.tensor([100.0, 110, 120]), torch.float32),
    )
    out = bench.poisoned(2, *((-(-side // 32) * 32 - 3) // 2 + 1 for side in (height, width)), outputs)
    OPERATORS.stem(image, weight, bias, mean, out)
    assert_near(out, reference_cuda.stem(*exact(image, weight, bias, mean), tuple(out.shape[1:3])))
    assert guards_hold(out)


@pytest.mark.parametrize("classes", [1, 2, 19, 256])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 31), (33, 128), (4, 257)])
def test_labels(float_bench, height, width, classes):
    logits = float_bench.random(2, classes, -(-height // 4) + 1, -(-width // 4))
    out = float_bench.poisoned(2, height, width, dtype=torch.uint8)
    OPERATORS.labels(logits, out)
    exactly = exact(logits)[0]
    large = torch.nn.functional.interpolate(exactly, scale_factor=4, mode="bilinear")[..., :height, :width]
    # float32 may see two logits that lie within its rounding in the other order.
    chosen = large.gather(1, out.long().cpu().unsqueeze(1))[:, 0]
    assert (large.amax(1) - chosen <= 1e-6 * exactly.abs().max()).all()
    assert (out.cpu() == reference_cuda.labels(exactly, height, width)).double().mean() > 0.99
    assert guards_hold(out)


def test_equal_logits_go_to_the_first_class(float_bench):
    out = float_bench.poisoned(1, 8, 8, dtype=torch.uint8)
    OPERATORS.labels(float_bench.guarded(torch.ones(1, 5, 2, 2)), out)
    assert (out == 0).all()


def test_refused(float_bench):
    bench = float_bench
    x, weight, bias = bench.random(1, 4, 4, 16), bench.random(16, 16), bench.random(16)
    gate, out = bench.random(1, 4), bench.poisoned(1, 4, 4, 16)

    def pointwise(**other: object) -> None:
        given = {"x": x, "weight": weight, "bias": bias, "gate": gate, "out": out} | other
        OPERATORS.pointwise(*([given[name]] for name in ("x", "weight", "bias", "gate", "out")), [1], [1])

    pointwise()
    for name, tensor, says in (
        ("x", bench.random(1, 4, 4, 12), "multiple of 16"),
        ("x", x.double(), "bfloat16 or float32"),
        ("x", x.transpose(1, 2), "contiguous"),
        ("weight", weight.bfloat16(), "weight of torch.bfloat16"),
        ("bias", bench.random(32), r"bias of shape \(32,\): give \(16,\)"),
        ("gate", bench.random(2, 4), "gate of shape"),
        ("out", bench.poisoned(1, 2, 4, 16), "out of shape"),
        ("out", out.to("meta"), "out on meta"),
    ):
        with pytest.raises(ValueError, match=says):
            pointwise(**{name: tensor})
    with pytest.raises(ValueError, match="different lengths"):
        OPERATORS.pointwise([x, x], [weight], [bias], [gate], [out], [1], [1])
    with pytest.raises(ValueError, match="1 to 8"):
        OPERATORS.pointwise([x] * 9, [weight] * 9, [bias] * 9, [gate] * 9, [out] * 9, [1] * 9, [1] * 9)
    with pytest.raises(ValueError, match="even sides"):
        OPERATORS.assemble([bench.random(1, 3, 4, 16)], [None], [bench.random(1, 1, 2, 16)], [None] * 3)
    with pytest.raises(ValueError, match="uint8 or float32"):
        OPERATORS.stem(bench.random(1, 3, 32, 32).half(), weight, bias, bias, out)
    with pytest.raises(ValueError, match="four times"):
        OPERATORS.labels(bench.random(1, 2, 2, 2), bench.poisoned(1, 9, 8, dtype=torch.uint8))


def samples() -> dict[str, tuple[object, ...]]:
    """Arguments of every operator, of the smallest sizes."""
    x, weight, bias = torch.randn(1, 2, 2, 16), torch.randn(16, 16), torch.randn(16)
    gate = torch.tensor([[1.0, 1, 1, 0]])
    mode, route = torch.zeros(1, dtype=torch.int32), torch.ones(1, 4, dtype=torch.uint8)
    nine, planar = torch.randn(144, 16), torch.randn(1, 2, 2, 2)
    labels = torch.zeros(1, 8, 8, dtype=torch.uint8)
    lists = [[weight], [bias], [gate], [torch.randn(1, 2, 2, 16)]]
    sums, sources = torch.randn(1, 1, 16), [None, gate, None]
    return {
        "separable": ([x], [torch.randn(9, 16)], *lists, 1, True, True),
        "pointwise": ([x], *lists, [1], [1]),
        "gate_sums": ([x], [weight], [bias], sources, mode, [sums], False),
        "decide": ([sums], [torch.randn(3, 16)], [torch.randn(3)], sources, mode, [route], [gate + 0], [4], [7]),
        "assemble": ([x], [x + 1], [torch.randn(1, 1, 1, 16)], [gate, gate + 0, gate + 0]),
        "logits": (x, nine, bias, planar),
        "stem": (torch.rand(1, 3, 5, 5), torch.randn(32, 16), bias, torch.zeros(3), x),
        "labels": (planar, labels),
    }


def test_every_operator_has_a_sample():
    assert set(samples()) == set(cuda_ops.BUILDERS)


@pytest.mark.parametrize("name", sorted(cuda_ops.BUILDERS))
def test_schema_and_fake(name):
    """What it writes is what its schema says, and its fake takes the same arguments. No autograd: these only infer."""
    emulator()
    operator = getattr(OPERATORS, name).default
    torch.library.opcheck(operator, samples()[name], test_utils=("test_schema", "test_faketensor"))
