"""The accounting counted again by the modules themselves: every operation, alone and in sums, and whole networks.

Everything is an integer and must be equal: a multiply-accumulate more or less is a wrong formula.
"""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dynroute_core import cost as cost_module
from dynroute_core.cost import operation_macs
from dynroute_core.model import Segmenter
from dynroute_core.operations import build_operation
from dynroute_core.space import Cell, ModelConfig, OperationName
from dynroute_suite.report.cost_audit import Counted, audit, cell_audit, count_leaves, under
from support.sample_models import small_config

OPERATIONS = get_args(OperationName)
NETWORKS = {
    "layer16": ModelConfig(),
    "layer16, small gate": ModelConfig(gate="small"),
    "layer16, no gate": ModelConfig(gate="none"),
    "layer33": ModelConfig(layers=33),
    "layer33, small gate": ModelConfig(layers=33, gate="small"),
    "dense stem, 11 classes": ModelConfig(layers=5, channels=16, classes=11, stem="dense", stem_channels=24),
    "MBConv": ModelConfig(layers=6, operations=("MBConv_3x3", "skip_connect")),
    "every operation at once": small_config(operations=OPERATIONS, gate="small"),
}
SIZES = [(1024, 2048), (768, 768), (96, 160)]


def convolutions(operation: str, channels: int, pixels: int) -> int:
    """Our formula less its batch norm, ReLU and pooling terms, these in closed form, written down once more here."""
    c, n, k = channels, pixels, int(operation[-1]) if operation[-1].isdigit() else 0
    norms, relus = 0, 0  # values that pass a batch norm (2 each), and a ReLU (1 each)
    if operation.startswith(("sep_conv", "dil_conv")):
        pairs = 3 if "heavy" in operation else 1 if operation.startswith("dil") else 2
        norms, relus = pairs * c * n, (pairs - 1) * c * n
    elif operation == "conv_3x3_basic":
        norms = c * n
    elif operation.startswith(("Bottleneck", "MBConv")):
        middle = max(c // 4, 1) if operation.startswith("Bottleneck") else 4 * c
        norms, relus = (2 * middle + c) * n, 2 * middle * n
    pooled = k * k * c * n if "pool" in operation else 0
    return operation_macs(operation, channels, pixels) - 2 * norms - relus - pooled


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(("channels", "height", "width"), [(64, 256, 512), (256, 64, 128), (4, 7, 3), (2, 1, 1)])
def test_an_operations_convolutions_are_torchs_count(operation, channels, height, width):
    with torch.device("meta"):
        module = build_operation(operation, channels).eval()
        x = torch.empty(1, channels, height, width)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(x)
    assert counter.get_total_flops() == 2 * convolutions(operation, channels, height * width)


@pytest.mark.parametrize("first", OPERATIONS)
def test_an_operation_in_sums(first):
    """In a cell with each of its neighbours in the list: the sum costs what its terms cost, and no more."""
    for second in (OPERATIONS[(OPERATIONS.index(first) + step) % len(OPERATIONS)] for step in (1, 5)):
        config = small_config(operations=(first, second))
        lines = cell_audit(config, Cell(2, 1), height=96, width=160)
        for formula, counted in lines.values():
            assert formula == counted.total
        pixels = (96 // 8) * (160 // 8)
        assert lines["operation"][1].convolutions == sum(convolutions(o, 8, pixels) for o in (first, second))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_every_part_of_a_network_counted_is_its_formula(name, height, width):
    found = audit(NETWORKS[name], height=height, width=width)
    assert {part: counted.total for part, counted in found.parts.items()} == found.formulas
    assert sum(found.formulas.values()) == found.table.all_open


@pytest.mark.parametrize("name", NETWORKS)
def test_a_forward_pass_with_every_path_open_does_the_tables_convolutions(name):
    """The table's convolution part, and the initial cell's operation and gate, which the accounting leaves out.

    In training every path of every cell runs; batch norm is fixed because one image has a single value per channel at
    the coarsest scale of the smallest size.
    """
    height, width = 96, 160
    config = NETWORKS[name]
    found = audit(config, height=height, width=width)
    with torch.device("meta"):
        model = Segmenter(config).train()
        image = torch.empty(1, 3, height, width)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    model.stem[0].conv.padding = (1, 1)  # the count halves each side; unpadded, a row and a column are missing
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(image)
    ours = sum(part.convolutions for part in found.parts.values()) + found.initial_cell.convolutions
    assert counter.get_total_flops() == 2 * ours
    others = sum(c.total - c.convolutions for c in found.parts.values())
    assert found.table.all_open - others == ours - found.initial_cell.convolutions


def test_a_wrong_formula_is_seen(monkeypatch):
    monkeypatch.setattr(cost_module, "norm_macs", lambda channels, pixels: channels * pixels)
    config = small_config(layers=5)  # a setting whose table nothing else has asked for
    found = audit(config, height=64, width=224)
    wrong = {part for part, counted in found.parts.items() if counted.total != found.formulas[part]}
    assert wrong == {"stem", "gates", "operations", "paths", "head"}
    cost_module.cost_table.cache_clear()


def test_counting_by_leaves():
    module = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()), nn.AvgPool2d(3))
    x = torch.empty(1, 3, 6, 9)
    counts = count_leaves(module.eval(), lambda: module(x))
    values = 4 * 6 * 9
    assert counts["0"] == Counted(convolutions=3 * values)
    assert under(counts, "1") == Counted(norms=2 * values, relus=values)
    assert counts["2"] == Counted(poolings=9 * 4 * 2 * 3)
    assert not any(module._forward_hooks for module in module.modules())
