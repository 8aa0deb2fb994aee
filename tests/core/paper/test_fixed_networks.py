"""Fixed networks: the model, its cost, the engine, the records and the figures of a restricted space."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch.nn import functional as F

from dynroute_core import InferenceEngine, Segmenter
from dynroute_core.cell import OPEN
from dynroute_core.cost import cost_table
from dynroute_core.experiments import experiment, with_settings
from dynroute_core.model import module_name
from dynroute_core.space import INITIAL, Cell, ModelConfig, RoutingSpace, path_name
from dynroute_core.system.errors import BlockedError, UsageError
from dynroute_core.system.strict_json import parse, to_json
from dynroute_core.weights.released_names import load_original
from dynroute_suite.report.comparable import changed_settings
from dynroute_suite.report.flow import config_of, flow
from support.random_routes import some_paths
from support.sample_checkpoints import released
from support.sample_models import images, mixed_model, shaken, small_config
from support.sample_records import HEIGHT, WIDTH, sample_record, sample_routes

FORK = (
    "init>keep",
    "init>down",
    "0.0>keep",
    "0.1>keep",
    "0.1>down",
    "1.0>keep",
    "1.1>up",
    "1.2>keep",
    "2.0>keep",
    "2.2>keep",
)
EXACT = 1e-12  # relative, float64: sums in the same order, save the head's zeros
FOLDED = 1e-10  # relative, float64: norms folded into convolutions, an ulp per layer


def fixed(layers: int, paths, **more) -> ModelConfig:
    return small_config(layers=layers, gate="none", paths=tuple(map(path_name, paths)), **more)


def fork(**more) -> ModelConfig:
    return small_config(**{"layers": 3, "gate": "none", "paths": FORK} | more)


def double(config: ModelConfig, seed: int = 0) -> Segmenter:
    torch.manual_seed(seed)
    return shaken(Segmenter(config)).double().eval()


def with_weights_of(config: ModelConfig, whole: Segmenter) -> Segmenter:
    """The fixed network with the whole network's weights, by name."""
    model = Segmenter(config).double().eval()
    theirs = whole.state_dict()
    model.load_state_dict({name: theirs[name] for name in model.state_dict()})
    return model


@settings(max_examples=40, suppress_health_check=[HealthCheck.filter_too_much])
@given(some_paths(depths=(3, 4)))
def test_a_fixed_network_is_the_whole_one_on_that_route(drawn):
    """Where its last layer sends the coarsest scale: else the whole network's head begins with zeros at scale 3."""
    space, paths = drawn
    whole = double(small_config(layers=space.layers, gate="none"))
    kept = space.prune(paths | {(cell, "down") for cell in space.cells[:4] if "down" in space.paths(cell)})
    if not kept or space.restricted(kept).head_scales < 4:
        return
    model = with_weights_of(fixed(space.layers, kept), whole)
    image = images(2, 40, 33)
    with torch.inference_mode():
        ours, theirs = model(image), whole(image, route=kept)
    torch.testing.assert_close(ours.logits, theirs.logits, rtol=EXACT, atol=EXACT)
    assert ours.routes() == [kept, kept]
    assert {cell for cell, gate in theirs.gates.items() if (gate.state == OPEN).all()} == set(ours.gates)


def test_its_head_begins_at_the_coarsest_scale_that_is_sent():
    """Step by step, for scales 0 and 2: nothing of scale 3, and nothing added at scale 1."""
    model = double(fork())
    assert len(model.head.narrow) == 2
    x = model.stem(model._normalise_and_pad(images(1, 64, 64)))

    def run(cell: Cell, arrived: torch.Tensor) -> torch.Tensor:
        return model.cell(cell).hidden(arrived)

    def sent(cell: Cell, path: str, hidden: torch.Tensor) -> torch.Tensor:
        return model.cell(cell).path_output(path, hidden)

    with torch.no_grad():
        first = run(INITIAL, x)
        fine, coarse = run(Cell(0, 0), first), run(Cell(0, 1), sent(INITIAL, "down", first))
        middle = run(Cell(1, 1), coarse)
        deep = run(Cell(1, 2), sent(Cell(0, 1), "down", coarse))
        top = run(Cell(2, 0), run(Cell(1, 0), fine) + sent(Cell(1, 1), "up", middle))
        bottom = run(Cell(2, 2), deep)
        y = F.interpolate(model.head.narrow[1](bottom), scale_factor=2, mode="bilinear", align_corners=False)
        y = F.interpolate(model.head.narrow[0](y), scale_factor=2, mode="bilinear", align_corners=False) + top
        logits = model.head.predictor(model.head.fuse(y))
        ours = F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)
    with torch.inference_mode():
        torch.testing.assert_close(model(images(1, 64, 64)).logits, ours, rtol=EXACT, atol=EXACT)


