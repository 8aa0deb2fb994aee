"""Static networks: their shape by hand, their parameters and costs in closed form, their stretching to any depth."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dynroute_core.cost import cost_table
from dynroute_core.model import Segmenter
from dynroute_core.space import INITIAL, Cell, RoutingSpace
from dynroute_core.static_routes import STATIC, chain, common_route, divide, static_model, static_paths, static_route
from dynroute_core.system.errors import UsageError
from support.random_routes import some_paths

DEPTHS = (16, 25)


def scales_of(name: str, layers: int) -> list[list[int]]:
    """The scales of the initial layer's cells, of layer 0's, ... as the network has them."""
    space = RoutingSpace.of(static_model(name, layers))
    return [[cell.scale for cell in space.cells if cell.layer == layer] for layer in range(-1, layers)]


def runs(*lengths_and_scales: tuple[int, int]) -> list[list[int]]:
    return [[scale] for length, scale in lengths_and_scales for _ in range(length)]


# Shape, by hand. 17 cells for 16 layers, 26 for 25.


def test_fcn32s_goes_down_once():
    """VGG-16 has 3, 3, 3 convolutions at strides 4, 8, 16, and fc6, fc7 at 32: 17 cells in these proportions."""
    assert scales_of("fcn32s", 16) == runs((5, 0), (5, 1), (4, 2), (3, 3))
    assert scales_of("fcn32s", 10) == runs((3, 0), (3, 1), (3, 2), (2, 3))


def test_deeplabv3_is_resnet50_block_by_block_at_16_layers():
    """3, 4, 6 + 3 blocks and the pyramid make 17."""
    assert scales_of("deeplabv3", 16) == runs((3, 0), (4, 1), (10, 2))


def test_autodeeplab_is_the_published_path_at_11_layers():
    """12 cells: 0, 0, 0, 1, 2, 1, 2, 2, 3, 3, 2, 1."""
    assert scales_of("autodeeplab", 11) == [[scale] for scale in (0, 0, 0, 1, 2, 1, 2, 2, 3, 3, 2, 1)]
    assert scales_of("autodeeplab", 23) == [[scale] for scale in (0, 0, 0, 1, 2, 1, 2, 2, 3, 3, 2, 1) for _ in (0, 1)]
    assert scales_of("autodeeplab", 16) == runs((5, 0), (2, 1), (1, 2), (1, 1), (3, 2), (3, 3), (1, 2), (1, 1))


def test_unet_goes_down_and_up_and_each_scale_bridges_the_valley():
    """Seven stages of 3, 3, 3, 2, 2, 2, 2 cells; a scale's row runs from its stage down to its stage up."""
    space = RoutingSpace.of(static_model("unet"))
    rows = {scale: [cell.layer for cell in space.cells if cell.scale == scale] for scale in range(4)}
    assert rows == {
        0: list(range(-1, 16)),
        1: list(range(2, 14)),
        2: list(range(5, 12)),
        3: list(range(8, 10)),
    }
    downs = [cell for cell, path in space.all_paths if path == "down"]
    ups = [cell for cell, path in space.all_paths if path == "up"]
    assert downs == [Cell(1, 0), Cell(4, 1), Cell(7, 2)]
    assert ups == [Cell(9, 3), Cell(11, 2), Cell(13, 1)]


def test_hrnetv2_adds_scales_and_exchanges_between_modules():
    """Nine modules: one of stage 1, one of stage 2, four of stage 3, three of stage 4; two cells each, the last one."""
    assert scales_of("hrnetv2", 16) == [list(range(n)) for n in [1] * 2 + [2] * 2 + [3] * 8 + [4] * 5]
    space = RoutingSpace.of(static_model("hrnetv2"))
    crossing = {layer: {path for cell, path in space.all_paths if cell.layer == layer} for layer in range(-1, 16)}
    ends = [0, 2, 4, 6, 8, 10, 12, 14]  # the last layer of every module but the last
    for layer, kinds in crossing.items():
        assert kinds == ({"keep", "down"} if layer == 0 else {"keep", "up", "down"} if layer in ends else {"keep"}), (
            layer
        )
    for layer in ends:  # an exchange is all that is adjacent: every cell of the next layer gets what it can
        for cell in (cell for cell in space.cells if cell.layer == layer + 1):
            can = [a for a in space.whole.arrivals(cell) if a[0] in space.cells]
            assert list(space.arrivals(cell)) == can


HEAD_SEES = {"fcn32s": [3], "deeplabv3": [2], "unet": [0], "hrnetv2": [0, 1, 2, 3], "autodeeplab": [1]}
# Scale changes on the way from stem to head: the fewest and the most.
CHANGES = {"fcn32s": (3, 3), "deeplabv3": (2, 2), "unet": (0, 6), "autodeeplab": (7, 7)}


