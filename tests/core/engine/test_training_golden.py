"""The compiled step against the original: its float64 gradients, and whole trainings, which `Trainer` itself runs."""

from __future__ import annotations

import itertools

import pytest
import torch

from dynroute_core.engine.training import CompiledTrainingStep, training_step, unavailable
from dynroute_core.train import Trainer
from dynroute_core.weights.released_names import original_name
from support.golden_files import (
    TRAIN_FILES,
    TRAJECTORY_FILES,
    batch,
    build,
    distance,
    gradients,
    load,
    recipe,
    relative_error,
    statistics,
    within,
)

# Of a tensor's largest entry, in float64. Sums in another order differ by 1e-15, which layers amplify: measured
# 2e-9 of gradients.
FOLLOWED = 1e-7
NO_WORSE = 2  # times as far from float64 as torch's float32 step: rounding is as large, and falls differently


class NotingStep(CompiledTrainingStep):
    """Keeps each step's gradient norm, as it was before clipping."""

    def __init__(self, model) -> None:
        super().__init__(model)
        self.norms: list[float] = []

    def clip(self, most):
        norm = super().clip(most)
        self.norms.append(float(norm))
        return norm

    def gradients(self):
        return {original_name(name): gradient for name, gradient in self._step.gradients().items()}


def compiled(model) -> NotingStep:
    if reason := unavailable(model):
        pytest.skip(reason)
    return NotingStep(model)


def one_step(name: str, dtype: torch.dtype, *, eager: bool = False):
    """The network and its step's gradients after one step of `Trainer` on a golden file's batch."""
    facts, tensors = load(name)
    model = build(facts, tensors, dtype)
    step = None if eager else compiled(model)
    given = batch(tensors)
    settings = {"start": 0.0, "ramp": 0.0} if facts["config"].get("constrain") else {}
    trainer = Trainer(model, recipe(facts, len(given.images), iterations=10, lr=1e-12, **settings), step=step)
    state = next(trainer.steps(itertools.repeat(given)))
    return facts, tensors, model, gradients(model) if step is None else step.gradients(), state


@pytest.mark.parametrize("name", TRAIN_FILES)
def test_gradients_and_statistics_in_float64(name):
    _, _, model, ours, state = one_step(name, torch.float64)
    facts, exact = load(f"{name}_float64")
    assert state.segmentation_loss.item() == pytest.approx(facts["losses"]["loss_sem_seg"], rel=FOLLOWED)
    for key, gradient in within(exact, "grad").items():
        assert relative_error(ours[key], gradient) < FOLLOWED, key
    buffers = statistics(model)
    for key, value in within(exact, "updated").items():
        if "running_" in key:
            assert relative_error(buffers[key], value) < FOLLOWED, key


@pytest.mark.parametrize("name", TRAIN_FILES)
def test_float32_is_no_further_from_float64_than_torch(name):
    """As `Trainer` runs torch, channels last: there its batch norm is thirty times further off than in the layout that
    the original ran in."""
    exact = within(load(f"{name}_float64")[1], "grad")
    eager = one_step(name, torch.float32, eager=True)[3]
    assert distance(one_step(name, torch.float32)[3], exact) <= NO_WORSE * distance(eager, exact)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAJECTORY_FILES)
def test_a_whole_training_is_the_originals(name):
    facts, tensors = load(name)
    batches = [batch(tensors, f"batch/{number}/") for number in range(facts["batches"])]
    settings = {key: facts[key] for key in ("iterations", "warmup_iterations", "lr", "clip_norm")}
    model = build(facts, tensors, torch.float64)
    step = compiled(model)
    trainer = Trainer(model, recipe(facts, len(batches[0].images), **settings), step=step)
    for state, theirs in zip(trainer.steps(itertools.cycle(batches)), facts["steps"], strict=True):
        assert state.segmentation_loss.item() == pytest.approx(theirs["loss_sem_seg"], rel=FOLLOWED)
        assert state.budget_loss.item() == pytest.approx(theirs["loss_budget"], rel=FOLLOWED)
        assert state.expected_macs.item() / 1e6 == pytest.approx(theirs["expected_mflops"], rel=FOLLOWED)
        assert step.norms[-1] == pytest.approx(theirs["gradient_norm"], rel=FOLLOWED)
    ours = {original_name(n): value for n, value in model.state_dict().items() if "num_batches" not in n}
    final = within(tensors, "final")
    assert set(ours) == set(final)
    for key, value in final.items():
        assert relative_error(ours[key], value) < FOLLOWED, key


def test_a_run_takes_the_compiled_step_where_it_can():
    facts, tensors = load(TRAIN_FILES[0])
    model = build(facts, tensors)
    compiled(model)
    assert isinstance(training_step(build(facts, tensors), recipe(facts, 2)), CompiledTrainingStep)
