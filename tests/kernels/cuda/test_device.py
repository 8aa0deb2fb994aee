"""What only a GPU can show of the CUDA network: graphs, streams, no wait on the host, the sanitizer, full size.

Skipped, with a reason, where there is none. `python benchmarks/gpu.py` times it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dynroute_core import InferenceEngine, Segmenter
from dynroute_core.space import ModelConfig
from support.cuda_networks import masks, network_of
from support.sample_engine import random_routes, relative
from support.sample_models import images, mixed_model, small_config

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: graphs and streams cannot be tried"),
]
TESTS = Path(__file__).parents[2]


@pytest.fixture
def device() -> torch.device:
    return torch.device("cuda")


@pytest.fixture(scope="module")
def model() -> Segmenter:
    return mixed_model(small_config(layers=5), seed=9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_graph_replays_what_the_steps_compute(model, device, dtype):
    """Bit for bit, whatever images and routes come after those it was captured with."""
    eager, graph = (network_of(model, device, dtype, graph=graph) for graph in (False, True))
    for seed in range(3):
        batch = images(3, 64, 96, seed=seed).to(device)
        for route in (None, masks(model, random_routes(model.space, 3)).to(device)):
            first, second = eager.run(batch, route), graph.run(batch, route)
            assert torch.equal(first.logits, second.logits)
            assert torch.equal(first.gates, second.gates)
            assert torch.equal(eager.labels(first), graph.labels(second))
    assert second.graph is not None and first.graph is None


def test_nothing_waits_for_the_device(model, device):
    """A forward with its own gates, a forced one, labels and logits: no synchronisation once the size is known."""
    network = network_of(model, device, torch.bfloat16)
    batch = images(3, 64, 64).to(device)
    route = masks(model, random_routes(model.space, 3)).pin_memory()
    network.run(batch)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        plan = network.run(batch)
        network.labels(plan)
        network.gates(plan)
        network.full_logits(network.run(batch, route))
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_another_stream(model, device):
    network = network_of(model, device)
    batch = images(2, 64, 64).to(device)
    wanted = network.run(batch).logits.clone()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        found = network.run(batch).logits.clone()
    stream.synchronize()
    assert torch.equal(found, wanted)


def test_repeats_bit_for_bit(device):
    """Sums come in an order that does not depend on how blocks are scheduled."""
    model = mixed_model(ModelConfig(layers=4, gate="full"), seed=3)
    network = network_of(model, device, torch.bfloat16)
    batch = images(4, 256, 512).to(device)
    plan = network.run(batch)
    logits, gates = plan.logits.clone(), plan.gates.clone()
    for _ in range(20):
        plan = network.run(batch)
        assert torch.equal(plan.logits, logits) and torch.equal(plan.gates, gates)


@pytest.mark.parametrize("gate", ["full", "small"])
def test_the_published_network_at_full_size(device, gate):
    """Layer16, C = 64, 1024×2048: every tile of every scale, against the model in float64 on the device."""
    model = mixed_model(ModelConfig(gate=gate), seed=5).to(device)
    batch = images(1, 1024, 2048).to(device)
    network = network_of(model, device)
    with torch.inference_mode():
        theirs = model(batch)
    plan = network.run(batch)
    # As FLOAT32 of test_engine.py; the sums over 131 072 pixels of the finest gates add to it.
    assert relative(network.full_logits(plan).double(), theirs.logits) < 5e-4


def test_the_engine_takes_the_backend(model, device):
    model = model.to(device)
    batch = images(2, 40, 64).to(device)
    engine = InferenceEngine(model, backend="cuda")
    with torch.inference_mode():
        theirs = model(batch)
    assert relative(engine(batch).logits.double(), theirs.logits) < 1e-4  # FLOAT32 of test_engine.py
    assert "engine cuda float32" in engine.describe()


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck", "initcheck"])
def test_the_sanitizer_finds_nothing(tool):
    """Stray accesses, races on shared memory, barriers not all reach, reads of memory never written."""
    sanitizer = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    if not Path(sanitizer).is_file():
        pytest.skip("no compute-sanitizer: it comes with the CUDA toolkit")
    code = (
        f"import sys; sys.path.insert(0, {str(TESTS)!r})\n"
        "import torch\n"
        "from support.sample_models import images, mixed_model, small_config\n"
        "from cuda_networks import network_of\n"
        "for gate in ('full', 'small'):\n"
        "    model = mixed_model(small_config(layers=4, channels=40, gate=gate), seed=9)\n"
        "    for dtype in (torch.bfloat16, torch.float32):\n"
        "        network = network_of(model, torch.device('cuda'), dtype, graph=False)\n"
        "        network.labels(network.run(images(2, 33, 70).cuda()))\n"
        "torch.cuda.synchronize()\n"
    )
    command = [sanitizer, "--tool", tool, "--error-exitcode", "9", "--kernel-regex", "kns=dynroute", sys.executable]
    done = subprocess.run([*command, "-c", code], capture_output=True, text=True, check=False, cwd=TESTS.parent)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
