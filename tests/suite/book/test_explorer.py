"""The route explorer: what it ships is the record, and what its script computes is what the Python code computes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dynroute_core.space import RoutingSpace
from dynroute_suite.book.explorer.data import FACTOR_STEPS, explorer_json, networks_of, shipped_images, steps_of
from dynroute_suite.book.explorer.page import SCRIPTS, explorer_block
from dynroute_suite.report.flow import flow, image_route
from dynroute_suite.report.numbers import macs_of, share_text
from dynroute_suite.report.results import Results
from dynroute_suite.report.routed_runs import RoutedRun
from dynroute_suite.report.threshold import at_threshold
from support.sample_runs import sample_runs

ASSETS = Path(__file__).parents[3] / "book" / "_assets" / "explorer"
THRESHOLDS = (0, 10, 250, 500, 730, 900, 905, 1000)
FLOAT32 = 1e-6  # recorded costs are sums of float32 products

NEEDED = """
const { routeAt, totalMacs, allOpenMacs, differing, extreme, pathName, macsOf, share } = require(process.argv[1]);
const data = JSON.parse(require("fs").readFileSync(0, "utf8"));
"""
ASK = """
const answers = data.records.map((record) => {
  const network = data.networks[record.network];
  return record.images.map((image) => data.thresholds.map((threshold) => {
    const route = routeAt(network, image, threshold);
    const [cost, all] = [totalMacs(network, route), allOpenMacs(network, route)];
    return { states: route.states.join(""), open: route.factors.map((f) => f > 0), cost, all,
             words: macsOf(cost, all), share: share(cost, all) };
  }));
});
console.log(JSON.stringify(answers));
"""
COMPARE = """
const answers = data.records.map((record) => {
  const network = data.networks[record.network];
  const routes = record.images.map((image) => routeAt(network, image, 0));
  return routes.map((one, own) => ({
    apart: routes.map((other) => differing(one, other).map((path) => pathName(network, path))),
    nearest: extreme(one, routes, false, own), farthest: extreme(one, routes, true, own),
  }));
});
console.log(JSON.stringify(answers));
"""


@pytest.fixture
def runs(tmp_path: Path) -> tuple[RoutedRun, ...]:
    return sample_runs(tmp_path)


def ask(runs: tuple[RoutedRun, ...], script: str = ASK) -> Any:
    node = shutil.which("node")
    if node is None:
        pytest.skip("the script's arithmetic is checked with Node, which is not installed here")
    data = json.loads(explorer_json(runs)) | {"thresholds": THRESHOLDS}
    done = subprocess.run(
        [node, "-e", NEEDED + script, str(ASSETS / "route.js")],
        input=json.dumps(data),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("which", ["samples", "committed"])
def test_the_script_and_the_python_code_agree_exactly(which: str, runs: tuple[RoutedRun, ...]) -> None:
    """States, open paths, whole MACs and the words that tell them, for every image and several thresholds."""
    asked = runs if which == "samples" else Results().routed
    assert asked
    for run, answers in zip(asked, ask(asked), strict=True):
        space, costs = RoutingSpace.of(run.config), run.record.costs
        for facts, per_threshold in zip(shipped_images(run), answers, strict=True):
            image = image_route(run.routes, facts.name)
            for threshold, answer in zip(THRESHOLDS, per_threshold, strict=True):
                left = at_threshold(image, space, threshold / FACTOR_STEPS)
                shown = flow(
                    run.routes,
                    [left],
                    config=run.config,
                    height=costs.nominal_height,
                    width=costs.nominal_width,
                )
                assert answer["states"] == left.states
                assert answer["open"] == [shown.factors[key] > 0 for key in space.all_paths]
                assert answer["cost"] == shown.total_macs
                assert answer["all"] == shown.table.all_open
                assert answer["words"] == macs_of(shown.total_macs, shown.table.all_open)
                assert answer["share"] == share_text(shown.total_macs / shown.table.all_open)
            assert per_threshold[0]["cost"] == pytest.approx(facts.paper_macs, rel=FLOAT32)


def test_two_routes_differ_in_the_paths_that_one_of_them_opens(runs: tuple[RoutedRun, ...]) -> None:
    for run, answers in zip(runs, ask(runs, COMPARE), strict=True):
        routes = [image_route(run.routes, facts.name) for facts in shipped_images(run)]
        opened = [
            {
                name
                for name, step in zip(run.routes.paths, steps_of(route, RoutingSpace.of(run.config)), strict=True)
                if step
            }
            for route in routes
        ]
        assert len(set(map(frozenset, opened))) > 1, "all routes alike: nothing would be compared"
        for own, answer in enumerate(answers):
            apart = [opened[own] ^ other for other in opened]
            assert list(map(set, answer["apart"])) == apart
            others = {place: len(paths) for place, paths in enumerate(apart) if place != own}
            assert answer["nearest"] == min(others, key=lambda place: others[place])
            assert answer["farthest"] == max(others, key=lambda place: others[place])


def test_every_image_is_shipped_with_its_states_cheapest_first(runs: tuple[RoutedRun, ...]) -> None:
    data = json.loads(explorer_json(runs))
    assert [record["id"] for record in data["records"]] == [run.identity for run in runs]
    for run, record in zip(runs, data["records"], strict=True):
        assert f"{record['row']} ({record['setting']})" == run.record.label
        assert sorted(image[0] for image in record["images"]) == sorted(image.name for image in run.record.images)
        costs = {image.name: image.paper_macs for image in run.record.images}
        ordered = [costs[image[0]] for image in record["images"]]
        assert ordered == sorted(ordered)
        for name, _, states, steps in record["images"]:
            assert states == image_route(run.routes, name).states
            assert len(steps) == 2 * len(run.routes.paths)


def test_factors_are_rounded_so_that_no_threshold_is_crossed(runs: tuple[RoutedRun, ...]) -> None:
    run = runs[0]
    space = RoutingSpace.of(run.config)
    image = run.routes.images[0]
    open_states = "o" * len(image.states)
    for factor, step in ((0.0002, 1), (0.3, 300), (0.57, 570), (0.570001, 571), (0.9003, 901), (1.0, 1000), (5e-5, 0)):
        given = replace(image, states=open_states, factors=(factor,) * len(image.factors))
        assert set(steps_of(given, space)) == {step}


def test_networks_without_gates_have_nothing_to_explore(tmp_path: Path) -> None:
    runs = sample_runs(tmp_path)
    rows = {one.record.row for one in Results(tmp_path).committed}
    assert rows - {run.record.row for run in runs} == {"network-fix"}


def test_many_images_are_thinned_evenly_with_both_ends(
    runs: tuple[RoutedRun, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs[0]
    everyone = shipped_images(run)
    monkeypatch.setattr("dynroute_suite.book.explorer.data.MAX_IMAGES", 3)
    few = shipped_images(run)
    assert len(few) == 3
    assert (few[0], few[-1]) == (everyone[0], everyone[-1])
    assert len(set(few)) == 3


def test_the_block_is_one_raw_block_with_a_drawing_per_network(runs: tuple[RoutedRun, ...]) -> None:
    html = explorer_block(runs)
    assert "\n\n" not in html
    assert html == explorer_block(runs)
    drawings = re.findall(r'<figure class="dr-fig dr-drawing".*?</figure>', html, flags=re.DOTALL)
    assert len(drawings) == len(networks_of(runs)) == 2
    for drawing, (config, _, _) in zip(drawings, networks_of(runs), strict=True):
        space = RoutingSpace.of(config)
        assert len(re.findall(r"data-path=", drawing)) == len(space.all_paths)
        assert len(re.findall(r"data-cell=", drawing)) == len(space.cells)
        assert len(re.findall(r"data-layer=", drawing)) == config.layers
    assert "<noscript>" in html
    assert 'href="gallery.html"' in html


def test_names_cannot_leave_the_data(runs: tuple[RoutedRun, ...]) -> None:
    run = runs[0]
    nasty = "</script><script>alert(1)</script>"
    images = tuple(replace(image, name=nasty + image.name) for image in run.routes.images)
    facts = tuple(replace(image, name=nasty + image.name) for image in run.record.images)
    named = replace(run, routes=replace(run.routes, images=images), record=replace(run.record, images=facts))
    text = explorer_json([named])
    assert "<" not in text
    assert json.loads(text)["records"][0]["images"][0][0].startswith(nasty)


def test_the_scripts_have_no_library_and_no_network() -> None:
    assert {path.name for path in ASSETS.glob("*.js")} == set(SCRIPTS)
    for name in SCRIPTS:
        assert not re.search(r"\bimport\b|fetch\(|XMLHttpRequest|https?://", (ASSETS / name).read_text())
