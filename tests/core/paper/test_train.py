"""Training: the recipe in closed form, one step by hand, exact resumption, precise batch norm."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from dynroute_core.checkpoint import Snapshot, load_snapshot, save_snapshot, training_tensors
from dynroute_core.losses import Budget, budget_loss, segmentation_loss
from dynroute_core.model import Segmenter
from dynroute_core.nonfinite import LONGEST_SKIP, NonFiniteLossError
from dynroute_core.optimizer import learning_rate, make_optimizer
from dynroute_core.recipe import TrainConfig
from dynroute_core.system.errors import BlockedError, UsageError
from dynroute_core.train import Trainer, precise_batch_norm
from support.sample_models import images, small_config

CONFIG = TrainConfig(
    iterations=12, batch=2, warmup_iterations=4, crop_height=64, crop_width=64, log_every=5, precise_bn_batches=3
)
PUBLISHED = TrainConfig()


@dataclass(frozen=True)
class Batch:
    images: Tensor
    labels: Tensor
    names: tuple[str, ...]


def batch_number(number: int) -> Batch:
    generator = torch.Generator().manual_seed(number)
    labels = torch.randint(0, 5, (2, 64, 64), generator=generator).to(torch.uint8)
    labels[:, :8] = 255
    return Batch(images(2, 64, 64, seed=number), labels, (f"a{number}", f"b{number}"))


def batches(start: int = 0) -> Iterator[Batch]:
    number = start
    while True:
        yield batch_number(number)
        number += 1


def make_model(**settings) -> Segmenter:
    torch.manual_seed(7)
    return Segmenter(small_config(layers=2, **settings)).to(memory_format=torch.channels_last)


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


# --- schedules -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("iteration", "factor"),
    [
        (0, 1e-3),
        (500, (1 - 500 / 190_000) ** 0.9 * 0.5005),  # half-way between 1e-3 and 1, times poly
        (1000, (1 - 1000 / 190_000) ** 0.9),
        (95_000, 0.5**0.9),
        (189_999, (1 / 190_000) ** 0.9),
    ],
)
def test_learning_rate_in_closed_form(iteration, factor):
    assert learning_rate(PUBLISHED, iteration) == pytest.approx(0.05 * factor, rel=1e-12)


def test_learning_rate_without_warm_up():
    config = replace(PUBLISHED, warmup_iterations=0)
    assert learning_rate(config, 0) == 0.05


def test_drop_path_rises_with_the_step_and_ends_with_training(monkeypatch):
    model = make_model()
    trainer = Trainer(model, replace(CONFIG, drop_path=0.3))
    seen = [model.drop_path for _ in trainer.steps(batches())]
    assert seen == pytest.approx([0.3 * i / 12 for i in range(12)], rel=1e-12)
    assert model.drop_path == 0


# --- optimiser -------------------------------------------------------------------------------------------------------


def test_weight_decay_and_learning_rate_by_parameter():
    model = make_model()
    optimizer = make_optimizer(model, replace(PUBLISHED, gate_lr_factor=2.5))
    of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    assert len(of) == sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))
    decays, factors = {}, {}
    for name, parameter in model.named_parameters():
        kind = name.rsplit(".", 2)[-2:]
        norm = ".norm." in name
        decays.setdefault((norm, kind[-1]), set()).add(of[id(parameter)]["weight_decay"])
        factors.setdefault(".gate." in name, set()).add(of[id(parameter)]["lr_factor"])
    # Norm weights and norm biases 0; convolutions' weights and biases 1e-4.
    assert decays == {
        (True, "weight"): {0.0},
        (True, "bias"): {0.0},
        (False, "weight"): {1e-4},
        (False, "bias"): {1e-4},
    }
    assert factors == {True: {2.5}, False: {1.0}}
    assert all(group["momentum"] == 0.9 for group in optimizer.param_groups)


def test_one_step_equals_torchs_sgd_by_hand():
    """Second step, so that momentum, decay, clipping, warm-up and both learning rates are in it."""
    config = replace(CONFIG, gate_lr_factor=2.5, clip_norm=0.05, weight_decay=0.01)
    model = make_model().double()  # float32 sums in another order may push a ReLU over its kink
    trainer = Trainer(model, config)
    steps = trainer.steps(batches())
    next(steps)
    first = {name: p.grad.clone() for name, p in model.named_parameters()}
    assert math.sqrt(sum(g.square().sum().item() for g in first.values())) == pytest.approx(0.05, rel=1e-4)  # clipped
    twin = make_model().double()
    twin.load_state_dict(model.state_dict())
    momentum = {
        n: trainer.optimizer.state[p]["momentum_buffer"].clone() for n, p in model.named_parameters()
    }  # of one step: its decayed gradient
    state = next(steps)

    twin.train()
    batch = batch_number(1)
    segmentation_loss(twin(batch.images).logits, batch.labels).backward()
    norm = torch.sqrt(sum(p.grad.square().sum() for p in twin.parameters()))
    scale = min(1.0, 0.05 / (norm.item() + 1e-6))
    assert scale < 1
    lr = 0.05 * (11 / 12) ** 0.9 * (1e-3 * 0.75 + 0.25)
    assert state.lr == pytest.approx(lr, rel=1e-12)
    for (name, p), after in zip(twin.named_parameters(), model.parameters(), strict=True):
        decay = 0.0 if ".norm." in name else 0.01
        update = 0.9 * momentum[name] + p.grad * scale + decay * p
        by_hand = p - lr * (2.5 if ".gate." in name else 1.0) * update
        # The twin's forward ran without channels-last input, so its gradients differ in their last bits.
        torch.testing.assert_close(after.data, by_hand.data, rtol=1e-9, atol=1e-9)


def test_gradients_below_the_limit_are_not_clipped():
    model = make_model()
    trainer = Trainer(model, replace(CONFIG, clip_norm=1e9))
    next(trainer.steps(batches()))
    norm = torch.sqrt(sum(p.grad.double().square().sum() for p in model.parameters()))
    assert norm.item() > 0.05


# --- the budget ------------------------------------------------------------------------------------------------------


def test_budget_starts_and_rises_in_the_loss():
    budget = Budget(weight=0.8, target=0.1, start=0.5, ramp=0.25)  # of 12: from iteration 6, full at 9
    trainer = Trainer(make_model(), replace(CONFIG, budget=budget, budget_macs=1e6))
    for state in trainer.steps(batches()):
        ramp = {6: 0, 7: 1 / 3, 8: 2 / 3}.get(state.iteration, 0 if state.iteration < 6 else 1)
        whole = budget_loss(state.expected_macs, budget, denominator_macs=1e6, ramp=1.0).item()
        assert whole > 0
        assert state.budget_loss.item() == pytest.approx(ramp * whole, rel=1e-5)  # float32
        assert state.loss.item() == pytest.approx(state.segmentation_loss.item() + ramp * whole, rel=1e-5)


def test_expected_cost_is_counted_at_the_crops_size():
    model = make_model(gate="none")
    state = next(Trainer(model, replace(CONFIG, crop_height=768, crop_width=768)).steps(batches()))
    output = model(batch_number(0).images)
    assert state.expected_macs.item() == output.cost(height=768, width=768, accounting="paper").expected_macs[0].item()


def test_the_budget_closes_what_cross_entropy_alone_leaves_open():
    costs = []
    for budget in (None, Budget(weight=200.0, target=0.0, start=0.0, ramp=0.0)):
        config = replace(CONFIG, iterations=30, warmup_iterations=0, clip_norm=100, budget=budget, budget_macs=1e6)
        trainer = Trainer(make_model(), config)
        costs.append([state.expected_macs.item() for state in trainer.steps(batches())][-1])
    assert costs[1] < 0.7 * costs[0]


def test_a_budget_needs_its_denominator():
    with pytest.raises(UsageError, match=r"train\.budget_macs"):
        Trainer(make_model(), replace(CONFIG, budget=Budget(weight=1, target=0.1)))


# --- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_non_finite_loss_names_iteration_and_files_and_leaves_the_weights(poison):
    model = make_model()
    trainer = Trainer(model, CONFIG)
    steps = trainer.steps(batches())
    next(steps)
    with torch.no_grad():
        model.head.predictor.bias[0] = poison
    parameters = [p.clone() for p in model.parameters()]
    momenta = [trainer.optimizer.state[p]["momentum_buffer"].clone() for p in model.parameters()]
    with pytest.raises(NonFiniteLossError, match=r"not finite at iteration 1 \(files: a1, b1\)"):
        next(steps)
    torch.testing.assert_close(list(model.parameters()), parameters, rtol=0, atol=0, equal_nan=True)
    for parameter, before in zip(model.parameters(), momenta, strict=True):
        assert torch.equal(trainer.optimizer.state[parameter]["momentum_buffer"], before)
    assert trainer.iteration == 1


def test_a_batch_left_out_leaves_weights_momentum_and_statistics(monkeypatch):
    """As if it had never come, but for the iteration; the next step is by the schedule's next learning rate."""
    model = make_model()
    trainer = Trainer(model, replace(CONFIG, skip_nonfinite=True))
    steps = trainer.steps(batches())
    next(steps)
    before = {name: tensor.clone() for name, tensor in training_tensors(model, trainer.optimizer).items()}
    assert any("running_mean" in name for name in before) and any(name.startswith("momentum/") for name in before)
    with monkeypatch.context() as patched:
        patched.setattr("dynroute_core.step.segmentation_loss", lambda logits, *_, **__: logits.sum() * math.nan)
        state = next(steps)
    assert (state.skipped, state.confusion) == (("a1", "b1"), None)
    for name, tensor in training_tensors(model, trainer.optimizer).items():
        assert torch.equal(tensor, before[name]), name
    assert (trainer.iteration, trainer.watch.skipped, trainer.watch.in_a_row) == (2, 1, 1)
    after = next(steps)
    assert after.skipped == () and trainer.watch.in_a_row == 0
    assert after.lr == learning_rate(CONFIG, 2)


