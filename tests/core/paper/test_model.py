"""The network: sizes, routing per image, what evaluation skips, forced routes, initialisation, number formats.

Tolerance `EXACT`: float64 through a dozen cells; sums in another order (another batch size, another memory layout)
differ by some ulp of 1e-16 per convolution.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import dynroute_core
from dynroute_core.cell import CLOSED, DEAD, OPEN, CellModule
from dynroute_core.cost import cost_table
from dynroute_core.model import Segmenter, check_images, module_name
from dynroute_core.space import INITIAL, Cell, ModelConfig, RoutingSpace
from support.sample_models import FIRM, images, mixed_model, set_gates, settled, shaken, small_config

EXACT = 1e-9
GATES = ("full", "small", "none")
SHUT = (-1.0, -1.0, -1.0)


def close(a, b):
    scale = max(b.abs().max().item(), 1e-9)
    assert (a - b).abs().max().item() <= EXACT * scale


def shut(space, cells):
    return {cell: SHUT[: len(space.paths(cell))] for cell in cells}


# --- parameters ------------------------------------------------------------------------------------------------------


def parameters(config):
    with torch.device("meta"):
        return sum(p.numel() for p in Segmenter(config).parameters())


@pytest.mark.parametrize(("layers", "millions"), [(16, 17.785), (33, 38.872)])
def test_parameter_totals_are_the_published_ones(layers, millions):
    total = parameters(ModelConfig(layers=layers))
    assert round(total / 1e6, 3) == millions
    assert parameters(ModelConfig(layers=layers, gate="small")) == total


def test_gates_account_for_the_difference_to_a_network_without():
    config = ModelConfig()
    space = RoutingSpace.of(config)
    widths = [(space.channels_at(cell.scale), len(space.paths(cell))) for cell in space.cells]
    gates = sum(c * (c // 2) + 2 * (c // 2) + (c // 2) * paths + paths for c, paths in widths)
    assert parameters(config) - parameters(ModelConfig(gate="none")) == gates


def test_initialisation():
    model = Segmenter(ModelConfig(layers=3, channels=16))
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            deviation = math.sqrt(2 / fan_in)
            count = module.weight.numel()
            if count >= 256:
                # The sample's deviation scatters by 1/√(2n) of it; 5 times that.
                assert module.weight.std().item() == pytest.approx(deviation, rel=5 / math.sqrt(2 * count)), name
            if module.bias is not None:
                assert (module.bias == (1.5 if ".gate." in name else 0)).all(), name
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()
            assert (module.eps, module.momentum) == (1e-5, 0.1)
    assert sum(m.bias is not None for m in model.modules() if isinstance(m, nn.Conv2d)) == len(model.space.cells) + 1


# --- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("stem", ["separable", "dense"])
@pytest.mark.parametrize("size", [(1, 1), (1, 47), (33, 31), (127, 64), (32, 160)])
def test_any_size_of_at_least_one_pixel(gate, stem, size):
    model = Segmenter(small_config(gate=gate, stem=stem))
    for training in (False, True):
        with torch.no_grad():
            output = model.train(training)(images(2, *size))
        assert output.logits.shape == (2, 5, *size)
        assert torch.isfinite(output.logits).all()


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_shallow_networks_whose_last_layer_lacks_coarse_cells(layers):
    model = Segmenter(small_config(layers=layers)).eval()
    with torch.no_grad():
        assert torch.isfinite(model(images(1, 40, 70)).logits).all()


def test_padding_is_zero_after_normalising_at_the_bottom_and_right():
    model = mixed_model(small_config())
    small = images(2, 33, 31).double()
    padded = model.pixel_mean.expand(2, 3, 64, 32).clone()
    padded[..., :33, :31] = small
    with torch.no_grad():
        close(model(small).logits, model(padded).logits[..., :33, :31])


@pytest.mark.parametrize(
    "shape", [(3, 64, 64), (1, 1, 64, 64), (0, 3, 64, 64), (1, 3, 0, 64), (1, 3, 64, 0), (1, 64, 64, 3)]
)
def test_other_shapes_are_refused_with_what_would_do(shape):
    with pytest.raises(ValueError, match="give N×3×H×W") as error:
        Segmenter(small_config())(torch.zeros(shape))
    assert str(tuple(shape)) in str(error.value)
    assert check_images(torch.zeros(2, 3, 5, 7)) == (5, 7)


# --- routing per image -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["full", "small"])
def mixed(request):
    model = mixed_model(small_config(layers=5, gate=request.param), seed=4)
    batch = images(6, 96, 128)
    with torch.no_grad():
        return model, batch, model(batch)


def test_the_mixed_network_is_mixed(mixed):
    """What the tests below lean on: every state occurs, and images differ in state at one cell."""
    model, _, output = mixed
    states = torch.stack([gate.state for gate in output.gates.values()])
    assert set(states.flatten().tolist()) == {OPEN, CLOSED, DEAD}
    assert (states != states[:, :1]).any()
    shut_paths = [(g.factors[g.state == OPEN] == 0).any() for g in output.gates.values()]
    assert any(shut_paths)
    assert list(output.gates) == list(model.space.cells)


def test_a_batch_equals_one_by_one(mixed):
    model, batch, output = mixed
    together = output.cost(height=96, width=128, accounting="paper")
    for k in range(len(batch)):
        with torch.no_grad():
            alone = model(batch[k : k + 1])
        close(output.logits[k : k + 1], alone.logits)
        for cell, gate in alone.gates.items():
            assert gate.state[0] == output.gates[cell].state[k], cell
            torch.testing.assert_close(gate.factors[0], output.gates[cell].factors[k], rtol=EXACT, atol=EXACT)
        cost = alone.cost(height=96, width=128, accounting="paper")
        assert cost.realised_macs[0].item() == pytest.approx(together.realised_macs[k].item(), rel=EXACT)
        assert cost.expected_macs[0].item() == pytest.approx(together.expected_macs[k].item(), rel=EXACT)


def test_evaluation_runs_open_cells_and_open_paths_only(mixed):
    """Counts how many images pass each gate, operation and path convolution."""
    model, batch, output = mixed
    seen = {}
    handles = []
    for cell in model.space.cells:
        module = model.cell(cell)
        parts = {"gate": module.gate, "op": module.operations[0], "up": module.up, "down": module.down}
        for part, layer in parts.items():
            if layer is not None:
                key = (cell, part)
                handles.append(layer.register_forward_hook(lambda _, x, __, key=key: seen.__setitem__(key, len(x[0]))))
    with torch.no_grad():
        model(batch)
    for handle in handles:
        handle.remove()
    expected = {}
    for cell, gate in output.gates.items():
        expected[cell, "gate"] = int((gate.state != DEAD).sum())
        expected[cell, "op"] = int((gate.state == OPEN).sum())
        for index, path in enumerate(model.space.paths(cell)):
            if path != "keep":
                expected[cell, path] = int((gate.factors[:, index] > 0).sum())
    assert seen == {key: count for key, count in expected.items() if count}
    assert any(count == 0 for count in expected.values())


def test_realised_cost_counts_what_ran(mixed):
    model, _, output = mixed
    table = cost_table(model.config, height=96, width=128, accounting="repo")
    cost = output.cost(height=96, width=128, accounting="repo").realised_macs
    for k, route in enumerate(output.routes()):
        open_cells = [cell for cell, gate in output.gates.items() if gate.state[k] == OPEN]
        by_hand = table.all_closed + sum(table.operations.get(cell, 0) for cell in open_cells)
        by_hand += sum(table.paths.get((cell, path), 0) for cell, path in route if cell in open_cells)
        assert cost[k].item() == pytest.approx(by_hand, rel=EXACT)


def test_routes_name_the_paths_an_image_took(mixed):
    model, _, output = mixed
    for k, route in enumerate(output.routes()):
        assert route == model.space.check_route(route)
        for cell, gate in output.gates.items():
            sent = {path for path in model.space.paths(cell) if (cell, path) in route}
            by_state = {CLOSED: {"keep"}, DEAD: set()}
            factors = zip(model.space.paths(cell), gate.factors[k].tolist(), strict=True)
            assert sent == by_state.get(int(gate.state[k]), {path for path, factor in factors if factor > 1e-4})


def test_dead_cells_are_those_that_only_closed_and_dead_cells_could_reach(mixed):
    model, _, output = mixed
    for k in range(len(output.logits)):
        for cell in model.space.routed_cells:
            sources = [(int(output.gates[s].state[k]), path) for s, path in model.space.arrivals(cell)]
            reached = any(state == OPEN or (state == CLOSED and path == "keep") for state, path in sources)
            assert (output.gates[cell].state[k] == DEAD) == (not reached), cell


def test_every_cell_closed():
    """The released code crashes here: it sums floats where maps are expected."""
    model = shaken(Segmenter(small_config())).double().eval()
    set_gates(model, shut(model.space, model.space.cells))
    batch = images(2, 64, 64)
    with torch.no_grad():
        output = model(batch)
        stem = model.stem(model._normalise_and_pad(batch))
        nothing = [stem.new_zeros(2, 4 << k, 16 >> k, 16 >> k) for k in (1, 2, 3)]
        quarter = model.head([stem, *nothing])  # the initial cell's keep, passed on to the end
        close(output.logits, F.interpolate(quarter, scale_factor=4, mode="bilinear", align_corners=False))
    states = {cell: set(gate.state.tolist()) for cell, gate in output.gates.items()}
    assert states == {cell: {CLOSED if cell.scale == 0 else DEAD} for cell in model.space.cells}
    cost = output.cost(height=64, width=64, accounting="paper")
    table = cost_table(model.config, height=64, width=64, accounting="paper")
    assert cost.realised_macs.tolist() == [table.all_closed] * 2
    assert cost.expected_macs.tolist() == [0, 0]


def test_zeros_from_an_open_cell_are_not_nothing():
    """An open cell's shut path sends zeros, and what they reach runs on the zero map and fires through its biases."""
    model = shaken(Segmenter(small_config())).double().eval()
    set_gates(model, {INITIAL: (0.9, -1.0)})
    with torch.no_grad():
        open_source = model(images(1, 64, 64))
        set_gates(model, {INITIAL: (-1.0, -1.0)})
        closed_source = model(images(1, 64, 64))
    assert open_source.gates[Cell(0, 1)].state.item() == OPEN
    assert closed_source.gates[Cell(0, 1)].state.item() == DEAD
    assert closed_source.gates[INITIAL].state.item() == CLOSED
    assert (open_source.logits - closed_source.logits).abs().max() > 1e-3