def test_training_and_evaluation_take_the_same_paths():
    """With the statistics of the batch itself, as in test_model; here for cells without a keep."""
    model = double(fork()).train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
            module.reset_running_stats()
    batch = images(2, 64, 64)
    output = model(batch)
    output.logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters()), "a parameter that no path uses"
    assert set(output.gates) == set(model.space.cells)


def test_only_its_cells_and_paths_hold_parameters():
    model = Segmenter(fork())
    assert set(model.cells) == {module_name(cell) for cell in model.space.cells}
    assert model.cell(Cell(0, 1)).up is None
    assert model.cell(Cell(1, 1)).down is None
    whole = Segmenter(small_config(layers=3, gate="none")).state_dict()
    assert all(whole[name].shape == tensor.shape for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("accounting", ["paper", "repo"])
def test_it_costs_what_it_uses(accounting):
    size = {"height": 256, "width": 512, "accounting": accounting}
    config, gateless = fork(), small_config(layers=3, gate="none")
    table, whole = cost_table(config, **size), cost_table(gateless, **size)
    space = RoutingSpace.of(config)
    assert set(table.operations) == set(space.routed_cells)
    assert set(table.paths) == {path for path in space.all_paths if space.target(*path) is not None}
    assert table.all_open_expected == sum(whole.operations[cell] for cell in table.operations) + sum(
        whole.paths[path] for path in table.paths
    )
    height, width = 256 // 32, (256 if accounting == "repo" else 512) // 32
    coarsest = 4 * 8 * 4 * 4 * height * width + 3 * 4 * 4 * height * width  # conv 8C → 4C of C = 4, BN and ReLU
    assert whole.head - table.head == coarsest
    assert table.stem == whole.stem
    output = double(config)(images(2, 64, 64))
    cost = output.cost(**size)
    assert cost.realised_macs.tolist() == pytest.approx([table.all_open] * 2, rel=EXACT)
    assert cost.expected_macs.tolist() == pytest.approx([table.all_open_expected] * 2, rel=EXACT)


def test_the_engine_equals_the_model():
    model = double(fork())
    engine = InferenceEngine(model, dtype=torch.float64)
    batch = images(2, 50, 70)
    for route in (None, frozenset(model.space.all_paths[:5])):
        with torch.inference_mode():
            theirs = model(batch, route=route)
        torch.testing.assert_close(engine(batch, route=route).logits, theirs.logits, rtol=FOLDED, atol=FOLDED)


def test_a_forced_route_must_be_one_of_its_own():
    with pytest.raises(ValueError, match=r"no path 'keep' leaves cell 2\.1"):
        double(fork())(images(1, 32, 32), route=frozenset({(Cell(2, 1), "keep")}))


def test_original_weights_are_matched_by_name():
    source, target = mixed_model(fork(), seed=1), mixed_model(fork(), seed=2)
    load_original(target, released(source))
    assert all(torch.equal(source.state_dict()[name], t) for name, t in target.state_dict().items())
    whole = mixed_model(small_config(layers=3, gate="none"))
    with pytest.raises(BlockedError, match="extra"):  # a checkpoint of the whole network is another network
        load_original(target, released(whole))


def test_paths_are_a_setting():
    text = '["init>down", "0.1>keep", "1.1>keep", "2.1>keep"]'
    made = with_settings(experiment("network-fix"), {"model.layers": "3", "model.paths": text})
    assert made.model.paths == ("init>down", "0.1>keep", "1.1>keep", "2.1>keep")
    assert hash(made.model)
    with pytest.raises(UsageError, match=r"no path '9\.9>keep'"):
        with_settings(experiment("network-fix"), {"model.paths": '["9.9>keep"]'})
    with pytest.raises(UsageError, match="a fixed network has no gates"):
        with_settings(experiment("dynamic-a"), {"model.paths": text, "model.layers": "3"})


@pytest.mark.suite
def test_records_and_figures_follow():
    from dynroute_suite.figures.diagram import mean_route_diagram, space_diagram

    record, routes = sample_record(fork()), sample_routes(fork())
    again = parse(type(record), to_json(record), "record.json")
    assert config_of(again) == fork()
    assert routes.paths == FORK
    shown = flow(routes, routes.images, config=fork(), height=HEIGHT, width=WIDTH)
    assert shown.total_macs == pytest.approx(record.costs.paper.mean_macs, rel=1e-6)  # float32 sums in the record
    for picture in (
        space_diagram(fork(), height=HEIGHT, width=WIDTH),
        mean_route_diagram(routes, config=fork(), height=HEIGHT, width=WIDTH),
    ):
        ElementTree.fromstring(picture.svg)


def test_a_record_older_than_the_setting_is_the_rows_own():
    record = sample_record(experiment("dynamic-a").model)
    assert changed_settings(record) == ()
    del record.config["model"]["paths"]
    assert changed_settings(record) == ()
    record.config["model"]["channels"] = 6
    assert changed_settings(record) == ("model.channels",)
    record.config["model"]["channels"] = "wide"
    assert "model.channels" in changed_settings(record)