def test_batches_left_out_in_a_row_have_a_limit():
    model = make_model()
    trainer = Trainer(model, replace(CONFIG, skip_nonfinite=True, iterations=LONGEST_SKIP + 1))
    with torch.no_grad():
        model.head.predictor.bias[0] = math.nan
    steps = trainer.steps(batches())
    for _ in range(LONGEST_SKIP - 1):
        assert next(steps).skipped
    kept = trainer.snapshot()
    again = Trainer(make_model(), trainer.config)
    again.restore(kept)  # the count of those in a row survives
    with pytest.raises(NonFiniteLossError, match=f"{LONGEST_SKIP} batches in a row"):
        next(again.steps(batches(again.iteration)))


def test_statistics_that_are_not_finite_stop_before_an_evaluation():
    model = make_model()
    with torch.no_grad():
        next(iter(model.stem.parameters())).fill_(math.inf)
    with pytest.raises(NonFiniteLossError, match="batch norm statistics are not finite"):
        precise_batch_norm(model, batches(), 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("iterations", 0),
        ("batch", 0),
        ("lr", 0.0),
        ("lr", math.nan),
        ("clip_norm", -1.0),
        ("momentum", -0.1),
        ("weight_decay", math.nan),
        ("poly_power", math.inf),
        ("warmup_factor", -1.0),
        ("drop_path", 1.0),
        ("drop_path", math.nan),
        ("scales", ()),
        ("scales", (0,)),
        ("warmup_iterations", -1),
        ("precise_bn_batches", -1),
        ("log_every", 0),
    ],
)
def test_impossible_recipes_are_refused(field, value):
    with pytest.raises(ValueError, match=field):
        TrainConfig(**{field: value})


