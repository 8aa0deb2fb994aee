"""The compiled training step equals autograd: in float64 to rounding, whatever network, sizes and routes."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from dynroute_core.cell import CLOSED, OPEN, Gate
from dynroute_core.engine.training import CompiledStep, unavailable
from dynroute_core.model import Segmenter
from dynroute_core.space import INITIAL, Cell, ModelConfig
from dynroute_kernels import BuildError
from dynroute_kernels.cpu import build, training
from support.sample_models import images, shaken, small_config
from support.training_steps import Batch, apart, assert_same, batch, compiled, eager, training_model

pytestmark = pytest.mark.skipif(
    build.built(part=training.PART) is None and bool(build.missing()),
    reason=f"not compiled, and no {' nor '.join(build.missing())}",
)

# Sums in another order, in float64: 1e-16 a sum, amplified by every batch norm on the way; 2e-11 is the most of these.
FLOAT64 = 1e-10
OF_CONSTANTS = 1e-7  # a norm of a constant map amplifies rounding by up to 1/√ε = 316, and so does the next
GATES = ("full", "small", "none")


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize(
    ("count", "height", "width"),
    [(2, 64, 64), (3, 32, 32), (1, 160, 256), (2, 70, 50), (2, 33, 31), (5, 96, 32), (9, 64, 32)],
)
def test_hurting_sizes(gate, count, height, width):
    """One position at the coarsest scale, one image, crops that are padded, chunks of unequal numbers of images."""
    config = small_config(gate=gate)
    model, given = training_model(config), batch(config, count, height, width)
    assert_same(compiled(model, given), eager(model, given), FLOAT64)


def random_config(rng: random.Random) -> ModelConfig:
    return ModelConfig(
        layers=rng.randint(1, 6),
        channels=rng.choice((2, 4, 6, 10, 16, 20)),
        classes=rng.randint(1, 40),
        gate=rng.choice(GATES),
        stem_channels=rng.randint(1, 20),
        operations=rng.choice((("sep_conv_3x3", "skip_connect"), ("skip_connect", "sep_conv_3x3"))),
    )


@pytest.mark.parametrize("seed", range(24))
def test_random_networks(seed):
    rng = random.Random(seed)
    config = random_config(rng)
    model = training_model(config, seed=seed)
    given = batch(config, rng.randint(2, 5), rng.randint(2, 5) * 32, rng.randint(40, 150))
    assert_same(compiled(model, given), eager(model, given), FLOAT64)


def test_cells_open_closed_and_paths_shut():
    """The networks of these tests have all three, or the tests above would say nothing of them."""
    config = small_config(layers=6)
    found = compiled(training_model(config), batch(config, 4, 64, 64))
    assert {CLOSED, OPEN} == set(found.states.flatten().tolist())
    assert ((found.factors == 0).any(0) & (found.factors > 0).any(0)).any()


def test_every_cell_closed():
    """What arrives is passed on unchanged, and no factor has a gradient."""
    config = small_config()
    model = training_model(config)
    for cell in model.space.cells:
        torch.nn.init.constant_(model.cell(cell).gate.factors.bias, -9.0)
    given = batch(config, 2, 64, 64)
    ours = compiled(model, given)
    assert (ours.states == CLOSED).all()
    assert_same(ours, eager(model, given), OF_CONSTANTS)
    assert all(not g.any() for name, g in ours.gradients.items() if ".gate." in name)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("factors", ["one", "gate"])
def test_forced_routes(gate, factors):
    """One per image, and one for all; a cell that the route leaves out emits nothing, not even what it received."""
    config = small_config(gate=gate)
    model, rng = training_model(config), random.Random(3)
    routes = [frozenset(p for p in model.space.all_paths if rng.random() < 0.6) for _ in range(3)]
    for route in (routes, routes[0]):
        given = batch(config, 3, 64, 64, route=route, route_factors=factors)
        assert_same(compiled(model, given), eager(model, given), FLOAT64)
    nothing = batch(config, 3, 64, 64, route=frozenset(), route_factors=factors)
    assert_same(compiled(model, nothing), eager(model, nothing), OF_CONSTANTS)


def test_routes_that_do_not_fit():
    model = training_model(small_config())
    step = CompiledStep(model)
    with pytest.raises(ValueError, match="2 routes for 3 images"):
        step(images(3, 64, 64), route=[frozenset()] * 2)
    with pytest.raises(ValueError, match=r"no path .* leaves cell 9\.0"):
        step(images(3, 64, 64), route=frozenset([(Cell(9, 0), "keep")]))


RESTRICTED = ("init>keep", "init>down", "0.0>keep", "0.1>down", "1.0>keep", "1.2>up", "2.0>keep", "2.1>keep")


@pytest.mark.parametrize(
    "paths",
    [
        RESTRICTED,
        ("init>down", "0.1>down", "1.2>up", "2.1>keep"),  # cells without keep; nothing arrives at the finest scale
        ("init>keep", "0.0>keep", "1.0>keep", "2.0>keep"),  # a head of one scale
    ],
)
def test_restricted_spaces(paths):
    config = small_config(layers=3, gate="none", paths=paths)
    model, given = training_model(config), batch(config, 2, 65, 50)
    assert_same(compiled(model, given), eager(model, given), FLOAT64)


@pytest.mark.parametrize("gate", GATES)
def test_drop_path(gate):
    """The same operations are dropped: the compiled step draws as the eager one does."""
    config = small_config(gate=gate, layers=6)
    model, given = training_model(config), batch(config, 4, 64, 64)
    model.drop_path = 0.6
    torch.manual_seed(1)
    theirs = eager(model, given)
    after = torch.get_rng_state()
    torch.manual_seed(1)
    ours = compiled(model, given)
    assert torch.equal(torch.get_rng_state(), after)
    assert_same(ours, theirs, FLOAT64)
    model.drop_path = 0.0
    assert apart(eager(model, given).logits, theirs.logits) > 0.01  # some were


def test_a_gate_that_cannot_tell_images_apart_sends_no_gradient_back(monkeypatch):
    """Small gates of images that differ by less than a gate is to see, at one position where maps have 2×2 or 4×4, so
    that only gates have nothing to tell by. (Equal images would not show it: what goes back to the two cancels.)"""
    config = small_config(gate="small")
    model, one = training_model(config), images(1, 64, 64).double()
    labels = torch.randint(0, config.classes, (2, 64, 64), dtype=torch.uint8)
    alike = Batch(images=torch.cat([one, one + 1e-5 * torch.randn_like(one)]), labels=labels)
    ours = compiled(model, alike)
    assert_same(ours, eager(model, alike), OF_CONSTANTS)
    monkeypatch.setattr(Gate, "_tells_apart", lambda *_: torch.tensor(True))
    largest = max(float(one.abs().max()) for one in ours.gradients.values())
    otherwise = eager(model, alike).gradients
    assert max(apart(ours.gradients[name], g, largest) for name, g in otherwise.items()) > 1e4 * OF_CONSTANTS


@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy(weighted):
    """Through the enlargement, with class weights and pixels left out; logits so large that e^x would overflow."""
    config = small_config(classes=7)
    step = CompiledStep(training_model(config))
    given = batch(config, 3, 70, 50)
    output = step(given.images)
    output = replace(output, quarter=(40 * torch.randn_like(output.quarter)).requires_grad_())
    weights = torch.rand(7, dtype=torch.float64) if weighted else None
    theirs = F.cross_entropy(output.logits, given.labels.long(), weight=weights, ignore_index=255, reduction="sum")
    ours = step.cross_entropy(output, given.labels, weights)
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), rel=1e-13)
    (expected,) = torch.autograd.grad(3 * theirs, output.quarter)
    (found,) = torch.autograd.grad(3 * ours, output.quarter)
    assert apart(found, expected) < 1e-13


def test_no_pixel_is_labelled():
    config = small_config()
    model, given = training_model(config), batch(config, 2, 64, 64, of_factors=0.0)
    ours = compiled(model, replace(given, labels=torch.full_like(given.labels, 255)))
    assert ours.loss == 0 and not any(g.any() for g in ours.gradients.values())


def test_a_label_that_is_no_class_is_refused():
    config = small_config(classes=5)
    given = batch(config, 2, 64, 64)
    given.labels[1, 3, 4] = 5
    with pytest.raises(RuntimeError, match="none of the classes and not 255"):
        compiled(training_model(config), given)


def test_statistics_as_a_plain_average():
    """Precise batch norm: momentum None is torch's word for it."""
    config = small_config()
    models = training_model(config), training_model(config)
    for model in models:
        for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
            norm.reset_running_stats()
            norm.momentum = None
    step = CompiledStep(models[1])
    for seed in range(3):
        models[0](images(2, 64, 64, seed=seed))
        step(images(2, 64, 64, seed=seed))
    for (name, theirs), ours in zip(models[0].named_buffers(), models[1].buffers(), strict=True):
        assert apart(ours, theirs) < FLOAT64, name


