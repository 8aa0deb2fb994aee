"""The compiled step's update is torch's: clipping, SGD, AdamW, average. Checkpoints fit both; resuming is exact."""

from __future__ import annotations

import copy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dynroute_core.checkpoint import Snapshot, load_snapshot, restore_training, save_snapshot, training_tensors
from dynroute_core.engine.training import CompiledStep
from dynroute_core.losses import segmentation_loss
from dynroute_core.model import Segmenter
from dynroute_core.optimizer import average_weights, make_optimizer
from dynroute_core.recipe import TrainConfig
from dynroute_kernels.cpu import build, training
from support.sample_models import small_config
from support.training_steps import apart, batch, training_model

pytestmark = pytest.mark.skipif(
    build.built(part=training.PART) is None and bool(build.missing()),
    reason=f"not compiled, and no {' nor '.join(build.missing())}",
)

SGD = TrainConfig(lr=0.02, gate_lr_factor=2.5, weight_decay=0.01)
ADAMW = replace(SGD, optimizer="adamw", lr=0.002, average=0.9)
RECIPES = {"sgd": SGD, "adamw": ADAMW, "gates by sgd": replace(ADAMW, gates_by_sgd=True)}

TASKS = Path("/proc/self/task")
RECIPE = TrainConfig(lr=0.02, gate_lr_factor=2.5, weight_decay=0.01)
CONFIG = small_config(layers=3)
# Rounding of float64, amplified by a few steps of training: each multiplies it by about ten. AdamW divides a gradient
# by its own size, so where little but rounding is left of one, that moves its weight, too.
TRAJECTORY = {"sgd": 1e-9, "adamw": 1e-6, "gates by sgd": 1e-6}


class EagerTraining:
    """torch's own: forward, backward, clipping, the optimizer's step, the weights' average."""

    def __init__(self, model: Segmenter, clip: float, parts: int = 1, recipe: TrainConfig = SGD) -> None:
        self.model, self.clip, self.parts, self.recipe = model, clip, parts, recipe
        self.optimizer = make_optimizer(model, recipe)
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.lr * group["lr_factor"]

    def step(self, number: int) -> float:
        given = batch_number(number)
        labelled = (given.labels != 255).sum()
        self.optimizer.zero_grad(set_to_none=True)
        for images, labels in zip(given.images.chunk(self.parts), given.labels.chunk(self.parts), strict=True):
            segmentation_loss(self.model(images).logits, labels, labelled=labelled).backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        if self.recipe.average:
            average_weights(self.optimizer, self.recipe.average)
        return float(norm)


class CompiledTraining(EagerTraining):
    def __init__(self, model: Segmenter, clip: float, parts: int = 1, recipe: TrainConfig = SGD) -> None:
        super().__init__(model, clip, parts, recipe)
        self.compiled = CompiledStep(model)

    def step(self, number: int) -> float:
        given = batch_number(number)
        labelled = (given.labels != 255).sum()
        self.compiled.zero_grad()
        for images, labels in zip(given.images.chunk(self.parts), given.labels.chunk(self.parts), strict=True):
            (self.compiled.cross_entropy(self.compiled(images), labels) / labelled).backward()
        norm = self.compiled.gradient_norm()
        self.compiled.update(self.optimizer, clip_norm=self.clip, norm=norm)
        if self.recipe.average:
            self.compiled.average(self.optimizer, self.recipe.average)
        return float(norm)


def batch_number(number: int):
    torch.manual_seed(number)
    return batch(CONFIG, 4, 64, 64)


def assert_same_state(ours: EagerTraining, theirs: EagerTraining, tolerance: float) -> None:
    for name, tensor in training_tensors(theirs.model, theirs.optimizer).items():
        found = training_tensors(ours.model, ours.optimizer)[name]
        if tolerance == 0:
            assert torch.equal(found, tensor), name
        elif not name.startswith("rng"):
            assert apart(found, tensor) < tolerance, name


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("clip", [0.05, 1e9])
@pytest.mark.parametrize("parts", [1, 2])
def test_training_is_torchs(clip, parts, recipe):
    """Weights, state and statistics after four steps: groups of their own for gates and norms, clipped and not, whole
    batches and such in parts whose gradients are summed."""
    model = training_model(CONFIG)
    given = clip, parts, RECIPES[recipe]
    theirs, ours = EagerTraining(copy.deepcopy(model), *given), CompiledTraining(model, *given)
    for number in range(4):
        norms = theirs.step(number), ours.step(number)
        assert norms[1] == pytest.approx(norms[0], rel=TRAJECTORY[recipe]) and (norms[0] > clip) == (clip < 1)
    assert_same_state(ours, theirs, TRAJECTORY[recipe])