# --- the loop --------------------------------------------------------------------------------------------------------


def test_logged_iterations_carry_a_confusion_matrix():
    states = list(Trainer(make_model(), CONFIG).steps(batches()))
    assert [state.iteration for state in states] == list(range(12))
    assert [s.iteration for s in states if s.confusion is not None] == [4, 9, 11]  # every fifth, and the last
    assert states[4].confusion.sum() == 2 * 56 * 64  # the labelled pixels of one batch


def test_images_are_fed_channels_last_where_asked():
    for wanted in (True, False):
        model = make_model()
        layouts = []
        model.stem.register_forward_hook(
            lambda _, given, __, seen=layouts: seen.append(given[0].is_contiguous(memory_format=torch.channels_last))
        )
        next(Trainer(model, replace(CONFIG, channels_last=wanted)).steps(batches()))
        assert layouts == [wanted]


def test_amp_trains():
    states = list(Trainer(make_model(), replace(CONFIG, iterations=3, amp=True)).steps(batches()))
    assert all(math.isfinite(state.loss.item()) for state in states)


def test_training_lowers_the_loss():
    def one_batch():
        while True:
            yield batch_number(0)

    trainer = Trainer(make_model(), replace(CONFIG, iterations=30))
    losses = [state.loss.item() for state in trainer.steps(one_batch())]
    assert losses[-1] < 0.97 * losses[0]


# --- resumption ------------------------------------------------------------------------------------------------------

DROPPING = replace(CONFIG, drop_path=0.5, budget=Budget(weight=0.8, target=0.1), budget_macs=1e6)


def run(trainer: Trainer, steps: int) -> list[float]:
    found = []
    for state in trainer.steps(batches(trainer.iteration)):
        found.append(state.loss.item())
        if len(found) == steps:
            break
    return found


def test_resuming_from_a_file_is_exact(tmp_path):
    """12 steps at once, and 5 + 7 through a file into new objects: the same bits, drop path included."""
    torch.manual_seed(3)
    whole = Trainer(make_model(), DROPPING)
    losses = run(whole, 12)

    torch.manual_seed(3)
    first = Trainer(make_model(), DROPPING)
    begun = run(first, 5)
    save_snapshot(tmp_path / "c", first.snapshot())
    torch.manual_seed(99)
    torch.rand(13)  # another process: its generator is elsewhere
    second = Trainer(make_model(), DROPPING)
    second.restore(load_snapshot(tmp_path / "c"))
    assert second.iteration == 5
    assert begun + run(second, 12) == losses
    ours, theirs = second.snapshot(), whole.snapshot()
    assert ours.facts == theirs.facts == {"iteration": 12, "skipped": 0, "skipped_in_a_row": 0}
    assert set(ours.tensors) == set(theirs.tensors)
    for name, tensor in theirs.tensors.items():
        assert torch.equal(ours.tensors[name], tensor), name
    assert sum(name.startswith("momentum/") for name in theirs.tensors) == len(list(whole.model.parameters()))