def test_images_of_any_dtype_and_layout():
    config = small_config()
    model, given = training_model(config), batch(config, 2, 64, 96)
    plain = compiled(model, given)
    for pixels in (
        given.images.double(),
        given.images.float(),
        given.images.contiguous(memory_format=torch.channels_last),
        given.images.float().contiguous(memory_format=torch.channels_last),
    ):
        again = compiled(model, replace(given, images=pixels))
        assert all(torch.equal(g, plain.gradients[name]) for name, g in again.gradients.items())


def test_a_norm_that_would_see_one_value_is_refused():
    for gate, side in (("full", 32), ("small", 96)):
        step = CompiledStep(training_model(small_config(gate=gate)))
        with pytest.raises(ValueError, match="a single value"):
            step(images(1, side, side))


def test_what_is_not_compiled_is_refused_by_name():
    assert unavailable(Segmenter(small_config())) == ""
    for model, others, named in (
        (Segmenter(small_config(stem="dense")), {}, "stem=dense"),
        (Segmenter(small_config(operations=("sep_conv_5x5",))), {}, "operations=sep_conv_5x5"),
        (Segmenter(small_config()).half(), {}, "torch.float16"),
        (Segmenter(small_config()), {"processes": 2}, "2 processes"),
        (Segmenter(small_config()), {"amp": True}, "bfloat16"),
    ):
        reason = unavailable(model, **others)
        assert named in reason and "The eager step has it." in reason
        if not others:
            with pytest.raises(AssertionError, match=named):
                CompiledStep(model)


def test_without_a_folder_for_its_library_there_is_a_reason_not_an_error(monkeypatch):
    """As in a container: no HOME, and a user without a line in passwd."""

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("TORCH_EXTENSIONS_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    training.library.cache_clear()
    reason = unavailable(Segmenter(small_config()))
    assert "TORCH_EXTENSIONS_DIR" in reason and "The eager step needs nothing compiled." in reason


def test_an_instruction_set_that_is_not_to_be_had(monkeypatch):
    monkeypatch.setenv("DYNROUTE_ISA", "mmx")
    with pytest.raises(BuildError, match="DYNROUTE_ISA=mmx"):
        CompiledStep(shaken(Segmenter(small_config())))(images(2, 64, 64))


def test_a_backward_pass_is_of_the_last_forward_pass():
    step = CompiledStep(training_model(small_config()))
    first = step(images(2, 64, 64))
    step(images(2, 64, 64))
    with pytest.raises(AssertionError, match="another forward pass"):
        first.gates[INITIAL].factors.sum().backward()
