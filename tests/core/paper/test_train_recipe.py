"""The recipe against the original's numbers: a golden batch's step, whole trainings, drop path by layer and step."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from dynroute_core.model import Segmenter
from dynroute_core.recipe import TrainConfig
from dynroute_core.space import INITIAL
from dynroute_core.train import Trainer
from dynroute_core.weights.released_names import original_name
from support.golden_files import (
    TRAIN_FILES,
    TRAJECTORY_FILES,
    batch,
    build,
    distance,
    load,
    recipe,
    relative_error,
    within,
)
from support.sample_models import images, small_config

PUBLISHED_LR, PUBLISHED_WARM_UP = 0.05, 1e-3
# Of a tensor's largest entry. Measured: 6e-11 of weights and statistics, 4e-13 of losses. Sums in another order differ
# by 1e-15, which every step multiplies by a few.
FOLLOWED = 1e-7


@pytest.mark.parametrize("name", TRAIN_FILES)
@pytest.mark.parametrize("warmup_iterations", [1000, 0])
@pytest.mark.parametrize("clip_norm", [5.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_a_step_on_the_golden_batch_is_torchs_on_the_golden_gradients(name, warmup_iterations, clip_norm, dtype):
    """At iteration 0 of the published schedule (lr 0.05 × 1e-3), and without warm-up, where the step can be seen."""
    facts, tensors = load(name)
    golden = within(load(f"{name}_float64")[1], "grad")
    norms = {k.removesuffix(".running_mean") for k in within(tensors, "weights") if k.endswith(".running_mean")}
    config = recipe(
        facts, 2, warmup_iterations=warmup_iterations, clip_norm=clip_norm, start=0.0, ramp=0.0,
        channels_last=False,  # as the original ran: in the other layout, torch's own rounding is larger (LOG.md)
    )  # fmt: skip
    model = build(facts, tensors, dtype)
    before = {original_name(n): p.detach().clone() for n, p in model.named_parameters()}
    trainer = Trainer(model, config)
    state = next(trainer.steps(iter([batch(tensors)])))
    lr = PUBLISHED_LR * (PUBLISHED_WARM_UP if warmup_iterations else 1)
    assert state.lr == pytest.approx(lr, rel=1e-12)
    assert state.loss.dtype == dtype
    assert state.loss.item() == pytest.approx(sum(facts["losses"].values()), rel=1e-4)

    total = torch.sqrt(sum(g.square().sum() for g in golden.values())).item()
    scale = min(1.0, clip_norm / (total + 1e-6))  # torch's guard against a norm of 0, the original's too
    assert (scale < 1) == (clip_norm < total)
    theirs = {n: nn.Parameter(before[n].double().clone()) for n in golden}
    for n, parameter in theirs.items():
        parameter.grad = golden[n] * scale
    groups = [
        {"params": [p for n, p in theirs.items() if (n.rsplit(".", 1)[0] in norms) == norm], "weight_decay": decay}
        for norm, decay in ((True, 0.0), (False, 1e-4))
    ]
    sgd = torch.optim.SGD(groups, lr=lr, momentum=0.9)
    sgd.step()
    assert groups[0]["params"] and groups[1]["params"]
    ours = {original_name(n): p for n, p in model.named_parameters()}
    largest = max(g.abs().max() for g in golden.values()) * scale
    # As gradients do (test_golden.py): in float32 they are as far from float64 as the original's, at most twice.
    rounded = 1e-9 if dtype == torch.float64 else 2 * distance(within(tensors, "grad"), golden)
    for n, parameter in theirs.items():
        momentum = trainer.optimizer.state[ours[n]]["momentum_buffer"]
        assert (momentum - sgd.state[parameter]["momentum_buffer"]).abs().max() <= rounded * largest, n
        rounding = 2 * torch.finfo(dtype).eps * before[n].abs().max()  # of a weight, and of its step
        assert (ours[n] - parameter).abs().max() <= lr * rounded * largest + rounding, n
    if not warmup_iterations and clip_norm == 5.0:  # the step is no rounding error
        moved = max((parameter - before[n]).abs().max() for n, parameter in theirs.items())
        assert moved > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAJECTORY_FILES)
def test_a_whole_training_is_the_originals(name):
    """In float64: schedule, decay groups, momentum, clipping (one step of the second), budget from the sixth step on,
    batch norm's statistics."""
    facts, tensors = load(name)
    batches = [batch(tensors, f"batch/{number}/") for number in range(facts["batches"])]
    settings = {key: facts[key] for key in ("iterations", "warmup_iterations", "lr", "clip_norm")}
    model = build(facts, tensors, torch.float64)
    trainer = Trainer(model, recipe(facts, len(batches[0].images), **settings))
    for state, theirs in zip(trainer.steps(itertools.cycle(batches)), facts["steps"], strict=True):
        assert state.lr == pytest.approx(theirs["lr"], rel=1e-12)
        assert state.segmentation_loss.item() == pytest.approx(theirs["loss_sem_seg"], rel=FOLLOWED)
        assert state.budget_loss.item() == pytest.approx(theirs["loss_budget"], rel=FOLLOWED)
        assert state.expected_macs.item() / 1e6 == pytest.approx(theirs["expected_mflops"], rel=FOLLOWED)
        squares = [p.grad.square().sum() for p in model.parameters() if p.grad is not None]
        norm = theirs["gradient_norm"]  # before clipping; ours is read after it
        clipped = norm * min(1.0, facts["clip_norm"] / (norm + 1e-6))
        assert torch.stack(squares).sum().sqrt().item() == pytest.approx(clipped, rel=FOLLOWED)
    ours = {original_name(n): value for n, value in model.state_dict().items() if "num_batches" not in n}
    final = within(tensors, "final")
    assert set(ours) == set(final)
    for n, value in final.items():
        assert value.dtype == ours[n].dtype == torch.float64
        assert relative_error(ours[n], value) < FOLLOWED, n