def test_the_test_above_can_fail():
    """Without the random state, drop path takes other branches."""
    losses = []
    for seed in (3, 4):
        torch.manual_seed(seed)
        trainer = Trainer(make_model(), DROPPING)
        torch.manual_seed(seed)
        losses.append(run(trainer, 12))
    assert losses[0] != losses[1]


def test_going_back_forgets_later_momentum():
    trainer = Trainer(make_model(), CONFIG)
    start = Snapshot({k: v.clone() for k, v in trainer.snapshot().tensors.items()}, trainer.snapshot().facts)
    losses = run(trainer, 3)
    trainer.restore(start)
    assert run(trainer, 3) == losses


def without(snapshot: Snapshot, name: str) -> Snapshot:
    return Snapshot({k: v for k, v in snapshot.tensors.items() if k != name}, snapshot.facts)


def test_snapshots_that_do_not_fit_are_refused():
    good = Trainer(make_model(), CONFIG).snapshot()
    for bad in (
        without(good, "model/head.predictor.bias"),
        without(good, "rng/cpu"),
        Snapshot(good.tensors, {}),
        Snapshot(good.tensors, good.facts | {"iteration": 13}),
        Snapshot(good.tensors, good.facts | {"iteration": -1}),
        Snapshot(good.tensors, good.facts | {"iteration": "5"}),
        Snapshot(good.tensors, good.facts | {"skipped": -1}),
        Snapshot(good.tensors, {"iteration": 0}),
        Trainer(Segmenter(small_config(layers=3)), CONFIG).snapshot(),
    ):
        with pytest.raises(BlockedError, match="Delete it to start anew"):
            Trainer(make_model(), CONFIG).restore(bad)


# --- precise batch norm ----------------------------------------------------------------------------------------------


def test_precise_batch_norm_is_the_plain_average_over_batches():
    model = make_model().double()
    norms = {name: module for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    seen = {name: [] for name in norms}
    handles = [
        module.register_forward_hook(lambda _, given, __, name=name: seen[name].append(given[0].detach()))
        for name, module in norms.items()
    ]
    model.eval()
    model.drop_path = 0.9  # must not reach the statistics
    progress = []
    before = torch.get_rng_state()
    precise_batch_norm(model, batches(), 3, each=progress.append)
    assert torch.equal(before, torch.get_rng_state())  # no draw for drop path
    for handle in handles:
        handle.remove()
    assert progress == [1, 2, 3]
    for name, module in norms.items():
        assert len(seen[name]) == 3
        mean = sum(x.mean((0, 2, 3)) for x in seen[name]) / 3
        variance = sum(x.var((0, 2, 3), unbiased=True) for x in seen[name]) / 3  # as torch's running variance
        torch.testing.assert_close(module.running_mean, mean, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(module.running_var, variance, rtol=1e-9, atol=1e-9)
        assert module.momentum == 0.1
    assert not model.training
    assert model.drop_path == 0.9


def test_precise_batch_norm_of_no_batches_changes_nothing():
    model = make_model()
    before = state_of(model)
    precise_batch_norm(model, iter(()), 0)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_precise_batch_norm_leaves_the_weights():
    model = make_model()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    precise_batch_norm(model, batches(), 2)
    assert all(torch.equal(before[name], parameter) for name, parameter in model.named_parameters())


def test_the_network_is_compiled_only_where_asked(monkeypatch):
    """With a stand-in: compiling takes minutes on a CPU. The model's own weights are what is trained either way."""
    asked = []

    class Compiled(nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, given):
            asked.append(len(given))
            return self.network(given)

    monkeypatch.setattr(torch, "compile", Compiled)
    plain = Trainer(make_model(), replace(CONFIG, iterations=2))
    losses = [state.loss.item() for state in plain.steps(batches())]
    assert asked == []
    trainer = Trainer(make_model(), replace(CONFIG, iterations=2, compile=True))
    assert [state.loss.item() for state in trainer.steps(batches())] == losses
    assert asked == [2, 2]
    assert state_of(trainer.model).keys() == state_of(plain.model).keys()
    assert set(trainer.snapshot().tensors) == set(plain.snapshot().tensors)
