"""The short recipe's parts in closed form: cosine, AdamW with gates by SGD, averaged weights, classes' weights."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dynroute_core.checkpoint import load_snapshot, save_snapshot
from dynroute_core.losses import Budget, budget_loss, next_multiplier, segmentation_loss
from dynroute_core.optimizer import (
    AVERAGE,
    BETAS,
    EPSILON,
    average_weights,
    class_weights,
    kept_share,
    learning_rate,
    make_optimizer,
    take_average,
)
from dynroute_core.recipe import TrainConfig
from dynroute_core.train import MULTIPLIER, Trainer
from support.sample_models import small_config
from support.training_steps import batch, training_model

SHORT = TrainConfig(
    recipe="short", iterations=8, batch=2, optimizer="adamw", gates_by_sgd=True, gate_lr_factor=3.0, schedule="cosine",
    lr=0.01, weight_decay=0.1, warmup_iterations=2, average=0.8, class_weights=True, crop_height=64, crop_width=64,
    precise_bn_batches=0, budget=Budget(weight=1.0, target=0.3, start=0.0, ramp=0.0, ascent=0.5), budget_macs=1e6,
)  # fmt: skip
CONFIG = small_config(layers=2)


@pytest.mark.parametrize(
    ("iteration", "factor"), [(0, 1e-3), (1, (1 + 1e-3) / 2 * 0.9619398), (4, 0.5), (7, 0.0380602)]
)
def test_cosine_with_warm_up(iteration, factor):
    """½(1 + cos πi/8), the warm-up linear over two iterations from 1e-3."""
    assert learning_rate(SHORT, iteration) == pytest.approx(0.01 * factor, rel=1e-6)


def test_decay_is_for_convolutions_outside_the_gates():
    model = training_model(CONFIG)
    decayed = {
        id(p): group["weight_decay"] for group in make_optimizer(model, SHORT).param_groups for p in group["params"]
    }
    norms = {id(p) for m in model.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters(recurse=False)}
    assert norms and any(".gate." in name for name, _ in model.named_parameters())
    for name, parameter in model.named_parameters():
        free = id(parameter) in norms or ".gate." in name or name.endswith("bias")
        assert decayed[id(parameter)] == (0.0 if free else 0.1), name


def test_a_step_by_hand():
    """AdamW's first step is lr · g/(|g| + ε) after the decay; the gates' is SGD's, by their own rate."""
    model = training_model(CONFIG)
    optimizer = make_optimizer(model, SHORT)
    for group in optimizer.param_groups:
        group["lr"] = SHORT.lr * group["lr_factor"]
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    optimizer.step()
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        if ".gate." in name:
            wanted = before[name] - 0.03 * gradient
        else:
            # Both moments' corrections cancel their first factors.
            wanted = before[name] * (1 - 0.01 * decays[id(parameter)]) - 0.01 * gradient / (gradient.abs() + EPSILON)
        assert torch.allclose(parameter, wanted, rtol=0, atol=1e-12), name
    assert BETAS == (0.9, 0.999)


def test_gates_by_adamw_where_not_told_otherwise():
    optimizer = make_optimizer(training_model(CONFIG), replace(SHORT, gates_by_sgd=False))
    assert not any(group["by_sgd"] for group in optimizer.param_groups)


def test_the_average_follows_the_weights_and_takes_their_place():
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    followed = None
    for number in range(4):
        with torch.no_grad():
            model.weight.fill_(float(number))
        average_weights(optimizer, 0.75)
        followed = number if followed is None else 0.75 * followed + 0.25 * number
        assert torch.allclose(optimizer.state[model.weight][AVERAGE], torch.tensor(float(followed)))
    take_average(optimizer)
    assert torch.allclose(model.weight, torch.tensor(float(followed)))


def test_the_average_forgets_the_beginning_sooner():
    """Steps i keep (1 + i)/(10 + i), until that is more than the setting."""
    assert [kept_share(SHORT, i) for i in (0, 5, 100)] == pytest.approx([0.1, 6 / 15, 0.8])


