"""The routing diagram: its numbers are the record's, its SVG is sound, no network is too small or too large."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from dynroute_core.runs.record import Routes
from dynroute_core.space import GateKind, ModelConfig
from dynroute_core.system.errors import UsageError
from dynroute_suite.figures.diagram import (
    legend_picture,
    mean_route_diagram,
    route_diagram,
    small_diagram,
    space_diagram,
)
from dynroute_suite.figures.signs import path_color
from dynroute_suite.figures.style import Picture
from dynroute_suite.report.flow import all_open, config_of, flow, image_route
from dynroute_suite.report.numbers import macs_text
from support.sample_records import HEIGHT, WIDTH, sample_record, sample_routes

SMALL = ModelConfig(layers=4, channels=4, gate="small")
FLOAT32 = 1e-6  # recorded costs are sums of float32 products
MAX_BYTES = 60_000


def draw(routes: Routes, config: ModelConfig, name: str = "street_000001") -> Picture:
    return route_diagram(routes, name, config=config, height=HEIGHT, width=WIDTH)


def titles(picture: Picture) -> list[str]:
    root = ElementTree.fromstring(picture.svg)
    return [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}title")]


@pytest.mark.parametrize("gate", ["full", "small", "none"])
@pytest.mark.parametrize("bias", [-0.6, 0.4])
def test_costs_equal_the_networks_own(gate: GateKind, bias: float) -> None:
    config = ModelConfig(layers=5, channels=4, gate=gate)
    routes, record = sample_routes(config, bias=bias), sample_record(config, bias=bias)
    for image in record.images:
        shown = flow(routes, [image_route(routes, image.name)], config=config, height=HEIGHT, width=WIDTH)
        assert shown.total_macs == pytest.approx(image.paper_macs, rel=FLOAT32)
    mean = flow(routes, routes.images, config=config, height=HEIGHT, width=WIDTH)
    assert mean.total_macs == pytest.approx(record.costs.paper.mean_macs, rel=FLOAT32)
    shares = [mean.opened[cell] + mean.closed[cell] + mean.dead[cell] for cell in mean.space.cells]
    assert shares == pytest.approx([1] * len(shares))


def test_the_samples_hold_every_state() -> None:
    routes = sample_routes(SMALL, bias=-0.6)
    assert set("".join(image.states for image in routes.images)) == set("ocd")


@pytest.mark.parametrize("layers", [1, 2, 3, 16, 33])
def test_every_depth_can_be_drawn(layers: int) -> None:
    config = ModelConfig(layers=layers, channels=4, gate="small")
    routes = sample_routes(config, images=2, bias=-0.2)
    for picture in (
        draw(routes, config),
        mean_route_diagram(routes, config=config, height=HEIGHT, width=WIDTH),
        space_diagram(config),
    ):
        assert ElementTree.fromstring(picture.svg).get("viewBox", "").startswith("0 0 640 ")
        assert "nan" not in picture.svg
        assert "inf" not in picture.svg
        if layers <= 16:
            assert len(picture.svg.encode()) < MAX_BYTES


def test_tooltips_tell_factor_state_and_cost_of_everything() -> None:
    config = ModelConfig(layers=3, channels=4, gate="full")
    routes = sample_routes(config, bias=-0.3)
    shown = flow(routes, [image_route(routes, "street_000001")], config=config, height=HEIGHT, width=WIDTH)
    found = titles(draw(routes, config))
    for key, factor in shown.factors.items():
        mine = [title for title in found if title.startswith(f"{key[0]} {key[1]}: factor")]
        assert len(mine) == (1 if factor else 0)
        if factor:
            assert f"factor {factor:.2f}" in mine[0]
            if key in shown.table.paths:
                assert mine[0].endswith(macs_text(shown.table.paths[key]))
    assert sum("channels)" in title for title in found) == len(shown.space.cells)
    assert f"stem: {macs_text(shown.table.stem)}" in found


@pytest.mark.parametrize("layers", [1, 16, 33])
def test_small_diagrams_hold_every_cell_and_stay_within_their_frame(layers: int) -> None:
    config = ModelConfig(layers=layers, channels=4, gate="small")
    routes = sample_routes(config, images=2, bias=-0.2)
    for images in (routes.images[:1], routes.images):
        picture = small_diagram(routes, images, config=config, height=HEIGHT, width=WIDTH, title="one of many")
        root = ElementTree.fromstring(picture.svg)
        right = float(root.get("viewBox", "").split()[2])
        circles = list(root.iter("{http://www.w3.org/2000/svg}circle"))
        assert len(circles) == len(routes.cells)
        assert all(0 < float(circle.get("cx", "")) < right for circle in circles)
        boxes = list(root.iter("{http://www.w3.org/2000/svg}rect"))
        assert all(0 <= float(box.get("x", "")) <= right - float(box.get("width", "")) for box in boxes)
        assert picture.alt.startswith("one of many: ")
    assert "hairlines are closed" in legend_picture().alt


def test_colour_goes_with_the_factor() -> None:
    assert (path_color(0), path_color(1)) == ("#8a8a8a", "#0072b2")
    blues = [int(path_color(k / 10)[5:], 16) - int(path_color(k / 10)[1:3], 16) for k in range(11)]
    assert blues == sorted(set(blues))


def test_same_input_same_bytes() -> None:
    routes = sample_routes(SMALL)
    assert draw(routes, SMALL) == draw(routes, SMALL)
    assert space_diagram(SMALL) == space_diagram(SMALL)


def test_alternatives_say_what_is_open_and_what_it_costs() -> None:
    opened = all_open(SMALL, height=HEIGHT, width=WIDTH)
    assert opened.summary().startswith("100 % of paths open; cost ")
    routes = sample_routes(SMALL, bias=-0.6)
    picture = draw(routes, SMALL)
    image = next(image for image in sample_record(SMALL, bias=-0.6).images if image.name == "street_000001")
    amount = macs_text(image.paper_macs).split()[0]
    assert re.match(r"Route of street_000001: \d+ % of paths open", picture.alt)
    assert f"cost {amount} of " in picture.alt
    assert re.search(r"\d+ of 14 cells dead|\d+ of 14 cells closed", picture.alt)


def test_names_are_shown_not_run() -> None:
    routes = sample_routes(SMALL)
    nasty = '<script>alert("x")</script>&\x07'
    images = (replace(routes.images[0], name=nasty), *routes.images[1:])
    picture = draw(replace(routes, images=images), SMALL, nasty)
    assert "<script" not in picture.html
    assert "\x07" not in picture.svg
    shown = "".join(ElementTree.fromstring(picture.svg).itertext())
    assert "<script>alert(" in shown


def test_colours_follow_the_page() -> None:
    picture = draw(sample_routes(SMALL), SMALL)
    assert "currentColor" in picture.svg
    assert "#000000" not in picture.svg
    assert "#ffffff" not in picture.svg.lower()
    assert picture.html.startswith('<figure class="dr-fig" role="img" aria-label="')


def test_wrong_input_is_refused_with_a_next_step() -> None:
    routes = sample_routes(SMALL)
    with pytest.raises(UsageError, match="Did you mean 'street_000001'"):
        draw(routes, SMALL, "street_00001")
    with pytest.raises(ValueError, match="give the config of the run"):
        draw(routes, ModelConfig(layers=5, channels=4))
    with pytest.raises(ValueError, match="no images"):
        mean_route_diagram(replace(routes, images=()), config=SMALL, height=HEIGHT, width=WIDTH)


def test_the_network_can_be_read_from_the_record() -> None:
    record = sample_record(SMALL)
    assert config_of(record) == SMALL
    with pytest.raises(ValueError, match="no readable model"):
        config_of(replace(record, config={}))
