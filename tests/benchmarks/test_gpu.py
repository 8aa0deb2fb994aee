"""The GPU benchmark without a GPU: it says why it does nothing, its routes cost what the model says they cost, and the
book's page on speed reads what it writes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from dynroute_core import Segmenter
from dynroute_core.cost import cost_table
from dynroute_core.space import ModelConfig
from dynroute_suite.book.pages import speed
from dynroute_suite.report.results import Results
from support.sample_models import images, small_config

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def gpu():
    spec = importlib.util.spec_from_file_location("benchmarks_gpu", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device: the benchmark would run")
def test_without_a_gpu_it_says_so(gpu, capsys, tmp_path):
    assert gpu.main(["--out", str(tmp_path)]) == 3
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1 and "no CUDA device" in shown.err
    assert shown.out == "" and not list(tmp_path.iterdir())


def test_routes_cost_what_the_model_says(gpu):
    """Without the gates, which a forced route does not compute."""
    config = small_config(layers=6)
    model = Segmenter(config).eval()
    table = cost_table(config, height=64, width=128, accounting="paper")
    routes = gpu.routes_by_share(config, (64, 128))
    assert len(routes) == 10 and routes[-1] == (1.0, frozenset(model.space.all_paths))
    for _, route in routes:
        with torch.inference_mode():
            cost = model(images(1, 32, 32), route=route).cost(height=64, width=128, accounting="paper")
        assert cost.realised_macs.item() - sum(table.gates.values()) == gpu.forced_macs(model.space, table, route)


def test_routes_of_the_published_network_are_near_each_tenth(gpu):
    for wanted, (share, _) in zip(gpu.SHARES, gpu.routes_by_share(ModelConfig(), (1024, 2048)), strict=True):
        assert abs(share - wanted) < 0.01  # of 2000 drawn, some lie that near; the draw is seeded


def test_masks_name_the_slots(gpu):
    space = Segmenter(small_config(layers=2)).space
    route = frozenset({(space.cells[0], "down"), (space.cells[2], "up")})
    masks = gpu.route_masks(space, [route, frozenset()])
    assert masks.shape == (len(space.cells), 2, 4)
    assert masks.nonzero().tolist() == [[0, 0, 2], [2, 0, 1]]


def test_the_books_page_reads_what_it_writes(gpu, tmp_path, monkeypatch):
    """The plain model stands in the CUDA network's place, on the CPU: numbers of no GPU, in the form of one."""
    monkeypatch.setattr(gpu, "COPIED", 8)
    words = ("--size", "32x64", "--layers", "3", "--channels", "4", "--batches", "1,2", "--runs", "1")
    given = gpu.parse([*words, "--out", str(tmp_path / "speed")])
    model = gpu.make_model(given)
    gpu.report(gpu.Contest(model, lambda images, masks: model(images).logits.argmax(1), torch.device("cpu")), given)
    (record,) = Results(tmp_path).speed
    assert {one.part for one in record.measurements} == {"open", "routes", "batch", "gates", "copy"}
    assert {one.items for one in record.measurements} == {1, 2}
    results = Results(tmp_path)
    for text in (speed.all_open(results), speed.batch(results), speed.routes(results)):
        assert "The CUDA network, full gate" in text
        assert "cuda bfloat16, labels" in text
    assert "100: 100 |" in speed.routes(results), "the curve ends at its own all-open time"
