"""The compiled CPU network equals the model, for every instruction set of this processor and any number of threads."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest
import torch

from dynroute_core import InferenceEngine, Segmenter
from dynroute_core.engine.backend import BackendUnavailableError, folded
from dynroute_core.engine.network_spec import network_spec
from dynroute_core.space import Cell
from dynroute_kernels import BuildError, NativeNetwork, instruction_sets
from dynroute_kernels.cpu import build, reference
from support.golden_files import EVAL_FILES, load
from support.golden_files import build as build_golden
from support.sample_engine import assert_equal, random_routes, relative
from support.sample_models import images, mixed_model, set_gates, shaken, small_config

pytestmark = pytest.mark.skipif(
    build.built() is None and bool(build.missing()), reason=f"not compiled, and no {' nor '.join(build.missing())}"
)

# Sums in another order than the model's, in float32: a few ulp per layer, amplified by 16 to 33 layers.
FLOAT32 = 1e-4
ISAS = ("plain", "avx2", "avx512", "avx512_bf16")


def available(isa: str, dtype: torch.dtype) -> bool:
    name = build.library().dynroute_isa(isa.encode(), dtype == torch.bfloat16)
    return name is not None and name.decode() == isa


@pytest.fixture(params=ISAS)
def isa(request, monkeypatch):
    """An instruction set that has float32 kernels of its own here."""
    if not available(request.param, torch.float32):
        pytest.skip(f"{request.param}: no float32 kernels of its own, or not in this processor")
    monkeypatch.setenv("DYNROUTE_ISA", request.param)
    return request.param


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def native(model: Segmenter, dtype: torch.dtype = torch.float32) -> InferenceEngine:
    return InferenceEngine(model, dtype=dtype, backend="native")


@pytest.mark.parametrize("name", EVAL_FILES)
def test_golden_files(name):
    facts, tensors = load(name)
    model = build_golden(facts, tensors).eval()
    batch = torch.stack([tensors[f"image/{k}"] for k in range(len(facts["images"]))])
    assert_equal(native(model), model, batch, FLOAT32)


@pytest.fixture(scope="module", params=["full", "small", "none"])
def mixed(request):
    """A network whose gates leave cells open, closed and dead."""
    return mixed_model(small_config(layers=5, gate=request.param), seed=9).float()


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (31, 33), (47, 129), (64, 64), (300, 40), (97, 261)])
def test_hurting_sizes(mixed, isa, size):
    batch = images(2, *size)
    assert_equal(native(mixed), mixed, batch, FLOAT32)
    assert_equal(native(mixed), mixed, batch + 0.25, FLOAT32)  # float32 pixels


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (96, 64)])
def test_the_reference_says_what_the_kernels_do(mixed, size):
    """kernels/cpu/reference.py, in float64, for the gates' own decisions and for forced routes."""
    spec = network_spec(folded(mixed, torch.float32))
    network, image = NativeNetwork(spec), images(1, *size)[0]
    rng = random.Random(5)
    ways = [(None, False), *(([rng.random() < 0.7 for _ in range(spec.path_count)], way) for way in (False, True))]
    for mask, gate_factors in ways:
        theirs, result = reference.run(spec, image.double(), mask, gate_factors)
        ours = torch.empty(spec.classes, *size)
        found = network.logits(image, ours, mask, gate_factors)
        assert relative(ours.double(), theirs) < FLOAT32
        assert torch.equal(found.states, result.states)
        torch.testing.assert_close(found.factors, result.factors, rtol=0, atol=FLOAT32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fixed_networks(dtype):
    """A restricted space: cells, paths and coarse levels of the head that do not exist."""
    paths = ("init>keep", "init>down", "0.0>keep", "0.1>down", "1.0>keep", "1.2>up", "2.0>keep", "2.1>keep")
    model = shaken(Segmenter(small_config(layers=3, gate="none", paths=paths))).eval()
    if dtype == torch.float32:
        assert_equal(native(model), model, images(2, 65, 50), FLOAT32)
    else:
        with torch.inference_mode():
            theirs = model(images(1, 65, 50)).logits
        assert relative(native(model, dtype)(images(1, 65, 50)).logits, theirs) < 0.1  # eight bits of mantissa


def test_channels_that_fill_vectors_and_such_that_do_not(isa):
    for channels in (6, 16, 40):
        model = mixed_model(small_config(layers=3, channels=channels, stem_channels=24), seed=3).float()
        assert_equal(native(model), model, images(1, 70, 50), FLOAT32)


@pytest.mark.parametrize("factors", ["one", "gate"])
def test_random_routes(mixed, isa, factors):
    engine = native(mixed)
    for route in random_routes(mixed.space, 12):
        assert_equal(engine, mixed, images(1, 40, 72), FLOAT32, route=route, route_factors=factors)


def test_one_path_and_none(mixed):
    engine, image = native(mixed), images(1, 64, 40)
    for route in (frozenset(), *(frozenset([path]) for path in mixed.space.all_paths[:9])):
        assert_equal(engine, mixed, image, FLOAT32, route=route)


def test_every_cell_closed_by_its_gate():
    model = set_gates(Segmenter(small_config()).eval(), {})
    closed = {cell: (0.0,) * len(model.space.paths(cell)) for cell in model.space.cells}
    assert_equal(native(set_gates(model, closed)), model, images(1, 64, 96), FLOAT32)


def test_factors_near_zero_and_open_paths_of_every_kind():
    """Factors from 1e-6 to 0.9: what `keep` has scaled in place is undone for the other paths."""
    model = set_gates(Segmenter(small_config()).eval(), {})
    rng = random.Random(3)
    for _ in range(6):
        factors = {
            cell: tuple(rng.choice((0.0, 1e-6, 0.3, 0.9)) for _ in model.space.paths(cell))
            for cell in model.space.cells
        }
        assert_equal(native(set_gates(shaken(model), factors)), model, images(1, 64, 96), FLOAT32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_threads_and_repetition_change_no_bit(mixed, dtype, threads):
    image = images(1, 300, 200)
    engine = native(mixed, dtype)
    results = []
    for count in (1, 2, 3, 2, 5):
        threads(count)
        results.append(engine(image))
        assert torch.equal(engine.labels(image), results[0].logits.argmax(1).to(torch.uint8))
    for other in results[1:]:
        assert torch.equal(other.logits, results[0].logits)
        assert all(torch.equal(other.gates[cell].factors, gate.factors) for cell, gate in results[0].gates.items())


def test_sizes_may_alternate(mixed):
    engine, sizes = native(mixed), [(64, 64), (200, 96), (33, 64), (64, 64)]
    first = [engine(images(1, *size)).logits for size in sizes]
    for size, logits in zip(reversed(sizes), reversed(first), strict=True):
        assert torch.equal(engine(images(1, *size)).logits, logits)


@pytest.mark.parametrize("isa", ISAS)
def test_bfloat16_is_near_on_every_instruction_set(mixed, isa, monkeypatch):
    """Eight bits of mantissa: a loose check that nothing is off by a factor. Its mIoU is judged on trained weights."""
    if not available(isa, torch.bfloat16):
        pytest.skip(f"{isa}: not in this processor")
    monkeypatch.setenv("DYNROUTE_ISA", isa)
    everything, image = frozenset(mixed.space.all_paths), images(1, 90, 64)
    with torch.inference_mode():
        theirs = mixed(image, route=everything).logits
    assert relative(native(mixed, torch.bfloat16)(image, route=everything).logits, theirs) < 0.1


def test_more_channels_bfloat16_is_as_near_as_plain_torch():
    """Rounding errors of two implementations: ours, whose sums stay float32, may be at most twice as far."""
    torch.manual_seed(0)
    model = shaken(Segmenter(small_config(layers=4, channels=32))).eval()
    everything, image = frozenset(model.space.all_paths), images(1, 96, 160)
    with torch.inference_mode():
        theirs = model(image, route=everything).logits
    plain = InferenceEngine(model, dtype=torch.bfloat16, backend="torch")(image, route=everything).logits
    assert relative(native(model, torch.bfloat16)(image, route=everything).logits, theirs) < 2 * relative(plain, theirs)


def test_a_child_after_a_fork_has_threads_of_its_own(mixed):
    engine, image = native(mixed), images(1, 64, 64)
    before = engine(image).logits
    if (child := os.fork()) == 0:
        os._exit(0 if torch.equal(engine(image).logits, before) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


LEAVES = """
import torch
from dynroute_core import InferenceEngine, ModelConfig, Segmenter
torch.set_num_threads(2)
engine = InferenceEngine(Segmenter(ModelConfig(layers=2, channels=8)).eval(), backend="native")
engine.labels(torch.zeros(1, 3, 256, 256))
for _ in range(300):  # longer than an idle thread looks for work: it sleeps when the process ends
    torch.ones(200, 200) @ torch.ones(200, 200)
"""


def test_a_process_ends_while_its_threads_sleep():
    """They once kept it: static objects they slept on were destroyed first. A hang shows as TimeoutExpired."""
    subprocess.run([sys.executable, "-c", LEAVES], check=True, timeout=300)


def test_what_the_backend_lacks_is_said(capsys):
    config = small_config(layers=1, operations=("conv_3x3_basic", "skip_connect"))
    odd = Segmenter(config).eval()
    with pytest.raises(BackendUnavailableError, match="conv_3x3_basic"):
        native(odd)
    with pytest.raises(BackendUnavailableError, match="dense"):
        native(Segmenter(small_config(stem="dense")))
    with pytest.raises(BackendUnavailableError, match="float64"):
        native(Segmenter(small_config()).double(), torch.float64)
    for _ in range(2):
        assert InferenceEngine(odd).describe().startswith("engine torch")
    assert capsys.readouterr().err.count("conv_3x3_basic") == 1


def test_errors(mixed, monkeypatch):
    spec = network_spec(folded(mixed, torch.float32))
    with pytest.raises(ValueError, match="float16"):
        NativeNetwork(spec, torch.float16)
    network, good = NativeNetwork(spec), torch.zeros(3, 32, 32)
    with pytest.raises(ValueError, match="3×H×W"):
        network.labels(torch.zeros(4, 32, 32), torch.zeros(32, 32, dtype=torch.uint8))
    with pytest.raises(ValueError, match="out of shape"):
        network.labels(good, torch.zeros(32, 31, dtype=torch.uint8))
    with pytest.raises(ValueError, match="flags"):
        network.labels(good, torch.zeros(32, 32, dtype=torch.uint8), [True])
    monkeypatch.setenv("DYNROUTE_ISA", "plain")
    assert instruction_sets().endswith("kernels plain (float32), plain (bfloat16)")
    monkeypatch.setenv("DYNROUTE_ISA", "vax")
    with pytest.raises(BuildError, match="vax"):
        instruction_sets()
    with pytest.raises(BuildError, match="vax"):
        NativeNetwork(spec)
    with pytest.raises(BackendUnavailableError, match="backend='torch'"):
        native(mixed)


def test_a_spec_that_does_not_fit_is_named(mixed):
    from dataclasses import replace

    spec = network_spec(folded(mixed, torch.float32))
    first = spec.cells[0]
    with pytest.raises(ValueError, match=r"cell -1\.0 depthwise 0"):
        replace(spec, cells=(replace(first, depthwise=(torch.zeros(1), torch.zeros(1))), *spec.cells[1:])).check()
    with pytest.raises(ValueError, match="by layer"):
        replace(spec, cells=spec.cells[::-1]).check()
    assert Cell(first.layer, first.scale) == mixed.space.cells[0]


def test_without_a_compiler_it_is_said_once(tmp_path):
    """In a process of its own: an empty cache, no compiler. `auto` falls back, `native` raises."""
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from support.sample_models import small_config\n"
        "from dynroute_core import InferenceEngine, Segmenter\n"
        "model = Segmenter(small_config(layers=1))\n"
        "print([InferenceEngine(model).describe() for _ in range(2)])\n"
        "try: InferenceEngine(model, backend='native')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    surroundings = os.environ | {"CXX": "no-such-compiler", "TORCH_EXTENSIONS_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=surroundings, capture_output=True, text=True, check=True, timeout=120
    )
    assert "engine torch" in done.stdout and "BackendUnavailableError" in done.stdout
    assert done.stderr.count("a C++17 compiler") == 1


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    return tmp_path


def test_a_killed_build_is_in_nobodys_way(empty_cache, monkeypatch):
    """What it leaves is a folder of its own, with whatever was half written."""
    half = empty_cache / "dynroute_cpu_killed"
    half.mkdir()
    (half / "lock").touch()
    written = []

    def compile_(library, part, flags):
        assert library.parent.parent == empty_cache and library.parent != half
        library.write_text("whole")
        written.append(library.parent)

    monkeypatch.setattr(build, "_compile", compile_)
    library = build.build()
    assert library.read_text() == "whole" and library == build.built() == build.build()
    assert len(written) == 1 and not written[0].exists()


def test_a_failed_build_leaves_nothing(empty_cache, monkeypatch):
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-fno-such-flag"))
    monkeypatch.setattr(build, "SOURCES", empty_cache / "sources")
    build.SOURCES.mkdir()
    (build.SOURCES / "one.cpp").write_text("int one() { return 1; }")
    with pytest.raises(BuildError, match="no-such-flag"):
        build.build()
    assert build.built() is None and [path.name for path in empty_cache.iterdir()] == ["sources"]


def test_a_sanitized_build_without_its_runtime_is_an_error():
    """The runtime would end the process that loads it too late, without a word of what to do."""
    surroundings = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run(
        [sys.executable, "-m", "dynroute_kernels", "status"], env=surroundings | {"DYNROUTE_SANITIZE": "1"},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 3 and "make sanitize" in done.stderr and "Traceback" not in done.stderr


def test_status_names_what_is_here():
    done = subprocess.run(
        [sys.executable, "-m", "dynroute_kernels", "status"], capture_output=True, text=True, check=True, timeout=120
    )
    assert str(build.built()) in done.stdout and "training" in done.stdout and "float32" in done.stdout
