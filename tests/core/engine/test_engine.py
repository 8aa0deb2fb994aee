"""The engine equals the model: logits, gates, costs, labels, whatever the routes."""

from __future__ import annotations

import pytest
import torch

from dynroute_core import InferenceEngine, Segmenter
from dynroute_core.cell import CLOSED, DEAD, OPEN
from dynroute_core.engine import inference as engine_module
from dynroute_core.engine import torch_backend
from dynroute_core.engine.backend import BackendUnavailableError
from dynroute_core.system.machine import say_once
from support.golden_files import EVAL_FILES, build, load
from support.sample_engine import assert_equal, random_routes, relative
from support.sample_models import images, mixed_model, shaken, small_config

# Folding multiplies each weight once more and rounds: an ulp per layer, which 16 to 33 layers amplify, in float32.
FLOAT32 = 1e-4
FLOAT64 = 1e-10


@pytest.mark.parametrize("name", EVAL_FILES)
def test_golden_files(name):
    facts, tensors = load(name)
    model = build(facts, tensors).eval()
    batch = torch.stack([tensors[f"image/{k}"] for k in range(len(facts["images"]))])
    assert_equal(InferenceEngine(model, backend="torch"), model, batch, FLOAT32)


@pytest.fixture(scope="module", params=["full", "small", "none"])
def mixed(request):
    """A network whose gates leave cells open, closed and dead, in float64."""
    return mixed_model(small_config(layers=5, gate=request.param), seed=9)


@pytest.mark.parametrize("size", [(1, 1), (3, 47), (31, 33), (64, 64), (300, 40)])
def test_any_size_and_batch(mixed, size):
    assert_equal(InferenceEngine(mixed, dtype=torch.float64, backend="torch"), mixed, images(3, *size), FLOAT64)


def test_the_sample_has_every_state():
    engine = InferenceEngine(mixed_model(small_config(layers=5), seed=9), dtype=torch.float64, backend="torch")
    states = torch.cat([gate.state for gate in engine(images(4, 64, 64)).gates.values()])
    assert {OPEN, CLOSED, DEAD} <= set(states.tolist())


def test_random_routes_of_the_published_space():
    """Smaller spaces: test_every_route.py."""
    model = shaken(Segmenter(small_config(layers=16, channels=2, stem_channels=2, gate="none"))).double().eval()
    engine, image = InferenceEngine(model, dtype=torch.float64, backend="torch"), images(1, 20, 33)
    for route in random_routes(model.space, 40):
        assert_equal(engine, model, image, FLOAT64, route=route)


def test_forced_routes_with_the_gates_factors(mixed):
    engine = InferenceEngine(mixed, dtype=torch.float64, backend="torch")
    for factors in ("one", "gate"):
        how = {"route": random_routes(mixed.space, 2), "route_factors": factors}
        assert_equal(engine, mixed, images(2, 40, 40), FLOAT64, **how)


@pytest.mark.parametrize("strip", [1, 2**12, 2**22], ids=["strips", "groups", "together"])
def test_batches_of_different_routes(mixed, strip, monkeypatch):
    """Images alone in strips of two rows, some at a time, or all at once: no path, every path, `down` alone, mixed."""
    monkeypatch.setattr(torch_backend, "STRIP_BYTES", strip)
    engine = InferenceEngine(mixed, dtype=torch.float64, backend="torch")
    paths = mixed.space.all_paths
    routes = [frozenset(), frozenset(paths), frozenset(path for path in paths if path[1] == "down")]
    routes += random_routes(mixed.space, 4)
    batch = images(len(routes), 40, 72)
    assert_equal(engine, mixed, batch, FLOAT64)
    for factors in ("one", "gate"):
        assert_equal(engine, mixed, batch, FLOAT64, route=routes, route_factors=factors)


def test_size_decides_how_many_images_go_together(monkeypatch):
    backend = torch_backend.load(Segmenter(small_config(channels=16)), torch.float32)
    assert backend.at_a_time(160, 160) == 2**22 // (40 * 40 * 16 * 4) == 40
    assert backend.at_a_time(129, 160) == backend.at_a_time(160, 160)  # as padded
    assert backend.at_a_time(1024, 2048) == 1
    seen = []
    monkeypatch.setattr(torch_backend.TorchBackend, "at_a_time", lambda *_: 2)
    run = torch_backend.TorchBackend.logits
    monkeypatch.setattr(torch_backend.TorchBackend, "logits", lambda *given: seen.append(len(given[1])) or run(*given))
    InferenceEngine(mixed_model(small_config()), backend="torch")(images(5, 32, 32))
    assert seen == [2, 2, 1]


@pytest.fixture
def convolved(monkeypatch):
    """What each convolution of a network was given: number of images, and of values."""
    seen = []
    run = torch.nn.Conv2d.forward
    monkeypatch.setattr(torch.nn.Conv2d, "forward", lambda conv, x: seen.append((len(x), x.numel())) or run(conv, x))
    return seen


