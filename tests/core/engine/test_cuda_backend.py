"""The CUDA backend's whole network equals the model: through the emulator, and on the device where there is a GPU."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from dynroute_core import Segmenter
from dynroute_core.cell import CLOSED, DEAD, OPEN
from dynroute_core.engine import cuda_backend as engine_module
from dynroute_core.engine.backend import BackendUnavailableError, ForcedRoute, folded
from dynroute_core.engine.cuda_backend import CudaBackend, missing
from dynroute_core.engine.network_spec import network_spec
from dynroute_core.space import ModelConfig
from dynroute_kernels.cuda import build as cuda_build
from support.cuda_benches import emulator
from support.cuda_networks import masks, network_of
from support.golden_files import EVAL_FILES, build, load
from support.sample_engine import random_routes, relative
from support.sample_models import images, mixed_model, shaken, small_config

FORK = ("init>keep", "init>down", "0.0>keep", "0.1>down", "1.0>keep", "1.2>keep", "2.0>keep", "2.2>keep")
# As in test_engine.py: an ulp per layer, amplified by the layers.
FLOAT32 = 1e-4


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request) -> torch.device:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device: the network is checked through the emulator only")
    if request.param == "cpu":
        emulator()
    return torch.device(request.param)


def assert_equal(model: Segmenter, network, batch: torch.Tensor, tolerance: float = FLOAT32, **how) -> None:
    """Logits, labels, states and factors of a float64 model and of the kernels. how: the model's route."""
    device = network.network.device
    with torch.inference_mode():
        theirs = model(batch, **how)
    given = {}
    if "route" in how:
        given = {
            "route": masks(model, how["route"]).to(device),
            "gate_factors": how.get("route_factors") == "gate",
        }
    plan = network.run(batch.to(device), **given)
    assert relative(network.full_logits(plan).double().cpu(), theirs.logits) < tolerance
    records = network.gates(plan).double().cpu()
    for index, (cell, gate) in enumerate(theirs.gates.items()):
        slots = [engine_module.SLOTS[path] for path in model.space.paths(cell)]
        assert torch.equal(records[index, :, 3], gate.state.double()), cell
        torch.testing.assert_close(records[index][:, slots], gate.factors, rtol=0, atol=tolerance)
    best, second = theirs.logits.topk(2, dim=1).values.unbind(1)
    tie = best - second <= 2 * tolerance * theirs.logits.abs().max()
    assert ((network.labels(plan).cpu() == theirs.logits.argmax(1)) | tie).all()


@pytest.mark.parametrize("gate", ["full", "small", "none"])
def test_any_size_and_batch(device, gate):
    """Three images that route differently, at sizes that hurt; maps full of NaN before each run."""
    model = mixed_model(small_config(layers=5, gate=gate), seed=9)
    network = network_of(model, device)
    for size in ((1, 1), (33, 70), (64, 96)):
        batch = images(3, *size)
        network.run(batch.to(device)).arena.fill_(0xFF)
        assert_equal(model, network, batch)


def test_the_sample_has_every_state():
    states = torch.cat(
        [gate.state for gate in mixed_model(small_config(layers=5), seed=9)(images(3, 33, 70)).gates.values()]
    )
    assert {OPEN, CLOSED, DEAD} <= set(states.tolist())


@pytest.mark.parametrize(
    "config",
    [
        small_config(layers=1),
        small_config(layers=2, channels=6, stem_channels=20, classes=3),
        small_config(layers=4, channels=40, gate="small", classes=19),
        small_config(layers=3, gate="none", paths=FORK),
    ],
    ids=["one-layer", "narrow", "wide", "fixed"],
)
def test_other_networks(device, config):
    model = shaken(Segmenter(config)).double().eval()
    assert_equal(model, network_of(model, device), images(2, 40, 72).float())


@pytest.mark.parametrize("name", EVAL_FILES)
def test_golden_files(device, name):
    facts, tensors = load(name)
    model = build(facts, tensors).double().eval()
    batch = torch.stack([tensors[f"image/{k}"] for k in range(len(facts["images"]))])
    assert_equal(model, network_of(model, device), batch)


def test_routes(device):
    """Every image by its own route, none and all paths among them; then, on the same plan, by its own gates."""
    model = mixed_model(small_config(layers=4), seed=9)
    network = network_of(model, device)
    batch = images(6, 32, 64)
    for seed in range(4):
        routes = [*random_routes(model.space, 4), frozenset(), frozenset(model.space.all_paths)]
        routes = routes[seed:] + routes[:seed]
        for factors in ("one", "gate"):
            assert_equal(model, network, batch, route=routes, route_factors=factors)
    assert_equal(model, network, batch)


