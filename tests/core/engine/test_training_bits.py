"""The compiled step gives the same bits for any number of threads and on every instruction set; float32 is float64's,
no further off than eager float32 is."""

from __future__ import annotations

import copy
import hashlib
import statistics
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dynroute_core.engine.training import CompiledStep
from dynroute_core.optimizer import make_optimizer
from dynroute_core.recipe import TrainConfig
from dynroute_core.space import ModelConfig
from dynroute_kernels.cpu import build, training
from support.sample_models import small_config
from support.training_steps import apart, batch, compiled, eager, training_model

pytestmark = pytest.mark.skipif(
    build.built(part=training.PART) is None and bool(build.missing()),
    reason=f"not compiled, and no {' nor '.join(build.missing())}",
)

CONFIGS = (
    small_config(),
    # No number of channels here fills a vector of any instruction set, so every one pads otherwise.
    ModelConfig(layers=4, channels=18, classes=21, stem_channels=11, gate="small"),
)
SIZES = ((2, 64, 64), (5, 96, 50), (9, 32, 32))


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def digest(*tensors: Tensor) -> str:
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(tensor.detach().contiguous().numpy().tobytes())
    return found.hexdigest()


def trained(config: ModelConfig, size: tuple[int, int, int], dtype: torch.dtype) -> str:
    """Everything that two steps leave behind."""
    torch.manual_seed(4)
    given = batch(config, *size)
    model = training_model(config, dtype)
    model.drop_path = 0.3
    step, optimizer = CompiledStep(model), make_optimizer(model, TrainConfig(lr=0.01))
    torch.manual_seed(5)
    for _ in range(2):
        step.zero_grad()
        output = step(given.images)
        loss = step.cross_entropy(output, given.labels) / given.labels.numel()
        (loss + sum(gate.factors.square().sum() for gate in output.gates.values())).backward()
        step.update(optimizer, clip_norm=0.5, norm=step.gradient_norm())
    momenta = step.state.buffer(optimizer, "momentum_buffer", optimizer.param_groups)
    return digest(loss, output.quarter, step.gradient, step.flat.parameters, step.flat.statistics, momenta)


def here(isa: str) -> bool:
    return training.library().dynroute_step_isa(isa.encode()) is not None


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("size", SIZES)
def test_the_same_bits_for_any_number_of_threads(config, size, threads):
    found = set()
    for count in (1, 2, 3, 5):
        threads(1)  # data and weights are made by torch, whose own bits depend on it
        batch(config, *size)
        found.add(_with_threads(config, size, count, threads))
    assert len(found) == 1


def _with_threads(config, size, count, threads) -> str:
    kernels = training.TrainingStep._call

    def counted(self, *arguments):
        threads(count)
        try:
            kernels(self, *arguments)
        finally:
            threads(1)

    training.TrainingStep._call = counted
    try:
        return trained(config, size, torch.float32)
    finally:
        training.TrainingStep._call = kernels


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("size", SIZES)
def test_the_same_bits_on_every_instruction_set(config, size, dtype, monkeypatch):
    found = {}
    for isa in filter(here, ("plain", "avx2", "avx512")):
        monkeypatch.setenv("DYNROUTE_ISA", isa)
        found[isa] = trained(config, size, dtype)
    assert len(set(found.values())) == 1, found


def test_other_data_gives_other_bits():
    """So the digests above compare something."""
    first, second = CONFIGS
    assert trained(first, SIZES[0], torch.float32) != trained(second, SIZES[0], torch.float32)
    assert trained(first, SIZES[0], torch.float32) != trained(first, SIZES[1], torch.float32)


def test_float32_is_no_further_off_than_eager():
    """As it trains, channels last. By the median over tensors of the gradient's distance to float64; six networks."""
    ours, theirs = [], []
    for seed in range(6):
        config = small_config(layers=6, channels=8)
        single = training_model(config, torch.float32, seed=seed)
        given = batch(config, 4, 96, 96)
        exact = eager(copy.deepcopy(single).double(), given).gradients
        ours.append(distance(compiled(single, given).gradients, exact))
        given = replace(given, images=given.images.float().contiguous(memory_format=torch.channels_last))
        theirs.append(distance(eager(single.to(memory_format=torch.channels_last), given).gradients, exact))
    assert statistics.median(ours) <= statistics.median(theirs)


def distance(gradients: dict[str, Tensor], exact: dict[str, Tensor]) -> float:
    return statistics.median(apart(gradients[name], gradient) for name, gradient in exact.items())