def test_a_batch_of_small_images_calls_what_one_calls(mixed, convolved):
    engine, everything = InferenceEngine(mixed, dtype=torch.float64, backend="torch"), frozenset(mixed.space.all_paths)
    engine(images(1, 64, 64), route=everything)
    alone = len(convolved)
    convolved.clear()
    engine(images(8, 64, 64), route=everything)
    assert len(convolved) == alone
    assert {count for count, _ in convolved} == {8}


def test_an_image_of_a_batch_is_computed_along_its_own_route_alone(mixed, convolved):
    """With `keep` everywhere: where only `down` is taken, an image alone is computed at every second pixel."""
    engine, batch = InferenceEngine(mixed, dtype=torch.float64, backend="torch"), images(5, 64, 64)
    keeps = {path for path in mixed.space.all_paths if path[1] == "keep"}
    routes = [frozenset(keeps | route) for route in random_routes(mixed.space, 5)]
    for image, route in zip(batch.split(1), routes, strict=True):
        engine(image, route=route)
    alone = sum(values for _, values in convolved)
    convolved.clear()
    engine(batch, route=routes)
    assert sum(values for _, values in convolved) == alone


def test_the_model_stays_as_it_is(mixed):
    before = {name: tensor.clone() for name, tensor in mixed.state_dict().items()}
    engine = InferenceEngine(mixed, dtype=torch.float64, backend="torch")
    engine(torch.zeros(1, 3, 32, 32))
    assert all(torch.equal(before[name], tensor) for name, tensor in mixed.state_dict().items())
    assert not mixed.training


def test_no_batch_norm_runs(mixed, monkeypatch):
    engine = InferenceEngine(mixed, dtype=torch.float64, backend="torch")
    monkeypatch.setattr(torch.nn.BatchNorm2d, "forward", lambda *_: pytest.fail("a batch norm ran"))
    engine(torch.zeros(1, 3, 32, 32))


def test_bfloat16_runs_and_is_near(mixed):
    """Eight bits of mantissa: a loose check that nothing is off by a factor. Its mIoU is judged on trained weights."""
    batch = images(2, 64, 64)
    how = {"route": frozenset(mixed.space.all_paths), "route_factors": "gate"}
    engine = InferenceEngine(mixed, dtype=torch.bfloat16, backend="torch")
    with torch.inference_mode():
        theirs = mixed(batch, **how).logits
    for ours in (engine(batch, **how).logits, torch.cat([engine(image, **how).logits for image in batch.split(1)])):
        assert relative(ours.double(), theirs) < 0.2


def test_segment_gives_labels_and_costs_at_once(mixed):
    engine = InferenceEngine(mixed, dtype=torch.float64, backend="torch")
    batch = images(3, 40, 50)
    whole, segmented = engine(batch), engine.segment(batch)
    assert torch.equal(segmented.labels, engine.labels(batch))
    assert segmented.routes() == whole.routes()
    for accounting in ("paper", "repo"):
        size = {"height": 64, "width": 64, "accounting": accounting}
        assert torch.equal(segmented.cost(**size).realised_macs, whole.cost(**size).realised_macs)


def test_the_backend_is_named(mixed):
    assert InferenceEngine(mixed, dtype=torch.float64, backend="torch").describe().startswith("engine torch float64")


def test_auto_falls_back_and_says_so_once(mixed, monkeypatch, capsys):
    def nothing(name):
        raise BackendUnavailableError(f"{name} needs something unheard of")

    say_once.cache_clear()
    monkeypatch.setattr(engine_module, "_loader", nothing)
    for _ in range(2):
        engine = InferenceEngine(mixed, backend="auto")
        assert engine.describe().startswith("engine torch float32")
    assert capsys.readouterr().err.count("native needs something unheard of") == 1
    with pytest.raises(BackendUnavailableError, match="unheard of"):
        InferenceEngine(mixed, backend="native")


def test_a_backend_of_another_device_is_refused(mixed):
    with pytest.raises(BackendUnavailableError, match="cuda"):
        InferenceEngine(mixed, backend="cuda")


def test_errors(mixed):
    with pytest.raises(ValueError, match="auto, torch, native, cuda"):
        InferenceEngine(mixed, backend="numpy")
    with pytest.raises(ValueError, match="float32"):
        InferenceEngine(mixed, dtype=torch.float16, backend="torch")
    engine = InferenceEngine(mixed, dtype=torch.float64, backend="torch")
    with pytest.raises(ValueError, match="N×3×H×W"):
        engine(torch.zeros(3, 32, 32))
    with pytest.raises(ValueError, match="2 routes for 1 images"):
        engine(torch.zeros(1, 3, 32, 32), route=[frozenset(), frozenset()])