def test_an_image_does_not_depend_on_its_batch(device):
    model = mixed_model(small_config(layers=4), seed=9)
    network = network_of(model, device)
    batch = images(3, 40, 40).to(device)
    together = network.run(batch).logits.clone()
    for index, image in enumerate(batch.split(1)):
        assert torch.equal(network.run(image).logits[0], together[index])  # bit for bit: sums in the same order


def test_bfloat16_is_near(device):
    """Eight bits of mantissa, on random weights: nothing is off by a factor. Its mIoU is judged on trained weights."""
    model = mixed_model(small_config(layers=5), seed=9)
    image, everything = images(1, 64, 64), frozenset(model.space.all_paths)
    with torch.inference_mode():
        theirs = model(image, route=everything).logits
    network = network_of(model, device, torch.bfloat16)
    plan = network.run(image.to(device), masks(model, [everything]).to(device))
    assert relative(network.full_logits(plan).double().cpu(), theirs) < 0.05


def test_plans_are_kept_and_dropped(device):
    from dynroute_kernels.cuda.network import PLANS_KEPT

    model = mixed_model(small_config(layers=1), seed=9)
    network = network_of(model, device)
    plans = [network.run(images(1, 32, 32 * width).to(device)) for width in range(1, PLANS_KEPT + 1)]
    assert network.run(images(1, 32, 32).to(device)) is plans[0]
    network.run(images(1, 64, 64).to(device))
    assert network.run(images(1, 32, 32).to(device)) is plans[0]
    assert network.run(images(1, 32, 64).to(device)) is not plans[1]  # the longest unused made room


def test_the_backend(device):
    """One image at a time, as the engine calls it."""
    model = mixed_model(small_config(layers=4), seed=9)
    backend = CudaBackend(network_of(model, device), model.space)
    image = images(1, 33, 40)
    route = random_routes(model.space, 1)[0]
    for forced, how in (
        (None, {}),
        (
            [ForcedRoute(tuple(path in route for path in model.space.all_paths), "gate")],
            {"route": route, "route_factors": "gate"},
        ),
    ):
        with torch.inference_mode():
            theirs = model(image, **how)
        logits = torch.empty(1, 5, 33, 40, device=device)
        gates = backend.logits(image.to(device).to(torch.int16), forced, logits)
        assert relative(logits.double().cpu(), theirs.logits) < FLOAT32
        factors = torch.cat([gate.factors for gate in theirs.gates.values()], dim=1)
        torch.testing.assert_close(gates.factors.double().cpu(), factors, rtol=0, atol=FLOAT32)
        assert gates.states.tolist() == [[gate.state.item() for gate in theirs.gates.values()]]
        labels = torch.empty(1, 33, 40, dtype=torch.uint8, device=device)
        backend.labels(image.to(device), forced, labels)
        assert (labels.cpu() == theirs.logits.argmax(1)).double().mean() > 0.99  # near-ties may go either way
    assert "cuda float32" in backend.describe()


def test_refused():
    assert missing(ModelConfig(), torch.bfloat16) is None
    assert "float64" in str(missing(ModelConfig(), torch.float64))
    assert "dense" in str(missing(ModelConfig(stem="dense"), torch.float32))
    assert "MBConv_3x3" in str(missing(ModelConfig(operations=("MBConv_3x3", "skip_connect")), torch.float32))
    with pytest.raises(BackendUnavailableError, match="on cpu"):
        engine_module.load(folded(mixed_model(small_config(layers=1)), torch.float32), torch.float32)
    from dynroute_kernels.cuda.network import CudaNetwork

    spec = network_spec(folded(mixed_model(small_config(layers=1)), torch.float32))
    with pytest.raises(ValueError, match="bfloat16 or float32"):
        CudaNetwork(spec, dtype=torch.float16, device=torch.device("cpu"))


def test_the_bytes_and_launches_of_the_published_network():
    """The figures of csrc/cuda/README.md: GB by operator, MiB of maps, launches. On fake memory: nothing runs."""
    from dynroute_kernels.cuda.plan import make_plan
    from dynroute_kernels.cuda.weights import PackedNetwork

    spec = network_spec(folded(Segmenter(ModelConfig()), torch.float32))
    plan = make_plan(
        PackedNetwork(spec, torch.bfloat16, torch.device("meta")),
        torch.zeros(1, 3, 1024, 2048, dtype=torch.uint8, device="meta"),
    )
    moved = {name: round(count / 1e9, 2) for name, count in plan.bytes_moved().items()}
    shown = (Path(cuda_build.SOURCES) / "README.md").read_text()
    for name in ("separable", "assemble", "pointwise", "gate_sums", "stem", "logits"):
        assert re.search(rf"`{name}` {moved[name]:.2f}", shown), (name, moved[name])
    assert f"{sum(plan.bytes_moved().values()) / 1e9:.2f} GB together" in shown
    assert f"{plan.arena.nbytes / 2**20:.0f} MiB" in shown
    assert f"{len(plan.steps)} launches" in shown
