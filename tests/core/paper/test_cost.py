"""The cost accounting: the published all-open figures, torch's own counter, and hand-made gates.

Modules are counted on torch's meta device: no memory, no arithmetic, so the published width and size cost nothing.
"""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dynroute_core.cell import CLOSED, DEAD, OPEN, CellGate, CellModule, Gate
from dynroute_core.cost import cost_table, gate_macs, head_macs, operation_macs, routing_cost, stem_macs
from dynroute_core.model import Head, Segmenter, Stem
from dynroute_core.operations import build_operation
from dynroute_core.space import INITIAL, Cell, ModelConfig, OperationName, RoutingSpace

L16, L16_SMALL = ModelConfig(), ModelConfig(gate="small")
L33, L33_SMALL = ModelConfig(layers=33), ModelConfig(layers=33, gate="small")


@pytest.mark.parametrize(
    ("config", "height", "width", "accounting", "real", "expected"),
    [
        (L16, 1024, 2048, "paper", 119.492, 95.615),
        (L16, 1024, 2048, "repo", 118.085, 95.615),
        (L16, 768, 768, "paper", 33.607, 26.892),
        (L16, 768, 768, "repo", 33.607, 26.892),
        (L16_SMALL, 1024, 2048, "paper", 103.676, 95.615),
        (L16_SMALL, 1024, 2048, "repo", 102.270, 95.615),
        (L16_SMALL, 768, 768, "paper", 29.159, 26.892),
        (L16_SMALL, 768, 768, "repo", 29.159, 26.892),
        (L33, 1024, 2048, "paper", 246.028, 203.363),
        (L33, 1024, 2048, "repo", 244.622, 203.363),
        (L33, 768, 768, "paper", 69.195, 57.196),
        (L33_SMALL, 1024, 2048, "paper", 212.599, 203.363),
        (L33_SMALL, 1024, 2048, "repo", 211.192, 203.363),
        (L33_SMALL, 768, 768, "paper", 59.793, 57.196),
    ],
)
def test_all_open_figures_to_the_printed_digits(config, height, width, accounting, real, expected):
    table = cost_table(config, height=height, width=width, accounting=accounting)
    assert (round(table.all_open / 1e9, 3), round(table.all_open_expected / 1e9, 3)) == (real, expected)


def test_the_accountings_differ_in_the_head_alone_and_only_off_the_square():
    tables = {a: cost_table(L16, height=1024, width=2048, accounting=a) for a in ("paper", "repo")}
    assert round((tables["paper"].head - tables["repo"].head) / 1e9, 3) == 1.406
    assert vars(tables["paper"]) | {"head": 0} == vars(tables["repo"]) | {"head": 0}
    for config in (L16, L33_SMALL):
        paper, repo = (cost_table(config, height=768, width=768, accounting=a) for a in ("paper", "repo"))
        assert vars(paper) == vars(repo)


def count(module, *inputs):
    """MACs of a forward pass: convolutions by torch's own counter (2 flops a MAC), the rest by the modules' outputs."""
    others = 0

    def add(layer, _, output):
        nonlocal others
        weight = {nn.BatchNorm2d: 2, nn.ReLU: 1, nn.AvgPool2d: 9, nn.MaxPool2d: 9}.get(type(layer), 0)
        others += weight * output.numel()

    handles = [layer.register_forward_hook(add) for layer in module.modules()]
    with FlopCounterMode(display=False) as counter:
        module(*inputs)
    for handle in handles:
        handle.remove()
    assert counter.get_total_flops() % 2 == 0
    return counter.get_total_flops() // 2 + others


def on_meta(*shape):
    return torch.empty(shape, device="meta")


@pytest.mark.parametrize("name", get_args(OperationName))
@pytest.mark.parametrize(("channels", "height", "width"), [(64, 256, 512), (4, 7, 3)])
def test_operations_against_torchs_counter(name, channels, height, width):
    with torch.device("meta"):
        module = build_operation(name, channels)
    assert count(module, on_meta(1, channels, height, width)) == operation_macs(name, channels, height * width)