def saved(training: EagerTraining, path) -> Snapshot:
    save_snapshot(path, Snapshot(training_tensors(training.model, training.optimizer), {}))
    return load_snapshot(path)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(("first", "second"), [(EagerTraining, CompiledTraining), (CompiledTraining, EagerTraining)])
def test_checkpoints_go_between_the_two(first, second, recipe, tmp_path):
    given = 1.0, 1, RECIPES[recipe]
    whole, before = EagerTraining(training_model(CONFIG), *given), first(training_model(CONFIG), *given)
    for number in range(4):
        whole.step(number)
    for number in range(2):
        before.step(number)
    after = second(training_model(CONFIG, seed=1), *given)
    after.step(7)  # a state of its own, which the checkpoint replaces
    restore_training(saved(before, tmp_path / "a"), after.model, after.optimizer)
    for number in range(2, 4):
        after.step(number)
    assert_same_state(after, whole, TRAJECTORY[recipe])


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_resumes_to_the_bit(dtype, recipe, tmp_path):
    whole, before, after = (
        CompiledTraining(training_model(CONFIG, dtype, seed=s), 1.0, recipe=RECIPES[recipe]) for s in (0, 0, 1)
    )
    for number in range(4):
        whole.step(number)
    for number in range(2):
        before.step(number)
    restore_training(saved(before, tmp_path / "a"), after.model, after.optimizer)
    for number in range(2, 4):
        after.step(number)
    assert_same_state(after, whole, 0)


def test_a_checkpoint_without_momenta_starts_them_anew(tmp_path):
    """As of an iteration 0, whose optimizer has none yet."""
    fresh, used = CompiledTraining(training_model(CONFIG), 1.0), CompiledTraining(training_model(CONFIG, seed=1), 1.0)
    snapshot = saved(fresh, tmp_path / "a")
    used.step(5)
    restore_training(snapshot, used.model, used.optimizer)
    for each in (fresh, used):
        each.step(0)
    assert_same_state(used, fresh, 0)


def test_the_model_stays_a_model():
    """Its tensors are views of flat buffers: evaluation, copies and a state dict see the trained weights."""
    training = CompiledTraining(training_model(CONFIG), 1.0)
    training.step(0)
    training.model.eval()
    copied = Segmenter(CONFIG).double().eval()
    copied.load_state_dict(training.model.state_dict())
    given = batch_number(1)
    with torch.inference_mode():
        theirs, own, anew = (
            each(given.images).logits for each in (copied, training.model, copy.deepcopy(training.model))
        )
    assert apart(own, theirs) < 1e-12 and torch.equal(
        anew, own
    )  # weights lie otherwise in memory: sums in another order
    flat = training.compiled.flat
    assert all(p.untyped_storage().data_ptr() == flat.parameters.data_ptr() for p in training.model.parameters())


@pytest.mark.skipif(not TASKS.is_dir(), reason="threads are counted in /proc")
def test_a_step_leaves_torchs_threads_asleep():
    """In a process of its own, where torch has started none: they look for work for milliseconds after each operation,
    on the core that the step's second thread needs. Threads beside those before: after two steps, after a
    product of torch's."""
    code = (
        "import os, sys, torch; sys.path.insert(0, 'tests')\n"
        "torch.set_num_threads(1)\n"
        "from dynroute_core.engine.training import CompiledStep\n"
        "from dynroute_core.optimizer import make_optimizer\n"
        "from dynroute_core.recipe import TrainConfig\n"
        "from support.sample_models import small_config\n"
        "from support.training_steps import batch, training_model\n"
        "model = training_model(small_config(layers=3, channels=16), torch.float32)\n"
        "given, step = batch(model.config, 4, 128, 128), CompiledStep(model)\n"
        "optimizer, count = make_optimizer(model, TrainConfig(lr=0.01)), lambda: len(os.listdir('/proc/self/task'))\n"
        "before = count(); torch.set_num_threads(2)\n"
        "for _ in range(2):\n"
        "    step.zero_grad()\n"
        "    (step.cross_entropy(step(given.images), given.labels) / 1000).backward()\n"
        "    step.update(optimizer, clip_norm=1.0, norm=step.gradient_norm())\n"
        "steps = count() - before; step.gradient * 2; print(steps, count() - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.split() == ["1", "2"]  # the step's own second thread; and torch's, so that it would be seen
