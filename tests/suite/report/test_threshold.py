"""A recorded route at another threshold: the network's own rules for open, closed and dead, and only ever less open."""

from __future__ import annotations

from itertools import pairwise

import pytest

from dynroute_core.runs.record import ImageRoute
from dynroute_core.space import ModelConfig, RoutingSpace
from dynroute_suite.report.flow import flow
from dynroute_suite.report.threshold import at_threshold
from support.sample_records import HEIGHT, WIDTH, random_output, sample_routes

CONFIG = ModelConfig(layers=5, channels=4, gate="small")
SPACE = RoutingSpace.of(CONFIG)


def cost(image: ImageRoute) -> float:
    routes = sample_routes(CONFIG, bias=-0.2)
    return flow(routes, [image], config=CONFIG, height=HEIGHT, width=WIDTH).total_macs


def test_nought_leaves_every_route_as_recorded() -> None:
    """The rules for dead cells are the network's: they give the recorded states of a network that has all three."""
    routes = sample_routes(CONFIG, bias=-0.2)
    assert set("".join(image.states for image in routes.images)) == set("ocd")
    for image in routes.images:
        kept = at_threshold(image, SPACE, 0)
        assert kept.states == image.states
        assert kept.factors == pytest.approx(image.factors, abs=1e-4)  # factors below the closing threshold are dropped
        assert cost(kept) == cost(image)


def test_a_higher_threshold_only_closes() -> None:
    for image in sample_routes(CONFIG, bias=-0.2).images:
        steps = [at_threshold(image, SPACE, k / 10) for k in range(11)]
        for less, more in pairwise(steps):
            assert not any(b == "o" and a != "o" for a, b in zip(less.states, more.states, strict=True))
            assert cost(more) <= cost(less)
        assert "o" not in steps[-1].states
        assert cost(steps[-1]) < cost(steps[0])


def test_what_nothing_reaches_is_dead_and_a_closed_cell_passes_on() -> None:
    """All paths shut: the initial cell's input goes along scale 0 alone."""
    image = sample_routes(CONFIG, bias=-0.2).images[0]
    shut = at_threshold(image, SPACE, 1)
    states = dict(zip(SPACE.cells, shut.states, strict=True))
    assert {state for cell, state in states.items() if cell.scale == 0} == {"c"}
    assert {state for cell, state in states.items() if cell.scale > 0} == {"d"}
    sent = {key for key, factor in zip(SPACE.all_paths, shut.factors, strict=True) if factor}
    assert sent == {(cell, "keep") for cell in SPACE.cells if cell.scale == 0}


def test_factors_are_those_of_the_network() -> None:
    """What stays open at a threshold is what the network's own factors say."""
    output = random_output(CONFIG, 6, 1, -0.2)
    for index, image in enumerate(sample_routes(CONFIG, bias=-0.2).images):
        left = dict(zip(SPACE.all_paths, at_threshold(image, SPACE, 0.3).factors, strict=True))
        for cell in SPACE.cells:
            for path, factor in zip(SPACE.paths(cell), output.gates[cell].factors[index].tolist(), strict=True):
                if 0 < left[cell, path] < 1:
                    assert left[cell, path] == pytest.approx(factor) and factor > 0.3


@pytest.mark.parametrize("threshold", [-0.1, 1.1])
def test_thresholds_outside_the_factors_range_are_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match=r"lie from 0 to 1"):
        at_threshold(sample_routes(CONFIG).images[0], SPACE, threshold)