def test_training_applies_the_factors_of_evaluation():
    """Batch norms frozen, closed cells but no dead ones: then the two modes agree in everything."""
    model = shaken(Segmenter(small_config())).double()
    set_gates(model, {Cell(1, 1): SHUT, Cell(2, 2): (-1.0, 0.4, 5e-5), Cell(2, 0): (0.3, -1.0), Cell(1, 0): SHUT[:2]})
    with torch.no_grad():
        evaluated = model.eval()(images(3, 64, 96))
        model.train()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        trained = model(images(3, 64, 96))
    assert not any((gate.state == DEAD).any() for gate in evaluated.gates.values())
    assert any((gate.state == CLOSED).all() for gate in evaluated.gates.values())
    close(trained.logits, evaluated.logits)
    for cell, gate in trained.gates.items():
        assert torch.equal(gate.state, evaluated.gates[cell].state)
        close(gate.factors, evaluated.gates[cell].factors)


def test_training_has_no_dead_cells():
    model = shaken(Segmenter(small_config())).double()
    set_gates(model, {INITIAL: SHUT[:2]})
    with torch.no_grad():
        evaluated, trained = model.eval()(images(2, 64, 64)), model.train()(images(2, 64, 64))
    assert evaluated.gates[Cell(0, 1)].state.tolist() == [DEAD, DEAD]
    assert trained.gates[Cell(0, 1)].state.tolist() == [OPEN, OPEN]
    assert trained.gates[INITIAL].state.tolist() == [CLOSED, CLOSED]


