"""Both engines equal the model whatever route is forced: each set of paths of two layers, a sample of three layers'.

`--all-routes` takes every route of three layers in place of the sample, about half an hour on one core;
`--all-routes 2/12` takes the second of twelve parts.
"""

from __future__ import annotations

import itertools
import random

import pytest
import torch
from torch import nn

from dynroute_core import InferenceEngine, Route, RoutingSpace, Segmenter
from dynroute_core.space import INITIAL
from dynroute_kernels.cpu import build
from support.sample_models import images, shaken, small_config

SEED, SAMPLE = 4, 3000
AT_A_TIME = 512  # images of a batch, each with a route of its own
# Sums in another order: an ulp per layer in float64; in float32 a few, amplified by the layers.
BACKENDS = {"torch": (torch.float64, 1e-10), "native": (torch.float32, 1e-4)}


@pytest.fixture(params=BACKENDS)
def backend(request):
    if request.param == "native" and build.built() is None and build.missing():
        pytest.skip(f"not compiled, and no {' nor '.join(build.missing())}")
    return request.param


def small_fixed(layers: int) -> Segmenter:
    model = shaken(Segmenter(small_config(layers=layers, channels=2, stem_channels=2, gate="none"))).eval()
    nn.init.normal_(model.head.predictor.bias)  # logits of the empty route that are not 0
    return model


def every_set(space: RoutingSpace) -> list[Route]:
    """Every set of paths."""
    paths = space.all_paths
    chosen = itertools.product((False, True), repeat=len(paths))
    return [frozenset(itertools.compress(paths, each)) for each in chosen]


def some_sets(space: RoutingSpace, count: int) -> list[Route]:
    """`count` sets of paths, each as likely as any other."""
    rng, paths = random.Random(SEED), space.all_paths
    return [frozenset(path for path in paths if rng.random() < 0.5) for _ in range(count)]


def reduced(space: RoutingSpace, paths: Route) -> Route:
    """The paths that leave a cell which something reaches: what a set of paths comes down to."""
    reached, kept = {INITIAL}, set()
    for cell in space.cells:
        leaving = [(cell, path) for path in space.paths(cell)]
        if cell in reached and not paths.isdisjoint(leaving):
            kept.update(paths.intersection(leaving))
            reached.update(target for each in leaving if (target := space.target(*each)))  # be it with zeros
    return frozenset(kept)


def largest_difference(model: Segmenter, backend: str, routes: list[Route]) -> float:
    """Of the logits, over the largest logit of the same image; states must be equal."""
    dtype = BACKENDS[backend][0]
    engine = InferenceEngine(model, dtype=dtype, backend=backend)
    exact, image, found = model.double(), images(1, 20, 31), []
    for first in range(0, len(routes), AT_A_TIME):
        some = routes[first : first + AT_A_TIME]
        batch = image.expand(len(some), -1, -1, -1)
        with torch.inference_mode():
            theirs = exact(batch, route=some)
        ours = engine(batch, route=some)
        for cell, gate in theirs.gates.items():
            assert torch.equal(ours.gates[cell].state, gate.state), cell
        found.append((ours.logits - theirs.logits).abs().amax((1, 2, 3)) / theirs.logits.abs().amax((1, 2, 3)))
    return torch.cat(found).max().item()  # NaN, should there be one, and then no comparison holds


def test_every_set_of_two_layers(backend):
    model = small_fixed(2)
    routes = every_set(model.space)
    assert len(routes) == 2**10
    assert largest_difference(model, backend, routes) < BACKENDS[backend][1]


def test_three_layers(backend, request):
    model = small_fixed(3)
    part = request.config.getoption("--all-routes")
    if part is None:
        routes = some_sets(model.space, SAMPLE)
    else:
        number, parts = map(int, part.split("/"))
        whole = sorted({reduced(model.space, paths) for paths in every_set(model.space)}, key=sorted)
        routes = whole[number - 1 :: parts]
        print(f"{len(whole)} routes of {2 ** len(model.space.all_paths)} sets of paths")
    worst = largest_difference(model, backend, routes)
    print(f"{backend}: {len(routes)} routes, largest difference {worst:.1e} of the largest logit")
    assert worst < BACKENDS[backend][1]


def test_paths_from_cells_that_nothing_reaches_do_not_count():
    space = RoutingSpace(2, 8)
    sets = every_set(space)
    assert reduced(space, frozenset()) == frozenset() and reduced(space, sets[-1]) == sets[-1]
    lonely = frozenset({(space.cells[-1], space.paths(space.cells[-1])[0])})
    assert reduced(space, lonely) == frozenset()