def ways(space: RoutingSpace) -> tuple[set[int], set[int]]:
    """(cells, scale changes) of every way from the initial cell to the head: how many there are, each number once."""
    found: dict[Cell, set[tuple[int, int]]] = {INITIAL: {(1, 0)}}
    ends: set[tuple[int, int]] = set()
    for cell in space.cells:
        for path in space.paths(cell):
            target = space.target(cell, path)
            if target is None:
                ends |= found[cell]
            else:
                step = {(cells + 1, changes + (path != "keep")) for cells, changes in found[cell]}
                found[target] = found.get(target, set()) | step
    return {cells for cells, _ in ends}, {changes for _, changes in ends}


@pytest.mark.parametrize("layers", DEPTHS)
@pytest.mark.parametrize("name", STATIC)
def test_what_the_head_sees_and_how_far_it_is(name, layers):
    """Every way passes one cell a layer, so all are as long as the network is deep; scale changes differ."""
    space = RoutingSpace.of(static_model(name, layers))
    assert [cell.scale for cell in space.last_cells] == HEAD_SEES[name]
    assert space.head_scales == HEAD_SEES[name][-1] + 1
    cells, changes = ways(space)
    assert cells == {layers + 1}
    # HRNet: one exchange after each of eight modules, each moving at most one scale; the first only down.
    assert (min(changes), max(changes)) == CHANGES.get(name, (0, 8))


# Parameters and costs in closed form, written independently of cost.py and model.py. C channels at scale 0, scale k has
# C·2^k; n_k pixels at scale k.


def cell_parameters(c: int) -> int:
    return 2 * (9 * c + c * c + 2 * c)  # twice depthwise 3×3, pointwise, norm


def cell_macs(c: int, n: int) -> int:
    return n * (2 * (9 * c + c * c + 2 * c) + c)  # the same per pixel, and a ReLU between the two


def stem_parameters(c: int, m: int) -> int:
    return (27 * m + 2 * m) + (9 * m + m * m + 2 * m) + (9 * m + m * c + 2 * c)


def stem_macs(c: int, m: int, n0: int) -> int:
    half = 4 * n0
    return half * (27 * m + 3 * m + 9 * m + m * m + 3 * m) + n0 * (9 * m + m * c + 3 * c)