def test_training_uses_the_batchs_own_statistics():
    model = Segmenter(small_config())
    before = {name: buffer.clone() for name, buffer in model.named_buffers() if "running_" in name}
    model.eval()(images(2, 64, 64))
    assert all(torch.equal(before[name], buffer) for name, buffer in model.named_buffers() if name in before)
    model.train()(images(2, 64, 64))
    assert all(not torch.equal(before[name], buffer) for name, buffer in model.named_buffers() if name in before)


# --- forced routes ---------------------------------------------------------------------------------------------------


def all_paths(model):
    return frozenset(model.space.all_paths)


def test_all_paths_forced_open_equal_a_network_without_gates():
    model = mixed_model(small_config())
    fixed = Segmenter(small_config(gate="none")).double().eval()
    fixed.load_state_dict({k: v for k, v in model.state_dict().items() if ".gate." not in k})
    with torch.no_grad():
        forced = model(images(2, 64, 96), route=all_paths(model))
        free = fixed(images(2, 64, 96))
    close(forced.logits, free.logits)
    assert all((gate.factors == 1).all() and (gate.state == OPEN).all() for gate in forced.gates.values())
    # The gates of the one are charged, always; the other has none.
    costs = [output.cost(height=64, width=96, accounting="paper").realised_macs for output in (forced, free)]
    gates = cost_table(model.config, height=64, width=96, accounting="paper").gates
    assert (costs[0] - costs[1]).tolist() == pytest.approx([sum(gates.values())] * 2, rel=EXACT)


