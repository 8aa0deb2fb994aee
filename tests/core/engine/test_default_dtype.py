"""A process's default dtype and device, which libraries change on import, change no number of ours."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dynroute_core import InferenceEngine, Segmenter
from dynroute_core.engine.backend import BackendUnavailableError
from support.sample_models import images, mixed_model, small_config

ROOT = Path(__file__).parents[3]
FACTORIES = {
    *("empty", "zeros", "ones", "full", "tensor", "arange", "linspace", "eye"),
    *("rand", "randn", "randint", "randperm"),
}


@pytest.fixture(params=[(torch.float64, "cpu"), (torch.bfloat16, "cpu"), (torch.float32, "meta")], ids=str)
def other_default(request: pytest.FixtureRequest) -> Iterator[None]:
    dtype, device = request.param
    torch.set_default_dtype(dtype)
    torch.set_default_device(device)
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)


@pytest.fixture(scope="module")
def trained() -> Segmenter:
    return mixed_model(small_config()).eval()


@pytest.fixture(scope="module")
def picture() -> torch.Tensor:
    return images(1, 64, 96)


@pytest.fixture(scope="module", params=["torch", "native"])
def wanted(request: pytest.FixtureRequest, trained: Segmenter, picture: torch.Tensor):
    try:
        engine = InferenceEngine(trained, backend=request.param)
    except BackendUnavailableError as error:
        pytest.skip(str(error))
    return request.param, engine(picture)


def test_an_engine_gives_the_same_bits(wanted, trained: Segmenter, picture: torch.Tensor, other_default: None) -> None:
    backend, before = wanted
    now = InferenceEngine(trained, backend=backend)(picture)
    assert torch.equal(now.logits, before.logits)
    for cell, gate in before.gates.items():
        assert torch.equal(now.gates[cell].state, gate.state), cell
        assert torch.equal(now.gates[cell].factors, gate.factors), cell
        assert now.gates[cell].factors.dtype == torch.float32


def test_costs_stay(trained: Segmenter, picture: torch.Tensor, other_default: None) -> None:
    output = InferenceEngine(trained, backend="torch")(picture)
    cost = output.cost(height=64, width=96, accounting="paper").realised_macs
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)
    again = InferenceEngine(trained, backend="torch")(picture).cost(height=64, width=96, accounting="paper")
    assert torch.equal(cost, again.realised_macs)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_new_network_has_the_same_weights(dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    before = Segmenter(small_config()).state_dict()
    torch.set_default_dtype(dtype)
    try:
        torch.manual_seed(3)
        now = Segmenter(small_config()).state_dict()
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(now[name].dtype == tensor.dtype and torch.equal(now[name], tensor) for name, tensor in before.items())


def unnamed(source: str) -> list[int]:
    """The lines where a tensor is made without naming its dtype and device."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "torch"
        and node.func.attr in FACTORIES
        and not {"dtype", "device"} <= {keyword.arg for keyword in node.keywords}
    ]


def test_no_tensor_follows_a_default() -> None:
    """In the core and the kernels; a reference, which only tests run, may."""
    found = {}
    for folder in ("dynroute_core", "kernels"):
        for path in (ROOT / folder).rglob("*.py"):
            lines = unnamed(path.read_text())
            if lines and path.name != "reference.py":
                found[path.relative_to(ROOT).as_posix()] = lines
    assert not found


def test_the_search_can_find() -> None:
    assert unnamed("import torch\nx = torch.empty(3)\ny = torch.zeros(3, dtype=torch.int8)") == [2, 3]
    assert not unnamed("import torch\nx = torch.empty(3, dtype=torch.float32, device='cpu')")