@pytest.mark.suite
def test_drop_path_by_layer_and_step():
    """p · (l + 1)/L · step/total: never in the initial cell, whole in the last layer of the last step."""
    from dynroute_suite.figures.recipe import drop_probability

    config = TrainConfig(iterations=560_000, drop_path=0.3)
    assert drop_probability(config, 0, 16, 280_000) == pytest.approx(0.3 / 2 / 16, rel=1e-12)
    assert drop_probability(config, 15, 16, 560_000) == pytest.approx(0.3, rel=1e-12)
    model = Segmenter(small_config(layers=4))
    assert model.cell(INITIAL).drop_share == 0
    for cell in model.space.routed_cells:
        assert model.cell(cell).drop_share == pytest.approx((cell.layer + 1) / 4, rel=1e-12)


@pytest.mark.suite
def test_the_probability_that_a_cell_applies(monkeypatch):
    """What `hidden` is given in a training pass: the figure's formula, cell by cell."""
    from dynroute_suite.figures.recipe import drop_probability

    model = Segmenter(small_config(layers=4, gate="none")).train()
    config = TrainConfig(iterations=100, drop_path=0.3)
    model.drop_path = config.drop_path * 60 / config.iterations  # as the trainer sets it at iteration 60
    seen = {}
    for cell in model.space.cells:
        module = model.cell(cell)

        def watch(x, drop_path=0.0, *, cell=cell, real=module.hidden):
            seen[cell] = drop_path
            return real(x, drop_path)

        monkeypatch.setattr(module, "hidden", watch)
    model(images(2, 64, 64))
    assert seen.pop(INITIAL) == 0
    assert len(seen) == len(model.space.routed_cells)
    for cell, probability in seen.items():
        assert probability == pytest.approx(drop_probability(config, cell.layer, 4, 60), rel=1e-12)