def test_classes_weights_in_closed_form():
    pixels = torch.tensor([700, 300, 0])
    share = pixels / 1000
    raw = [1 / math.log(1.02 + p) for p in (0.7, 0.3, 0.0)]
    scale = 0.7 * raw[0] + 0.3 * raw[1]
    weights = class_weights(pixels)
    assert weights.tolist() == pytest.approx([one / scale for one in raw], rel=1e-6)
    assert float((share * weights).sum()) == pytest.approx(1, rel=1e-6)  # of the pixels: the loss keeps its size


def test_weights_count_in_the_loss():
    torch.manual_seed(1)
    logits, labels = torch.randn(2, 3, 4, 4).double(), torch.randint(0, 3, (2, 4, 4))
    labels[0, 0] = 255
    weights = torch.tensor([0.5, 1.0, 4.0]).double()
    found = segmentation_loss(logits, labels, weights=weights)
    chances, total = torch.log_softmax(logits, 1), 0.0
    for image, row, column in (labels != 255).nonzero().tolist():
        label = int(labels[image, row, column])
        total -= float(weights[label] * chances[image, label, row, column])
    assert float(found) == pytest.approx(total / int((labels != 255).sum()), rel=1e-12)
    assert float(segmentation_loss(logits, labels)) != pytest.approx(float(found))


@pytest.mark.parametrize("stop", [3, 8])
def test_the_short_recipe_resumes_exactly(stop, tmp_path):
    """Also after its last iteration, before the average took the weights' place."""

    def trainer(seed: int) -> Trainer:
        return Trainer(training_model(CONFIG, seed=seed), SHORT, class_weights=torch.arange(1.0, CONFIG.classes + 1))

    def batches(start: int):
        for number in range(start, SHORT.iterations):
            torch.manual_seed(number)
            drawn = batch(CONFIG, 2, 64, 64)
            yield SimpleNamespace(images=drawn.images, labels=drawn.labels, names=("a", "b"))

    whole, before, after = trainer(0), trainer(0), trainer(1)
    for _ in whole.steps(batches(0)):
        pass
    for state in before.steps(batches(0)):
        if state.iteration + 1 == stop:
            save_snapshot(tmp_path / "a", before.snapshot())
            break
    unaveraged = copy.deepcopy(before.model.state_dict())
    after.restore(load_snapshot(tmp_path / "a"))
    for _ in after.steps(batches(stop)):
        pass
    ends = whole.model.state_dict(), after.model.state_dict()
    assert all(torch.equal(tensor, ends[1][name]) for name, tensor in ends[0].items())
    assert not torch.equal(unaveraged["head.predictor.weight"], ends[0]["head.predictor.weight"])


BUDGET = Budget(weight=10.0, target=0.3, start=0.0, ramp=0.0, ascent=0.5)


def test_the_constraint_in_closed_form():
    """w · (multiplier · e + λ · max(e, 0)²); the multiplier follows e and stays at least 0."""
    multiplier = torch.tensor(2.0)
    for macs, excess in ((80.0, 0.5), (10.0, -0.2)):
        given = torch.tensor([macs, macs])
        found = budget_loss(given, BUDGET, denominator_macs=100.0, ramp=0.5, multiplier=multiplier)
        assert float(found) == pytest.approx(0.5 * (2 * excess + 10 * max(excess, 0) ** 2), rel=1e-5)
        followed = next_multiplier(multiplier, given.mean(), BUDGET, denominator_macs=100.0)
        assert float(followed) == pytest.approx(2 + 0.5 * excess, rel=1e-5)
    low = next_multiplier(torch.tensor(0.05), torch.tensor(10.0), BUDGET, denominator_macs=100.0)
    assert float(low) == 0


def test_training_moves_the_multiplier():
    """Up while the cost is above the target, and into the checkpoint."""
    trainer = Trainer(training_model(CONFIG), replace(SHORT, budget=replace(BUDGET, target=0.0), budget_macs=1.0))
    torch.manual_seed(0)
    drawn = batch(CONFIG, 2, 64, 64)
    state = next(trainer.steps(iter([SimpleNamespace(images=drawn.images, labels=drawn.labels, names=("a", "b"))])))
    assert (
        float(trainer.multiplier) == pytest.approx(0.5 * float(state.expected_macs), rel=1e-5) and state.iteration == 0
    )
    assert torch.equal(trainer.snapshot().tensors[MULTIPLIER], trainer.multiplier)
