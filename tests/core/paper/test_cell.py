"""One cell and its gate: factors, hidden state, paths, and what is sent for open, closed and dead images."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dynroute_core.cell import CLOSED, DEAD, OPEN, Arrived, CellModule, Forced, Gate, Sent, shrink
from dynroute_core.model import Segmenter
from dynroute_core.space import ModelConfig

PATHS = ("keep", "up", "down")
EXACT = 1e-12  # float64, one cell deep


def cell_with(*biases, gate="full", **settings):
    """A float64 cell of 4 channels in evaluation whose gate ignores its input."""
    config = ModelConfig(channels=4, gate=gate, **settings)
    module = CellModule(4, PATHS[: len(biases)], config, drop_share=1.0).double().eval()
    if module.gate is not None:
        nn.init.zeros_(module.gate.factors.weight)
        module.gate.factors.bias.data = torch.tensor(biases, dtype=torch.float64)
    return module


def close(a, b):
    torch.testing.assert_close(a, b, rtol=EXACT, atol=EXACT)


def some_x(n=2, size=8):
    return torch.randn(n, 4, size, size, dtype=torch.float64)


EVERYONE = torch.tensor([True, True])


def test_gate_by_hand():
    gate = Gate(4, 3, small=False).double().eval()
    x = some_x()
    nn.init.normal_(gate.factors.bias)
    y = F.relu(gate.reduce.norm(F.conv2d(x, gate.reduce.conv.weight))).mean((2, 3))
    weight, bias = gate.factors.weight[:, :, 0, 0], gate.factors.bias
    close(gate(x), torch.tanh(y @ weight.T + bias).clamp(min=0))
    assert gate(x).shape == (2, 3)


def test_small_gate_sees_a_quarter():
    gate = Gate(4, 2, small=True).double().eval()
    x = some_x(size=16)
    seen = []
    gate.reduce.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    gate(x)
    # At a step of 4, bilinear sampling without aligned corners lies between pixels 4i + 1 and 4i + 2.
    rows = (x[..., 1::4, :] + x[..., 2::4, :]) / 2
    close(seen[0], (rows[..., 1::4] + rows[..., 2::4]) / 2)


@pytest.mark.parametrize(
    ("size", "shrunk"), [((1, 1), (1, 1)), ((3, 9), (1, 2)), ((4, 7), (1, 1)), ((17, 8), (4, 2)), ((2, 64), (1, 16))]
)
def test_shrinking_leaves_at_least_one_pixel(size, shrunk):
    assert shrink(torch.randn(1, 2, *size)).shape[-2:] == shrunk


def plain_gate(gate, x):
    return torch.tanh(gate.factors(gate.reduce(x).mean((2, 3), keepdim=True))).clamp(min=0).flatten(1)


def input_gradient(forward, x):
    x = x.clone().requires_grad_()
    (forward(x) * torch.arange(2 * len(x)).view(-1, 2)).sum().backward()
    return x.grad


def test_one_position_alike_in_all_images_gets_no_gradient_and_any_difference_the_whole():
    gate = Gate(8, 2, small=False).train()
    alike = torch.randn(1, 8, 1, 1).expand(4, -1, -1, -1)
    assert input_gradient(lambda x: plain_gate(gate, x), alike).abs().max() > 1  # √eps in the denominator
    assert not input_gradient(gate, alike).any()
    assert gate.factors.bias.grad.any()
    several = alike + 1e-3 * torch.randn(4, 8, 1, 1)
    assert torch.equal(input_gradient(gate, several), input_gradient(lambda x: plain_gate(gate, x), several))
    assert torch.equal(gate(alike), plain_gate(gate, alike))


def test_images_of_another_process_are_told_apart_too():
    gate = Gate(8, 2, small=False).train()
    mine, other = (torch.randn(1, 8, 1, 1).expand(4, -1, -1, -1) for _ in range(2))
    elsewhere = []
    gate.total = lambda own: elsewhere.append(own) or own
    gate(other)
    gate.total = lambda own: own + elsewhere[0]
    assert input_gradient(gate, mine).any()


def test_cells_that_no_image_reaches_leave_the_gradient_alone(monkeypatch):
    """At crops of 160 the coarsest gates see one position, with every down path shut the same in every image."""

    def gradient_norm():
        torch.manual_seed(0)
        model = Segmenter(ModelConfig(layers=10, channels=8, classes=3, gate="small")).train()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.bias, 0.3, 0.3)
            if isinstance(module, CellModule) and "down" in module.paths:
                nn.init.constant_(module.gate.factors.bias[module.paths.index("down")], -9.0)
        model(torch.randn(4, 3, 160, 160)).logits.square().mean().backward()
        return float(torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm())

    assert gradient_norm() < 100
    monkeypatch.setattr("dynroute_core.cell.ALIKE", -1.0)
    assert gradient_norm() > 1e5


def test_paths_by_hand():
    module = cell_with(0.3, 0.6, 0.9)
    x = some_x()
    sent, gate = module(x, EVERYONE)
    h = F.relu(module.operations[0](x) + x)
    up = F.interpolate(F.relu(module.up.norm(module.up.conv(h))), scale_factor=2, mode="bilinear")
    strided = F.conv2d(h, module.down.conv.weight, stride=2)  # what the model spells as every second pixel
    by_hand = {"keep": h, "up": up, "down": F.relu(module.down.norm(strided))}
    for factor, path in zip((0.3, 0.6, 0.9), PATHS, strict=True):
        close(sent[path].features, math.tanh(factor) * by_hand[path])
        assert sent[path].images.all()
    assert gate.state.tolist() == [OPEN, OPEN]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (2, 7)])
def test_down_of_odd_maps_equals_a_strided_convolution(height, width):
    module = cell_with(1.0, 1.0, 1.0)
    h = torch.rand(1, 4, height, width, dtype=torch.float64)
    strided = F.relu(module.down.norm(F.conv2d(h, module.down.conv.weight, stride=2)))
    close(module.path_output("down", h), strided)


@pytest.mark.parametrize("training", [False, True])
def test_a_closed_cell_passes_its_input_on(training):
    module = cell_with(-1.0, -1.0, 5e-5)  # a sum of 5e-5 is under 1e-4
    module.train(training)
    x = some_x()
    sent, gate = module(x, EVERYONE)
    assert gate.state.tolist() == [CLOSED, CLOSED]
    assert gate.factors.tolist() == [[1, 0, 0]] * 2
    close(sent["keep"].features, x)
    for path in ("up", "down"):
        features = sent[path].features
        assert features is None if not training else features.abs().max() == 0


def test_just_above_the_threshold_it_is_open():
    _, gate = cell_with(-1.0, -1.0, 1.1e-4)(some_x(), EVERYONE)
    assert gate.state.tolist() == [OPEN, OPEN]


def test_an_open_cell_sends_zeros_along_a_shut_path_and_reaches_its_target():
    sent, gate = cell_with(1.0, -1.0, 1.0)(some_x(), EVERYONE)
    assert gate.factors[:, 1].tolist() == [0, 0]
    assert sent["up"].features is None
    assert sent["up"].images.all()


def test_a_dead_cell_sends_nothing_and_runs_nothing(monkeypatch):
    module = cell_with(1.0, 1.0, 1.0)

    def forbidden(*_):
        raise AssertionError("a dead cell ran")

    for name in ("gate_factors", "hidden", "path_output"):
        monkeypatch.setattr(module, name, forbidden)
    sent, gate = module(some_x() * 0, ~EVERYONE)
    assert gate.state.tolist() == [DEAD, DEAD]
    assert gate.factors.abs().max() == 0
    assert all(what.features is None and not what.images.any() for what in sent.values())
    with pytest.raises(AssertionError, match="a dead cell ran"):  # the guard can fire
        module(some_x(), EVERYONE)


def test_open_closed_and_dead_images_share_a_batch():
    module = cell_with(0.5, 0.5, 0.5)
    # The stronger an image, the more its gate closes, path by path.
    module.gate.factors.weight.data += -torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64).view(3, 1, 1, 1)
    x = some_x(n=16) * torch.linspace(0, 3, 16, dtype=torch.float64).view(16, 1, 1, 1)
    reached = torch.arange(16) % 4 != 0
    x[~reached] = 0
    sent, gate = module(x, reached)
    counts = [int((gate.state == s).sum()) for s in (OPEN, CLOSED, DEAD)]
    assert counts[2] == 4
    assert min(counts) > 0, "pick another seed: all three states should be met"
    for k in range(16):
        alone, own = module(x[k : k + 1], reached[k : k + 1])
        assert own.state.item() == gate.state[k]
        for path in PATHS:
            together = sent[path].features[k : k + 1]
            close(together, torch.zeros_like(together) if alone[path].features is None else alone[path].features)
            assert alone[path].images.item() == sent[path].images[k]


def test_forced_paths():
    module = cell_with(0.3, 0.6, 0.9)
    mask = torch.tensor([[True, False, True], [False, False, False]])
    free, _ = module(some_x(), EVERYONE)
    assert set(free) == set(PATHS)
    for training in (False, True):
        _, one = module.train(training)(some_x(), EVERYONE, forced=Forced(mask, "one"))
        assert one.factors.tolist() == [[1, 0, 1], [0, 0, 0]]  # left out of the route: not even the identity keep
        assert one.state.tolist() == [OPEN, CLOSED]
        sent, own = module(some_x(), EVERYONE, forced=Forced(mask, "gate"))
        assert own.factors.flatten().tolist() == pytest.approx([math.tanh(0.3), 0, math.tanh(0.9), 0, 0, 0], abs=EXACT)
        assert sent["keep"].features[1].abs().max() == 0


def test_without_a_gate_every_factor_is_one():
    module = cell_with(0.0, 0.0, 0.0, gate="none")
    x = some_x()
    sent, gate = module(x, EVERYONE)
    assert module.gate is None
    assert gate.factors.tolist() == [[1, 1, 1]] * 2
    close(sent["keep"].features, module.hidden(x))


def test_arrivals_add_up():
    nobody, first = torch.tensor([False, False]), torch.tensor([True, False])
    here = Arrived(None, nobody)
    here.add(Sent(None, first))
    assert here.features is None
    assert here.images.tolist() == [True, False]
    for _ in range(2):
        here.add(Sent(torch.ones(2, 1, 1, 1), nobody))
    assert here.features.flatten().tolist() == [2, 2]
    assert here.images.tolist() == [True, False]


# --- drop path -------------------------------------------------------------------------------------------------------


def test_drop_path_drops_whole_operations_per_image_and_keeps_the_expectation():
    module = cell_with(1.0, operations=("conv_3x3_basic", "skip_connect"))
    x = some_x(n=1, size=3)
    operation = module.operations[0](x)
    many = x.expand(4000, -1, -1, -1)
    h = module.hidden(many, 0.25)
    kept, dropped = F.relu(x + operation / 0.75), F.relu(x)  # the identity is never dropped
    is_kept = (h - kept).abs().amax((1, 2, 3)) < 1e-9
    is_dropped = (h - dropped).abs().amax((1, 2, 3)) < 1e-9
    assert (is_kept ^ is_dropped).all()
    # 4000 draws: the share of kept ones has a standard deviation of 0.0069; 5 of them.
    assert is_kept.double().mean().item() == pytest.approx(0.75, abs=0.035)


def test_each_operation_is_dropped_by_its_own_draw():
    module = cell_with(1.0, operations=("sep_conv_3x3", "conv_3x3_basic"))
    h = module.hidden(some_x(n=1, size=3).expand(400, -1, -1, -1), 0.5)
    assert len({tuple(row.flatten().tolist()) for row in h}) == 4


def test_no_drop_path_draws_no_random_number():
    module, x = cell_with(1.0), some_x()
    before = torch.get_rng_state()
    module.hidden(x, 0.0)
    assert torch.equal(torch.get_rng_state(), before)
