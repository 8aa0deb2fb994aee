"""What the pages on static and common networks include: the networks' own numbers, from committed records alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dynroute_core.cost import cost_table
from dynroute_core.model import Segmenter
from dynroute_core.space import RoutingSpace
from dynroute_core.static_routes import STATIC, divide, static_model
from dynroute_suite.book.fragments import fragments
from dynroute_suite.book.pages import static
from dynroute_suite.report.network_tables import common_config, depth_table, static_table
from dynroute_suite.report.numbers import gmacs, significant
from dynroute_suite.report.results import Results
from support.sample_runs import sample_runs


def lines_of(table: str) -> dict[str, list[str]]:
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
    ]
    return {line[0]: line[1:] for line in cells[2:]}


@pytest.fixture
def results(tmp_path: Path) -> Results:
    sample_runs(tmp_path)
    return Results(tmp_path)


def test_the_table_is_the_networks_own() -> None:
    lines = lines_of(static_table())
    for name, network in STATIC.items():
        config = static_model(name)
        space, model = RoutingSpace.of(config), Segmenter(config)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        costs = [cost_table(config, height=1024, width=2048, accounting=a).all_open for a in ("paper", "repo")]
        expected = [str(len(space.cells)), str(len(space.all_paths)), significant(parameters / 1e6), *map(gmacs, costs)]
        assert lines[network.title][1:] == expected
    assert lines["FCN-32s"][0] == "1/32"
    assert lines["HRNetV2"][0] == lines["the whole space, no gates"][0] == "all four"


def test_networks_that_do_not_fit_are_left_out() -> None:
    titles = set(lines_of(static_table(layers=7, channels=4, height=64, width=64)))
    assert titles == {"FCN-32s", "DeepLabV3", "U-Net", "Auto-DeepLab", "the whole space, no gates"}


def test_the_division_is_shown_for_the_papers_two_depths() -> None:
    lines = lines_of(depth_table())
    for network in STATIC.values():
        wanted = [" ".join(map(str, divide(layers + 1, network.depths))) for layers in (16, 33)]
        assert lines[network.title][1:3] == wanted


@pytest.mark.parametrize("name", STATIC)
def test_a_drawing_shows_every_cell_and_what_is_left_out(name: str) -> None:
    text = fragments()[f"static/{name}"]()
    space = RoutingSpace.of(static_model(name))
    assert sum("channels)" in title for title in re.findall("<title>(.*?)</title>", text)) == len(space.cells)
    assert f"Fixed network: 16 layers, {len(space.routed_cells)} cells and the initial one" in text
    assert "not in this network" in text
    assert "gates" not in text
    hairlines = max(re.findall(r'stroke-opacity="0\.26"[^>]* d="([^"]*)"', text), key=len)
    assert hairlines.count("M") == len(space.whole.all_paths) - len(space.all_paths)
    assert STATIC[name].source.split(",")[0] in text


def test_common_networks_of_the_records(results: Results) -> None:
    text = static.common(results)
    found = 0
    for run in results.routed:
        assert f"### {run.record.row}" in text
        config = common_config(run, 0.5)
        if config is None:
            continue
        found += 1
        position = {name: index for index, name in enumerate(run.routes.paths)}
        cells = {name: index for index, name in enumerate(run.routes.cells)}
        images = run.routes.images
        often = {
            name
            for name, index in position.items()
            if sum(i.states[cells[name.split(">")[0]]] == "o" and i.factors[index] > 1e-4 for i in images)
            > len(images) / 2
        }
        space = RoutingSpace.of(run.config)
        assert frozenset(RoutingSpace.of(config).all_paths) == space.prune(space.parse_paths(often))
        wider = common_config(run, 0.5, passed_on=True)
        assert wider is not None
        assert set(config.paths) <= set(wider.paths)
    assert found


def test_without_records_it_says_so(tmp_path: Path) -> None:
    assert "No record" in static.common(Results(tmp_path))
