"""Our model against the numbers of the original implementation, weights loaded under its own names.

Tolerances: the original ran in float32 on the CPU; sums in another order differ by a few ulp per layer, which 16 to 33
layers amplify to about 1e-5 of the largest entry. Costs are sums of float32 products. Labels may differ only where the
two best logits tie to 1e-4.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dynroute_core.cell import CLOSED, DEAD, OPEN
from dynroute_core.cost import cost_table
from dynroute_core.losses import Budget, budget_loss, segmentation_loss
from dynroute_core.weights.released_names import original_name
from support.golden_files import EVAL_FILES, TRAIN_FILES, build, load

RELATIVE = 1e-4
COST_RELATIVE = 1e-5
FACTOR = 1e-5


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    scale = theirs.abs().max().clamp(min=1e-12)
    return ((ours - theirs).abs().max() / scale).item()


def test_all_seven_files_are_here():
    assert len(EVAL_FILES) == 5 and len(TRAIN_FILES) == 2


@pytest.fixture(scope="module", params=EVAL_FILES)
def evaluation(request):
    facts, tensors = load(request.param)
    model = build(facts, tensors).eval()
    images = torch.stack([tensors[f"image/{k}"] for k in range(len(facts["images"]))])
    with torch.inference_mode():
        batch = model(images)
        singles = [model(image[None]) for image in images]
    return facts, tensors, model, batch, singles


def test_evaluation_logits_and_labels(evaluation):
    facts, tensors, _, batch, singles = evaluation
    for k in range(len(facts["images"])):
        for logits in (batch.logits[k], singles[k].logits[0]):
            theirs = tensors[f"logits_every_4th_pixel/{k}"]
            assert relative_error(logits[:, ::4, ::4], theirs) < RELATIVE
            best, second = logits.topk(2, dim=0).values
            differs = logits.argmax(0) != tensors[f"labels/{k}"]
            assert not (differs & (best - second > 1e-4 * theirs.abs().max())).any()


def test_evaluation_costs(evaluation):
    facts, _, _, batch, _ = evaluation
    height, width = facts["nominal_size"]
    cost = batch.cost(height=height, width=width, accounting="repo")
    for k, image in enumerate(facts["images"]):
        assert cost.realised_macs[k].item() / 1e6 == pytest.approx(image["real_mflops"], rel=COST_RELATIVE)
        assert cost.expected_macs[k].item() / 1e6 == pytest.approx(image["expected_mflops"], rel=COST_RELATIVE)


def test_evaluation_gates(evaluation):
    facts, _, model, batch, singles = evaluation
    for k, image in enumerate(facts["images"]):
        assert len(image["gates"]) == len(model.space.cells)
        for text, theirs in image["gates"].items():
            cell = model.space.parse_cell(text)
            for gate, row in ((batch.gates[cell], k), (singles[k].gates[cell], 0)):
                if isinstance(theirs, str):
                    assert gate.state[row] == {"closed": CLOSED, "dead": DEAD}[theirs], (text, theirs)
                    continue
                assert gate.state[row] == OPEN, text
                by_name = dict(zip(("up", "keep", "down"), theirs, strict=True))
                expected = [by_name[path] for path in model.space.paths(cell)]
                assert gate.factors[row].tolist() == pytest.approx(expected, abs=FACTOR), text


@pytest.fixture(scope="module")
def one_thread():
    """The original ran on one thread. On two, float32 sums in another order push a few ReLUs over their kink, which
    moves small gradients about as far as a float64 run moves them (LOG.md)."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=TRAIN_FILES)
def training(request, one_thread):
    facts, tensors = load(request.param)
    model = build(facts, tensors).train()
    images = torch.stack([tensors["image/0"], tensors["image/1"]])
    labels = torch.stack([tensors["label/0"], tensors["label/1"]])
    output = model(images)
    losses = {"loss_sem_seg": segmentation_loss(output.logits, labels)}
    height, width = facts["nominal_size"]
    cost = output.cost(height=height, width=width, accounting="repo")
    config = facts["config"]
    if config.get("constrain"):
        # The released code's constant, whatever the network's width.
        budget = Budget(weight=config["lw"], target=config["mu"])
        losses["loss_budget"] = budget_loss(cost.expected_macs, budget, denominator_macs=26300e6, ramp=1.0)
    sum(losses.values()).backward()
    return facts, tensors, model, losses, cost


def test_training_losses_and_costs(training):
    facts, _, _, losses, cost = training
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx(facts["losses"], rel=1e-4)
    assert cost.realised_macs.mean().item() / 1e6 == pytest.approx(facts["real_mflops"], rel=COST_RELATIVE)
    assert cost.expected_macs.mean().item() / 1e6 == pytest.approx(facts["expected_mflops"], rel=COST_RELATIVE)


def test_every_gradient(training):
    _, tensors, model, _, _ = training
    theirs = {k.removeprefix("grad/"): v for k, v in tensors.items() if k.startswith("grad/")}
    ours = {original_name(name): parameter.grad for name, parameter in model.named_parameters()}
    assert set(theirs) <= set(ours)
    missing = [n for n, g in ours.items() if n not in theirs and g is not None and g.abs().max() > 0]
    assert not missing
    largest = max(g.abs().max() for g in theirs.values())
    for name, gradient in theirs.items():
        error = (ours[name] - gradient).abs().max()
        assert error < RELATIVE * largest, name
        # Within a tensor, too: the two loss terms reach a factor in another order than the original's, worth a few ulp.
        assert error <= 5e-4 * gradient.abs().max(), name


def test_batch_norm_statistics(training):
    _, tensors, model, _, _ = training
    theirs = {k.removeprefix("updated/"): v for k, v in tensors.items() if k.startswith("updated/")}
    ours = {original_name(name): buffer for name, buffer in model.named_buffers() if "running_" in name}
    running = {name: value for name, value in theirs.items() if "running_" in name}
    assert set(running) == set(ours)
    for name, value in running.items():
        assert relative_error(ours[name], value) < RELATIVE, name


def test_nominal_bound_is_respected(evaluation):
    _, _, model, batch, _ = evaluation
    table = cost_table(model.config, height=1024, width=2048, accounting="repo")
    realised = batch.cost(height=1024, width=2048, accounting="repo").realised_macs
    assert (realised >= table.all_closed * (1 - 1e-6)).all() and (realised <= table.all_open * (1 + 1e-6)).all()