def head_parameters(c: int, scales: int, classes: int) -> int:
    narrow = sum((c << k) * (c << k) // 2 + 2 * (c << k) // 2 for k in range(1, scales))
    return narrow + c * c + 2 * c + 9 * c * classes + classes


def head_macs(c: int, scales: int, classes: int, n: list[int]) -> int:
    narrow = sum(n[k] * ((c << k) * (c << k) // 2 + 3 * (c << k) // 2) for k in range(1, scales))
    return narrow + n[0] * (c * c + 3 * c + 9 * c * classes)


def transform_parameters(inputs: int, outputs: int) -> int:
    return inputs * outputs + 2 * outputs


def closed_form(cells: list[int], keeps: list[int], ups: list[int], downs: list[int], *, c: int, scales: int, n):
    """(parameters, MACs) of a network with so many cells, keeps, ups and downs leaving each scale, to its last layer's
    keeps, which are free, as is the initial cell's operation."""
    m, classes = 64, 19
    size = [c << k for k in range(4)]
    parameters = stem_parameters(c, m) + head_parameters(c, scales, classes)
    macs = stem_macs(c, m, n[0]) + head_macs(c, scales, classes, n)
    for k in range(4):
        up, down = size[k] // 2, size[k] * 2
        parameters += cells[k] * cell_parameters(size[k])
        macs += (cells[k] - (k == 0)) * cell_macs(size[k], n[k])
        macs += (keeps[k] + ups[k] + downs[k]) * size[k] * n[k]  # the ReLU that every path begins with
        if ups[k]:
            parameters += ups[k] * transform_parameters(size[k], up)
            macs += ups[k] * n[k] * (size[k] * up + 3 * up)
        if downs[k]:
            parameters += downs[k] * transform_parameters(size[k], down)
            macs += downs[k] * n[k + 1] * (size[k] * down + 3 * down)
    return parameters, macs


def counts_of_fcn32s(d):
    """d: cells per stage. One cell a layer; keeps within a stage, a down between stages."""
    return list(d), [d[0] - 1, d[1] - 1, d[2] - 1, d[3] - 1], [0] * 4, [1, 1, 1, 0]


def counts_of_deeplabv3(d):
    return [*d, 0], [d[0] - 1, d[1] - 1, d[2] - 1, 0], [0] * 4, [1, 1, 0, 0]


def counts_of_autodeeplab(d):
    """Scales of its stages: 0 1 2 1 2 3 2 1."""
    cells = [d[0], d[1] + d[3] + d[7], d[2] + d[4] + d[6], d[5]]
    return cells, [d[0] - 1, cells[1] - 3, cells[2] - 3, d[5] - 1], [0, 0, 2, 1], [1, 2, 1, 0]


def counts_of_unet(d):
    """Rows: scale 0 all the way; scale k without the k outer stages on each side. All but a row's last cell keep."""
    rows = [sum(d[k : 7 - k]) for k in range(4)]
    return rows, [row - 1 for row in rows], [0, 1, 1, 1], [1, 1, 1, 0]


def counts_of_hrnetv2(d):
    """Scale k begins with module (0, 1, 2, 6)[k]. After every module but the last, neighbours exchange."""
    first = [0, 1, 2, 6]
    rows = [sum(d[first[k] :]) for k in range(4)]
    ups = [0] + [8 - first[k] for k in (1, 2, 3)]
    downs = [8 - (first[k + 1] - 1) for k in (0, 1, 2)] + [0]  # the first exchange that makes scale k+1 is one of them
    return rows, [row - 1 for row in rows], ups, downs


SIZES = {"paper": (1024, 2048), "repo": (1024, 1024)}  # of the head: the released code takes a square


@pytest.mark.parametrize("channels", [64, 6])
@pytest.mark.parametrize("layers", DEPTHS)
@pytest.mark.parametrize("name", STATIC)
def test_parameters_and_macs_in_closed_form(name, layers, channels):
    config = static_model(name, layers)
    config = type(config)(layers=layers, channels=channels, gate="none", paths=config.paths)
    counts = globals()[f"counts_of_{name}"](divide(layers + 1, STATIC[name].depths))
    scales = HEAD_SEES[name][-1] + 1
    n = [(1024 // 4 >> k) * (2048 // 4 >> k) for k in range(4)]
    parameters, macs = closed_form(*counts, c=channels, scales=scales, n=n)
    with torch.device("meta"):
        model = Segmenter(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    paper, repo = (cost_table(config, height=1024, width=2048, accounting=a) for a in ("paper", "repo"))
    assert paper.all_open == paper.all_closed + paper.all_open_expected == macs
    square = [(1024 // 4 >> k) ** 2 for k in range(4)]
    assert repo.all_open == macs - head_macs(channels, scales, 19, n) + head_macs(channels, scales, 19, square)


# Stretching


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(0, 40))
def test_dividing_is_fair_exact_and_never_takes_back(depths, more):
    total = len(depths) + more
    parts = divide(total, depths)
    assert sum(parts) == total
    assert min(parts) >= 1
    after = divide(total + 1, depths)
    assert sorted(b - a for a, b in zip(parts, after, strict=True)) == [0] * (len(depths) - 1) + [1]
    for (depth, part), (other, rest) in pairwise(zip(depths, parts, strict=True)):
        assert (part >= rest) if depth > other else True
        assert (part <= rest) if depth < other else True
    times = more % 3 + 1
    assert divide(times * sum(depths), depths) == tuple(times * depth for depth in depths)


@pytest.mark.parametrize("name", STATIC)
def test_a_network_fits_every_depth_from_its_least_on(name):
    least = STATIC[name].least_layers
    for layers in range(least, 36):
        assert RoutingSpace.of(static_model(name, layers)).layers == layers
    with pytest.raises(UsageError, match=rf"does not fit {least - 1} layers: .* Set model\.layers={least} or more"):
        static_route(name, least - 1)


def test_the_least_depths():
    least = {name: network.least_layers for name, network in STATIC.items()}
    assert least == {"fcn32s": 3, "deeplabv3": 2, "unet": 6, "hrnetv2": 8, "autodeeplab": 7}


def test_dividing_among_too_many_stages():
    with pytest.raises(ValueError, match="2 cells for 3 stages"):
        divide(2, (1, 1, 1))


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'unet'"):
        static_paths("unte", 16)


def test_a_chain_ends_at_the_head():
    assert chain([0, 1, 0]) == [(INITIAL, "down"), (Cell(0, 1), "up"), (Cell(1, 0), "keep")]


@pytest.mark.parametrize("name", STATIC)
def test_every_network_says_where_it_comes_from(name):
    network = STATIC[name]
    assert network.title
    assert any(year in network.source for year in ("2015", "2017", "2019"))
    assert network.stages


# Common networks


@given(some_paths(), st.integers(0, 4))
def test_a_common_route_is_what_is_open_often_enough_and_leads_through(drawn, threshold):
    """shares of 0, 1/4, ... 1, of which more than threshold/4 is asked."""
    space, paths = drawn
    shares = {path: (index * 7 % 5) / 4 for index, path in enumerate(sorted(paths))}
    route = common_route(space, shares, threshold / 4)
    often = {path for path, share in shares.items() if share > threshold / 4}
    assert route == space.prune(often) <= often
    if route:
        assert frozenset(space.restricted(route).all_paths) == route
    wider = common_route(space, shares, max(threshold - 1, 0) / 4)
    assert route <= wider, "a smaller share keeps what a larger one keeps"
    assert not common_route(space, shares, 1.0)


def test_a_common_route_of_a_whole_open_space_is_the_space():
    space = RoutingSpace(4, 8)
    assert common_route(space, dict.fromkeys(space.all_paths, 1.0), 0.5) == frozenset(space.all_paths)
    half = dict.fromkeys(space.all_paths, 0.5)
    assert common_route(space, half, 0.5) == frozenset(), "more than the share, not as much"
    with pytest.raises(ValueError, match="no path"):
        common_route(space, {(Cell(9, 9), "keep"): 1.0}, 0.5)
