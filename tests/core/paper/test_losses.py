"""Cross-entropy over labelled pixels, and the budget: when it starts, how it rises, what it is."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from dynroute_core.losses import Budget, budget_loss, budget_ramp, budget_target, segmentation_loss


def logits_and_labels():
    logits = torch.randn(2, 5, 7, 9, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 5, (2, 7, 9)).to(torch.uint8)
    labels[torch.rand(2, 7, 9) < 0.3] = 255
    return logits, labels


def test_cross_entropy_is_torchs_mean_over_labelled_pixels():
    logits, labels = logits_and_labels()
    ours = segmentation_loss(logits, labels)
    theirs = F.cross_entropy(logits, labels.long(), ignore_index=255)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-12)  # float64, one sum
    (ours_gradient,) = torch.autograd.grad(ours, logits, retain_graph=True)
    (theirs_gradient,) = torch.autograd.grad(theirs, logits)
    torch.testing.assert_close(ours_gradient, theirs_gradient)


def test_the_mean_is_over_the_batch_not_over_images():
    """An image with one labelled pixel weighs as much as that pixel."""
    logits = torch.zeros(2, 2, 2, 2)
    logits[1, 0] = 10.0
    labels = torch.tensor([[[0, 255], [255, 255]], [[1, 1], [1, 1]]])
    wrong = math.log(1 + math.exp(10))
    assert segmentation_loss(logits, labels).item() == pytest.approx((math.log(2) + 4 * wrong) / 5, rel=1e-6)


def test_a_batch_without_labels_gives_zero_and_zero_gradients():
    logits, labels = logits_and_labels()
    assert torch.isnan(F.cross_entropy(logits, torch.full_like(labels, 255).long(), ignore_index=255))  # torch's own
    loss = segmentation_loss(logits, torch.full_like(labels, 255))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize(
    ("iteration", "weight"),
    # 190 000 iterations: starts at 76 000, rises over 3 800.
    [(0, 0), (75_999, 0), (76_000, 0), (76_038, 0.01), (77_900, 0.5), (79_799, 3799 / 3800), (79_800, 1), (189_999, 1)],
)
def test_budget_ramp_of_the_published_schedule(iteration, weight):
    assert budget_ramp(Budget(weight=0.8, target=0.1), iteration, 190_000) == pytest.approx(weight, abs=1e-9)


def test_the_budgets_target_descends_from_one_and_stays_or_is_there_at_once():
    budget = Budget(weight=1, target=0.2, start=0.4, descent=0.4)
    found = [budget_target(budget, i, 100) for i in (0, 40, 60, 79, 80, 99)]
    assert found == pytest.approx([1, 1, 0.6, 0.22, 0.2, 0.2], rel=1e-12)
    at_once = Budget(weight=1, target=0.2, start=0.4)
    assert {budget_target(at_once, i, 100) for i in (0, 40, 41, 99)} == {0.2}


def test_budget_ramp_without_a_ramp_is_a_step():
    budget = Budget(weight=1, target=0.1, start=0.5, ramp=0)
    assert [budget_ramp(budget, i, 10) for i in (4, 5, 9)] == [0, 1, 1]
    assert budget_ramp(Budget(weight=1, target=0.1, start=0, ramp=0), 0, 10) == 1


def test_budget_loss_in_closed_form():
    budget = Budget(weight=0.8, target=0.1)
    expected = torch.tensor([8e9, 12e9], dtype=torch.float64, requires_grad=True)
    loss = budget_loss(expected, budget, denominator_macs=26300e6, ramp=0.25)
    over = 10e9 / 26300e6 - 0.1  # the batch's mean, then the square: not the mean of squares
    assert loss.item() == pytest.approx(0.8 * 0.25 * over**2, rel=1e-12)
    loss.backward()
    assert expected.grad.tolist() == pytest.approx([0.8 * 0.25 * 2 * over / 26300e6 / 2] * 2, rel=1e-12)


def test_budget_also_pulls_up_from_below():
    expected = torch.tensor([1e6], requires_grad=True)
    budget_loss(expected, Budget(weight=1, target=0.1), denominator_macs=26300e6, ramp=1.0).backward()
    assert expected.grad.item() < 0


@pytest.mark.parametrize("field", ["weight", "target", "start", "ramp", "descent"])
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_impossible_budgets_are_refused(field, value):
    with pytest.raises(ValueError, match=f"budget.{field}="):
        Budget(**{"weight": 0.5, "target": 0.1} | {field: value})