def test_a_forced_route_with_the_gates_own_factors():
    model = set_gates(shaken(Segmenter(small_config())).double().eval(), {})
    with torch.no_grad():
        free = model(images(2, 64, 64))
        close(model(images(2, 64, 64), route=all_paths(model), route_factors="gate").logits, free.logits)
        ones = model(images(2, 64, 64), route=all_paths(model))
    assert (ones.logits - free.logits).abs().max() > 1e-3


def test_a_route_opens_its_own_paths_and_nothing_else():
    model = mixed_model(small_config())
    route = frozenset({(INITIAL, "keep"), (INITIAL, "down"), (Cell(0, 1), "up"), (Cell(0, 0), "keep")})
    route |= {(Cell(layer, 0), "keep") for layer in (1, 2, 3)}
    for training in (False, True):
        with torch.no_grad():
            output = model.train(training)(images(2, 64, 64), route=route)
        assert output.routes() == [route, route]


def test_one_route_per_image_equals_each_alone():
    model = mixed_model(small_config())
    space = model.space
    line = frozenset((cell, "keep") for cell in space.cells if cell.scale == 0)
    routes = [all_paths(model), line, frozenset()]
    batch = images(3, 64, 64)
    with torch.no_grad():
        together = model(batch, route=routes)
        for k, route in enumerate(routes):
            alone = model(batch[k : k + 1], route=route)
            close(together.logits[k : k + 1], alone.logits)
            assert together.routes()[k] == alone.routes()[0] == route
    cost = together.cost(height=64, width=64, accounting="paper").realised_macs
    table = cost_table(model.config, height=64, width=64, accounting="paper")
    assert cost[0].item() == pytest.approx(table.all_open, rel=EXACT)
    assert cost[2].item() == pytest.approx(table.all_closed, rel=EXACT)


def test_a_route_that_starts_nowhere_runs_nothing():
    model = mixed_model(small_config())
    with torch.no_grad():
        output = model(images(1, 64, 64), route=frozenset({(Cell(2, 2), "keep")}))
    assert output.gates[Cell(2, 2)].state.item() == DEAD
    assert output.routes() == [frozenset()]


def test_forcing_with_factors_one_runs_no_gate_in_evaluation(monkeypatch):
    model = mixed_model(small_config())

    def forbidden(*_):
        raise AssertionError("a gate ran")

    monkeypatch.setattr(CellModule, "gate_factors", forbidden)
    with torch.no_grad():
        model(images(1, 64, 64), route=all_paths(model))
        with pytest.raises(AssertionError, match="a gate ran"):
            model(images(1, 64, 64), route=all_paths(model), route_factors="gate")


def test_route_errors():
    model = mixed_model(small_config())
    with pytest.raises(ValueError, match=r"no path 'up' leaves cell 0\.0"):
        model(images(1, 64, 64), route=frozenset({(Cell(0, 0), "up")}))
    with pytest.raises(ValueError, match="2 routes for 3 images"):
        model(images(3, 64, 64), route=[frozenset(), frozenset()])
    with pytest.raises(ValueError, match="route_factors='two': choose from one, gate"):
        model(images(1, 64, 64), route=frozenset(), route_factors="two")


