"""A batch worked through in parts: what is equal to the whole batch's step, and by how much the rest differs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from dynroute_core.checkpoint import load_snapshot, save_snapshot
from dynroute_core.experiments import experiment, with_settings
from dynroute_core.losses import Budget, segmentation_loss
from dynroute_core.model import Segmenter
from dynroute_core.recipe import TrainConfig
from dynroute_core.system.errors import UsageError
from dynroute_core.train import StepState, Trainer
from support.sample_models import images, small_config

CONFIG = TrainConfig(
    iterations=8, batch=4, warmup_iterations=0, crop_height=64, crop_width=64, log_every=1, clip_norm=1e9
)
BUDGET = Budget(weight=0.8, target=0.1, start=0.0, ramp=0.0)
# Relative to the largest entry, in float64: the parts' gradients are summed in another order than the batch's.
EQUAL = 1e-9


@dataclass(frozen=True)
class Batch:
    images: Tensor
    labels: Tensor
    names: tuple[str, ...] = ("a", "b", "c", "d")


def batch_number(number: int) -> Batch:
    """Four images whose labelled pixels are very unequal in number: all, half, a row, none."""
    labels = torch.randint(0, 5, (4, 64, 64), generator=torch.Generator().manual_seed(number)).to(torch.uint8)
    labels[1, 32:] = labels[2, 1:] = labels[3] = 255
    return Batch(images(4, 64, 64, seed=number), labels)


def batches(start: int = 0) -> Iterator[Batch]:
    while True:
        yield batch_number(start)
        start += 1


def make_model(*, frozen_norms: bool) -> Segmenter:
    """Gates that differ from image to image. frozen_norms: batch norm by fixed statistics, in training too."""
    torch.manual_seed(7)
    model = Segmenter(small_config(layers=3)).double()
    for cell in model.space.cells:
        nn.init.normal_(model.cell(cell).gate.factors.weight, 0, 0.5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and frozen_norms:
            module.running_var.fill_(4.0)
            module.eval()
            module.train = lambda mode=True, norm=module: norm
    return model


def one_step(config: TrainConfig, *, frozen_norms: bool) -> tuple[StepState, dict[str, Tensor], dict[str, Tensor]]:
    """State, gradients and weights after the first step."""
    model = make_model(frozen_norms=frozen_norms)
    state = next(Trainer(model, config).steps(batches()))
    named = dict(model.named_parameters())
    return state, {n: p.grad.clone() for n, p in named.items()}, {n: p.detach().clone() for n, p in named.items()}


def difference(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """The largest difference, relative to the largest entry."""
    largest = max(tensor.abs().max() for tensor in theirs.values())
    return max(((ours[name] - theirs[name]).abs().max() / largest).item() for name in theirs)


@pytest.mark.parametrize("parts", [2, 4])
def test_gradient_step_and_losses_are_the_whole_batchs(parts):
    """Without the batch in batch norm, nothing tells the parts from the whole, ignored pixels included."""
    whole = one_step(CONFIG, frozen_norms=True)
    split = one_step(replace(CONFIG, accumulate=parts), frozen_norms=True)
    assert difference(split[1], whole[1]) < EQUAL
    assert difference(split[2], whole[2]) < EQUAL
    assert split[0].loss.item() == pytest.approx(whole[0].loss.item(), rel=EQUAL)
    assert split[0].segmentation_loss.item() == pytest.approx(whole[0].segmentation_loss.item(), rel=EQUAL)
    assert split[0].expected_macs.item() == pytest.approx(whole[0].expected_macs.item(), rel=EQUAL)
    assert torch.equal(split[0].confusion, whole[0].confusion)


def test_the_mean_of_the_parts_means_would_be_another_loss():
    """What dividing every part by its own labelled pixels gives: the test above would see it."""
    batch = batch_number(0)
    with torch.no_grad():
        logits = make_model(frozen_norms=True).train()(batch.images).logits
    whole = segmentation_loss(logits, batch.labels)
    parts = [segmentation_loss(*part) for part in zip(logits.chunk(2), batch.labels.chunk(2), strict=True)]
    assert abs(sum(parts) / 2 - whole) > 1000 * EQUAL * whole


def test_clipping_sees_the_sum_of_the_parts():
    config = replace(CONFIG, clip_norm=0.01)
    whole, split = (one_step(replace(config, accumulate=parts), frozen_norms=True)[1] for parts in (1, 4))
    assert sum(g.square().sum() for g in split.values()).sqrt().item() == pytest.approx(0.01, rel=1e-3)
    assert difference(split, whole) < EQUAL


def test_batch_norm_sees_a_part_at_a_time():
    """The one thing that accumulation cannot make equal: statistics over fewer images give another gradient."""
    whole, split = (one_step(replace(CONFIG, accumulate=parts), frozen_norms=False)[1] for parts in (1, 2))
    assert difference(split, whole) > 1000 * EQUAL


def test_the_budget_is_larger_by_the_variance_of_the_parts():
    config = replace(CONFIG, budget=BUDGET, budget_macs=1e6)
    model = make_model(frozen_norms=True).train()
    with torch.no_grad():
        expected = model(batch_number(0).images).cost(height=64, width=64, accounting="paper").expected_macs
    for parts in (1, 2, 4):
        shares = torch.stack([part.mean() for part in expected.chunk(parts)]).double() / config.budget_macs
        assert parts == 1 or shares.std() > 1e-3  # the images do differ
        whole = BUDGET.weight * (shares.mean() - BUDGET.target).square()
        by_hand = whole + BUDGET.weight * shares.var(correction=0)
        state = one_step(replace(config, accumulate=parts), frozen_norms=True)[0]
        assert state.budget_loss.item() == pytest.approx(by_hand.item(), rel=EQUAL)
        assert state.loss.item() == pytest.approx((state.segmentation_loss + by_hand).item(), rel=EQUAL)


def test_one_part_is_in_memory_at_a_time():
    model = make_model(frozen_norms=False)
    seen = []
    model.stem.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    next(Trainer(model, replace(CONFIG, accumulate=2)).steps(batches()))
    assert seen == [2, 2]


def test_resuming_is_exact(tmp_path):
    config = replace(CONFIG, accumulate=2, drop_path=0.5, budget=BUDGET, budget_macs=1e6)

    def run(trainer: Trainer, steps: int) -> list[float]:
        given = trainer.steps(batches(trainer.iteration))
        return [next(given).loss.item() for _ in range(steps)]

    torch.manual_seed(3)
    first = Trainer(make_model(frozen_norms=False), config)
    begun = run(first, 3)
    save_snapshot(tmp_path / "c", first.snapshot())
    rest = run(first, 5)
    second = Trainer(make_model(frozen_norms=False), config)
    second.restore(load_snapshot(tmp_path / "c"))
    assert run(second, 5) == rest
    assert len(set(begun + rest)) == 8


def test_parts_of_unequal_size_are_refused():
    with pytest.raises(ValueError, match="accumulate=3 does not divide batch=8"):
        TrainConfig(accumulate=3)
    with pytest.raises(ValueError, match="accumulate=0"):
        TrainConfig(accumulate=0)


def test_a_part_needs_more_than_one_value_for_batch_norm():
    config = replace(CONFIG, crop_height=32, crop_width=32)
    Trainer(make_model(frozen_norms=False), replace(config, accumulate=2))
    with pytest.raises(UsageError, match=r"batch=4 in 4 parts .* at least 2 images a part"):
        Trainer(make_model(frozen_norms=False), replace(config, accumulate=4))


def test_it_is_a_setting_of_every_run():
    changed = with_settings(experiment("dynamic-raw", profile="full", data="cityscapes"), {"train.accumulate": "4"})
    assert (changed.train.batch, changed.train.accumulate) == (8, 4)
    with pytest.raises(UsageError, match="does not divide"):
        with_settings(experiment("dynamic-raw"), {"train.accumulate": "3"})