@pytest.mark.parametrize("kind", ["separable", "dense"])
def test_stem_against_torchs_counter(kind):
    """The count is nominal: it takes every map of stride 2 at half the input's size. The first convolution has no
    padding, so the real map lacks a row and a column; padded, as the count pretends, torch agrees to the last MAC."""
    config = ModelConfig(stem=kind)
    height, width = 128, 256
    with torch.device("meta"):
        real = Stem(config.channels, config.stem_channels, kind)
        padded = Stem(config.channels, config.stem_channels, kind)
    padded[0].conv.padding = (1, 1)
    image = on_meta(1, 3, height, width)
    assert count(padded, image) == stem_macs(config, height, width)

    # Real: everything of stride 2 happens at 63×127; the last stage still ends at 32×64.
    middle = config.stem_channels
    first = 9 * 3 * middle + 3 * middle
    second = 9 * middle * middle + 3 * middle if kind == "dense" else 9 * middle + middle * middle + 3 * middle
    missing = 64 * 128 - 63 * 127
    assert stem_macs(config, height, width) - count(real, image) == (first + second) * missing


def test_head_against_torchs_counter():
    config = ModelConfig(layers=4, channels=8, classes=5)
    with torch.device("meta"):
        head = Head(8, 5)
    features = [on_meta(1, 8 * 2**k, 64 // 2**k, 128 // 2**k) for k in range(4)]
    assert count(head, features) == head_macs(config, 256, 512)  # torch's counter leaves the bias out too


@pytest.mark.parametrize("kind", ["full", "small"])
@pytest.mark.parametrize("cell", [Cell(0, 0), Cell(2, 1), Cell(2, 3), Cell(15, 2)])
def test_gates_against_torchs_counter(kind, cell):
    config = ModelConfig(gate=kind)
    space = RoutingSpace.of(config)
    channels, height, width = space.channels_at(cell.scale), 256 >> cell.scale, 512 >> cell.scale
    with torch.device("meta"):
        gate = Gate(channels, len(space.paths(cell)), small=kind == "small")
    pooled = (height // 4) * (width // 4) if kind == "small" else height * width
    pooling = channels // 2 * pooled  # a mean over the map: an addition per value, which no module of torch's does
    assert count(gate, on_meta(1, channels, height, width)) + pooling == gate_macs(config, cell, height, width)


def test_no_gate_costs_nothing_and_the_smallest_small_gate_sees_one_pixel():
    assert gate_macs(ModelConfig(gate="none"), Cell(0, 0), 256, 512) == 0
    config = ModelConfig(gate="small", channels=8)
    assert gate_macs(config, Cell(2, 0), 1, 3) == gate_macs(config, Cell(2, 0), 4, 4)


@pytest.mark.parametrize("scale", range(4))
def test_paths_against_torchs_counter(scale):
    config = ModelConfig(layers=6, channels=8)
    space, cell = RoutingSpace.of(config), Cell(3, scale)
    table = cost_table(config, height=256, width=512, accounting="paper")
    channels, height, width = 8 << scale, 64 >> scale, 128 >> scale
    with torch.device("meta"):
        module = CellModule(channels, space.paths(cell), config, drop_share=0.0)
    relu = channels * height * width  # every path starts with its own ReLU of h, as the released code has it
    h = on_meta(1, channels, height, width)
    for path in space.paths(cell):
        conv = {"keep": None, "up": module.up, "down": module.down}[path]
        seen = 0 if conv is None else count(conv, h[..., ::2, ::2] if path == "down" else h)
        assert table.paths[cell, path] == relu + seen


def test_what_the_table_charges_and_what_not():
    config = ModelConfig(layers=3, channels=4, operations=("sep_conv_3x3", "avg_pool_3x3"))
    space = RoutingSpace.of(config)
    table = cost_table(config, height=64, width=96, accounting="paper")
    assert set(table.gates) == set(table.operations) == set(space.routed_cells)  # not the initial cell's
    assert set(table.paths) == {p for p in space.all_paths if p[0].layer < 2}  # not the last layer's keep
    assert table.operations[Cell(1, 1)] == sum(operation_macs(n, 8, 8 * 12) for n in config.operations)
    assert table.all_closed == table.stem + table.head + sum(table.gates.values())
    assert table.all_open == table.all_closed + sum(table.operations.values()) + sum(table.paths.values())


def test_bad_sizes_and_accountings_are_refused():
    with pytest.raises(ValueError, match="choose from paper, repo"):
        cost_table(L16, height=64, width=64, accounting="both")
    for height, width in ((0, 64), (64, -1)):
        with pytest.raises(ValueError, match="at least 1x1"):
            cost_table(L16, height=height, width=width, accounting="paper")
    assert cost_table(ModelConfig(layers=2, channels=4), height=1, width=1, accounting="paper").all_open >= 0


# --- routing_cost on hand-made gates ---------------------------------------------------------------------------------

SMALL = ModelConfig(layers=2, channels=4, gate="small")
SPACE = RoutingSpace.of(SMALL)
TABLE = cost_table(SMALL, height=64, width=128, accounting="paper")


def gates_of(*images):
    """Gates of a batch. Each image: cell → factors, "closed" or "dead"; all factors 1 where a cell is left out."""
    gates = {}
    for cell in SPACE.cells:
        width = len(SPACE.paths(cell))
        rows, states = [], []
        for image in images:
            what = image.get(cell, [1.0] * width)
            states.append({"closed": CLOSED, "dead": DEAD}.get(what, OPEN) if isinstance(what, str) else OPEN)
            closed = [1.0 if what == "closed" else 0.0] + [0.0] * (width - 1)
            rows.append(closed if isinstance(what, str) else what)
        factors = torch.tensor(rows, dtype=torch.float64)
        gates[cell] = CellGate(factors, torch.tensor(states, dtype=torch.uint8))
    return gates


def paths_from(*cells):
    return sum(macs for (source, _), macs in TABLE.paths.items() if source in cells)


EXACT = 1e-12  # relative: sums of at most 20 float64 products


def test_all_open_all_closed_and_dead():
    everything_closed = dict.fromkeys(SPACE.cells, "closed")
    all_dead = {INITIAL: "closed"} | dict.fromkeys(SPACE.routed_cells, "dead")
    cost = routing_cost(TABLE, gates_of({}, everything_closed, all_dead))
    assert cost.realised_macs.tolist() == pytest.approx([TABLE.all_open, TABLE.all_closed, TABLE.all_closed], rel=EXACT)
    assert cost.expected_macs.tolist() == pytest.approx([TABLE.all_open_expected, 0, 0], rel=EXACT)


@pytest.mark.parametrize("state", ["closed", "dead"])
def test_a_closed_cell_saves_its_operation_and_its_paths_but_not_its_gate(state):
    """Its identity keep, factor 1, is free in both columns."""
    cell = Cell(0, 1)
    cost = routing_cost(TABLE, gates_of({cell: state}))
    saved = TABLE.operations[cell] + paths_from(cell)
    assert cost.realised_macs.item() == pytest.approx(TABLE.all_open - saved, rel=EXACT)
    assert cost.expected_macs.item() == pytest.approx(TABLE.all_open_expected - saved, rel=EXACT)


def test_a_closed_initial_cell_saves_its_paths_only():
    cost = routing_cost(TABLE, gates_of({INITIAL: "closed"}))
    assert cost.realised_macs.item() == pytest.approx(TABLE.all_open - paths_from(INITIAL), rel=EXACT)


def test_paths_are_charged_above_the_threshold_only():
    cell = Cell(0, 1)  # keep, up, down
    factors = [0.9, 1e-4, 1.01e-4]  # 1e-4 itself is not above 1e-4
    cost = routing_cost(TABLE, gates_of({cell: factors}))
    assert cost.realised_macs.item() == pytest.approx(TABLE.all_open - TABLE.paths[cell, "up"], rel=EXACT)


def test_expected_is_the_factors_times_the_costs_and_the_largest_times_the_operation():
    cell = Cell(0, 1)
    factors = dict(zip(SPACE.paths(cell), (0.25, 0.5, 0.125), strict=True))
    cost = routing_cost(TABLE, gates_of({cell: list(factors.values())}))
    by_hand = TABLE.all_open_expected - TABLE.operations[cell] - paths_from(cell)
    by_hand += 0.5 * TABLE.operations[cell] + sum(f * TABLE.paths[cell, p] for p, f in factors.items())
    assert cost.expected_macs.item() == pytest.approx(by_hand, rel=EXACT)


def test_the_last_layers_keep_weighs_its_operation_only():
    cell = Cell(1, 2)
    cost = routing_cost(TABLE, gates_of({cell: [0.3]}))
    assert cost.expected_macs.item() == pytest.approx(TABLE.all_open_expected - 0.7 * TABLE.operations[cell], rel=EXACT)
    assert cost.realised_macs.item() == pytest.approx(TABLE.all_open, rel=EXACT)


def test_a_batch_is_its_images():
    images = ({}, {Cell(0, 0): "closed"}, {Cell(0, 1): [0.0, 0.7, 0.0], Cell(1, 0): "dead"})
    batch = routing_cost(TABLE, gates_of(*images))
    singles = [routing_cost(TABLE, gates_of(image)) for image in images]
    assert batch.realised_macs.tolist() == pytest.approx([s.realised_macs.item() for s in singles], rel=EXACT)
    assert batch.expected_macs.tolist() == pytest.approx([s.expected_macs.item() for s in singles], rel=EXACT)


def test_gradient_of_the_expected_cost():
    """∂/∂α of a path is its cost, plus the operation's for the largest factor; nothing for a closed cell."""
    open_cell, closed_cell = Cell(0, 1), Cell(0, 0)
    gates = gates_of({open_cell: [0.2, 0.6, 0.4], closed_cell: "closed"})
    for cell in (open_cell, closed_cell):
        gates[cell].factors.requires_grad_()
    routing_cost(TABLE, gates).expected_macs.sum().backward()
    by_hand = [TABLE.paths[open_cell, path] for path in SPACE.paths(open_cell)]
    by_hand[1] += TABLE.operations[open_cell]
    assert gates[open_cell].factors.grad.flatten().tolist() == pytest.approx(by_hand, rel=EXACT)
    assert gates[closed_cell].factors.grad.abs().max() == 0


def test_a_table_first_asked_for_in_inference_mode_serves_training_too():
    table = cost_table(SMALL, height=65, width=129, accounting="paper")  # a size no other test has asked for
    gates = gates_of({})
    with torch.inference_mode():
        routing_cost(table, gates)
    gates[Cell(0, 1)].factors.requires_grad_()
    routing_cost(table, gates).expected_macs.sum().backward()
    assert gates[Cell(0, 1)].factors.grad is not None


def test_half_precision_factors_are_summed_in_float32():
    """A forward pass under autocast gives bfloat16 factors, whose 3 digits would not hold a sum of MACs."""
    gates = {cell: CellGate(g.factors.to(torch.bfloat16), g.state) for cell, g in gates_of({}).items()}
    cost = routing_cost(TABLE, gates)
    assert cost.realised_macs.dtype == torch.float32
    assert cost.realised_macs.item() == pytest.approx(TABLE.all_open, rel=1e-6)  # a dozen float32 roundings of 6e-8


def test_needs_no_value_from_the_device():
    """On the meta device there are no values: anything that waited for one would raise."""
    with torch.device("meta"):
        model = Segmenter(SMALL).train()
    cost = model(on_meta(2, 3, 64, 96)).cost(height=64, width=96, accounting="repo")
    assert cost.realised_macs.shape == cost.expected_macs.shape == (2,)