# --- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", ["full", "small"])
def test_the_expected_cost_moves_every_gate(gate):
    model = Segmenter(small_config(gate=gate)).train()
    model(images(2, 64, 64)).cost(height=64, width=64, accounting="paper").expected_macs.mean().backward()
    biases = {n: p.grad for n, p in model.named_parameters() if ".gate.factors.bias" in n}
    assert len(biases) == len(model.space.cells)
    for name, gradient in biases.items():
        assert gradient is not None, name
        assert gradient.abs().max() > 0, name
    for cell in model.space.last_cells:  # whose opening changes no other gate: a larger bias is dearer
        assert biases[f"cells.{module_name(cell)}.gate.factors.bias"].min() > 0
    assert all(p.grad is None for n, p in model.named_parameters() if n.startswith("head."))


def test_every_parameter_gets_a_gradient_from_the_logits():
    model = Segmenter(small_config()).train()
    model(images(2, 64, 64)).logits.square().mean().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or p.grad.abs().max() == 0] == []


def test_drop_path_rises_with_the_layer_and_rests_in_evaluation(monkeypatch):
    model = Segmenter(small_config())
    model.drop_path = 0.3
    given = {}
    original = CellModule.hidden
    names = {id(model.cell(cell)): cell for cell in model.space.cells}

    def hidden(self, x, drop_path=0.0):
        given[names[id(self)]] = drop_path
        return original(self, x, drop_path)

    monkeypatch.setattr(CellModule, "hidden", hidden)
    with torch.no_grad():
        model.train()(images(2, 64, 64))
    # p · (l + 1) / L with L = 4, nothing in the initial cell
    assert given == pytest.approx({cell: 0.3 * (cell.layer + 1) / 4 for cell in model.space.cells}, rel=1e-12)
    assert given[INITIAL] == 0
    given.clear()
    with torch.no_grad():
        model.eval()(images(2, 64, 64))
    assert set(given.values()) == {0.0}


# --- devices and number formats --------------------------------------------------------------------------------------


def test_channels_last_gives_the_same():
    model, batch = mixed_model(small_config()), images(2, 64, 96)
    with torch.no_grad():
        plain = model(batch).logits
        model.to(memory_format=torch.channels_last)
        close(model(batch.to(memory_format=torch.channels_last)).logits, plain)


def test_integer_and_float_images_give_the_same():
    model, batch = mixed_model(small_config()), images(2, 33, 40)
    with torch.no_grad():
        assert torch.equal(model(batch).logits, model(batch.float()).logits)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_weights_type_is_the_results(dtype):
    """Random gates open or close on a hair's breadth in half precision, so only firm ones can be compared."""
    model = set_gates(settled(Segmenter(small_config())).eval(), {})
    with torch.no_grad():
        single = model(images(2, 64, 64)).logits
        output = model.to(dtype)(images(2, 64, 64))
    assert output.logits.dtype == dtype
    # bfloat16 has 8 bits, 4e-3 a rounding; some twenty layers of them.
    assert (output.logits.float() - single).abs().max() < 0.1 * single.abs().max()


@pytest.mark.parametrize("training", [False, True])
def test_autocast(training):
    model = set_gates(settled(Segmenter(small_config())), {Cell(1, 1): SHUT}).train(training)
    with torch.no_grad():
        single = model(images(2, 64, 64)).logits
    with torch.autocast("cpu", torch.bfloat16):
        output = model(images(2, 64, 64))
    assert torch.isfinite(output.logits).all()
    assert (output.logits.float() - single).abs().max() < 0.1 * single.abs().max()  # as above
    cost = output.cost(height=64, width=64, accounting="paper")
    assert cost.expected_macs.dtype == torch.float32
    if training:
        (output.logits.float().mean() + cost.expected_macs.mean() * 1e-6).backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_the_core_never_names_a_device_by_itself():
    sources = Path(dynroute_core.__file__).parent.rglob("*.py")
    assert [path.name for path in sources if ".cuda(" in path.read_text()] == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same():
    model, batch = mixed_model(small_config(), seed=4), images(4, 96, 128)
    with torch.no_grad():
        here = model(batch)
        there = model.cuda()(batch.cuda())
    close(there.logits.cpu(), here.logits)
    assert there.routes() == here.routes()


def test_module_names():
    assert (module_name(INITIAL), module_name(Cell(3, 2))) == ("init", "3_2")
    assert math.tanh(FIRM) > 0.99
