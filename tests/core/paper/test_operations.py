"""Every candidate operation: it builds, keeps the shape at any size, and has the parameters its definition says."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

from dynroute_core.model import Segmenter
from dynroute_core.operations import ConvNorm, build_operation
from dynroute_core.space import OperationName
from support.sample_models import images, small_config

NAMES = get_args(OperationName)


def norm(channels):
    return 2 * channels


def expected_parameters(name, c):
    k = int(name[-1]) if name[-1].isdigit() else 0
    pair = k * k * c + c * c + norm(c)  # depthwise, pointwise, BN; no biases
    if name.startswith("sep_conv"):
        return (3 if "heavy" in name else 2) * pair
    if name.startswith("dil_conv"):
        return pair
    if name == "conv_3x3_basic":
        return 9 * c * c + norm(c)
    if name.startswith("Bottleneck"):
        m = c // 4
        return c * m + norm(m) + k * k * m * m + norm(m) + m * c + norm(c)
    if name.startswith("MBConv"):
        m = 4 * c
        return c * m + norm(m) + k * k * m + norm(m) + m * c + norm(c)
    return 0


@pytest.mark.parametrize("name", NAMES)
def test_parameters_in_closed_form(name):
    for channels in (4, 16):
        module = build_operation(name, channels)
        assert sum(p.numel() for p in module.parameters()) == expected_parameters(name, channels)
        assert all(m.bias is None for m in module.modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (3, 2), (5, 31), (31, 5), (33, 1)])
def test_keeps_the_shape_at_any_size(name, size):
    module = build_operation(name, 4).eval()
    x = torch.randn(2, 4, *size)
    y = module(x)
    assert y.shape == x.shape
    assert torch.isfinite(y).all()


@pytest.mark.parametrize("name", NAMES)
def test_ends_without_an_activation_and_passes_gradients(name):
    module = build_operation(name, 8)
    x = torch.randn(2, 8, 7, 9, requires_grad=True)
    y = module(x)
    y.square().sum().backward()
    assert torch.isfinite(x.grad).all()
    if name != "none":
        assert (y < 0).any(), "a ReLU at the end would leave no negative value"
        assert x.grad.abs().max() > 0


def test_average_pooling_does_not_count_the_padding():
    ones = torch.ones(1, 1, 4, 5)
    assert torch.equal(build_operation("avg_pool_3x3", 1)(ones), ones)  # with padding counted, a corner would be 4/9


def test_max_pooling_by_hand():
    x = torch.arange(6.0).view(1, 1, 2, 3)
    assert build_operation("max_pool_3x3", 1)(x).flatten().tolist() == [4, 5, 5, 4, 5, 5]


def test_skip_and_none():
    x = torch.randn(1, 2, 3, 3)
    assert torch.equal(build_operation("skip_connect", 2)(x), x)
    assert torch.equal(build_operation("none", 2)(x), torch.zeros_like(x))


@pytest.mark.parametrize(
    ("name", "reach"),
    # The furthest pixel that one pixel of the input reaches: pairs · dilation · (k // 2).
    [
        ("sep_conv_3x3", 2),
        ("sep_conv_5x5", 4),
        ("sep_conv_7x7", 6),
        ("sep_conv_heavy_3x3", 3),
        ("sep_conv_heavy_5x5", 6),
        ("dil_conv_3x3", 2),
        ("dil_conv_5x5", 4),
        ("conv_3x3_basic", 1),
        ("Bottleneck_3x3", 1),
        ("Bottleneck_5x5", 2),
        ("MBConv_3x3", 1),
        ("MBConv_5x5", 2),
    ],
)
def test_reach_of_a_pixel(name, reach):
    module = build_operation(name, 4).double().eval()
    for parameter in module.parameters():  # positive everywhere: nothing cancels, no ReLU cuts
        parameter.data.abs_().add_(0.1)
    pulse = torch.zeros(1, 4, 21, 21, dtype=torch.float64)
    pulse[..., 10, 10] = 1
    moved = (module(pulse) - module(torch.zeros_like(pulse))).abs().sum((0, 1)) > 0
    rows = moved.any(1).nonzero().flatten() - 10
    assert (int(rows.min()), int(rows.max())) == (-reach, reach)


@pytest.mark.parametrize(("kernel", "stride", "padding", "size"), [(3, 2, 0, 3), (3, 2, None, 4), (1, 1, None, 8)])
def test_conv_norm_sizes(kernel, stride, padding, size):
    block = ConvNorm(3, 4, kernel, stride=stride, padding=padding, relu=True)
    assert block(torch.randn(2, 3, 8, 8)).shape == (2, 4, size, size)
    assert (block(torch.randn(2, 3, 8, 8)) >= 0).all()
    assert [name for name, _ in block.named_children()] == ["conv", "norm", "relu"]
    assert len(ConvNorm(3, 4, relu=False)) == 2


@pytest.mark.parametrize("operations", [(name,) for name in NAMES] + [NAMES])
def test_a_network_of_any_operation_trains_and_evaluates(operations):
    """Alone and all at once; the released code raises a TypeError where it builds an MBConv."""
    torch.manual_seed(0)
    model = Segmenter(small_config(layers=2, operations=operations))
    model(images(2, 64, 64)).logits.square().mean().backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    for number, operation in enumerate(operations):
        if expected_parameters(operation, 4):
            assert any(f"cells.1_0.operations.{number}." in name for name in moved), operation
    with torch.inference_mode():
        assert torch.isfinite(model.eval()(images(1, 64, 64)).logits).all()
