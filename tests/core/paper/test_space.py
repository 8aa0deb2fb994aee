"""The geometry: counts, neighbours, names."""

from __future__ import annotations

import pytest
from hypothesis import given

from dynroute_core.space import INITIAL, SCALES, Cell, ModelConfig, RoutingSpace, path_name
from support.random_routes import DEPTHS, some_paths

LAYERS = (1, 2, 3, 4, 16, 33)


@pytest.mark.parametrize(
    ("layers", "cells", "paths"),
    # By hand. Cells: 1 + 2 + 3 + 4·(L - 2) from L = 2 on. Paths: init 2 (keep, down), layer 0 2 + 3, layer 1 2 + 3 + 3,
    # every later one 2 + 3 + 3 + 2, the last layer one per cell.
    [(1, 3, 4), (2, 6, 10), (3, 10, 19), (16, 62, 149), (33, 130, 319)],
)
def test_number_of_cells_and_paths(layers, cells, paths):
    space = RoutingSpace(layers, 8)
    assert len(space.cells) == cells == len(set(space.cells))
    assert len(space.all_paths) == paths == len(set(space.all_paths))
    assert space.routed_cells == space.cells[1:]


@pytest.mark.parametrize("layers", LAYERS)
def test_arrivals_and_targets_are_inverse(layers):
    space = RoutingSpace(layers, 8)
    forward = {(cell, path, space.target(cell, path)) for cell, path in space.all_paths}
    backward = {(source, path, cell) for cell in space.cells for source, path in space.arrivals(cell)}
    to_head = {(cell, "keep", None) for cell in space.last_cells}
    assert forward == backward | to_head
    assert all(target in space.cells for _, _, target in forward - to_head)
    assert space.arrivals(INITIAL) == ()


@pytest.mark.parametrize("layers", LAYERS)
def test_forward_order_visits_sources_first(layers):
    space = RoutingSpace(layers, 8)
    place = {cell: index for index, cell in enumerate(space.cells)}
    assert all(place[source] < place[cell] for cell in space.cells for source, _ in space.arrivals(cell))


def test_gate_order_is_keep_up_down_where_they_lead_somewhere():
    space = RoutingSpace(4, 8)
    assert space.paths(INITIAL) == ("keep", "down")
    assert space.paths(Cell(0, 1)) == ("keep", "up", "down")
    assert space.paths(Cell(2, 3)) == ("keep", "up")
    assert [space.paths(cell) for cell in space.last_cells] == [("keep",)] * 4
    # With one layer, the initial cell still has both paths: the last layer is 0, not -1.
    assert RoutingSpace(1, 8).paths(INITIAL) == ("keep", "down")


def test_arrivals_come_from_the_finer_scale_its_own_and_the_coarser():
    space = RoutingSpace(4, 8)
    assert space.arrivals(Cell(3, 1)) == ((Cell(2, 0), "down"), (Cell(2, 1), "keep"), (Cell(2, 2), "up"))
    assert space.arrivals(Cell(0, 1)) == ((INITIAL, "down"),)
    assert space.arrivals(Cell(1, 2)) == ((Cell(0, 1), "down"),)


def test_channels_and_strides():
    space = RoutingSpace.of(ModelConfig(layers=5, channels=64))
    assert [space.channels_at(k) for k in range(4)] == [64, 128, 256, 512]
    assert [space.stride_at(k) for k in range(4)] == [4, 8, 16, 32]


@pytest.mark.parametrize("layers", LAYERS)
def test_every_cell_parses_back_from_its_name(layers):
    space = RoutingSpace(layers, 8)
    assert [space.parse_cell(str(cell)) for cell in space.cells] == list(space.cells)


@pytest.mark.parametrize("text", ["", "init ", "4.0", "0.2", "-1.0", "3.2.1", "03.2"])
def test_other_names_do_not_parse(text):
    with pytest.raises(ValueError, match="write init or LAYER"):
        RoutingSpace(4, 8).parse_cell(text)


def test_check_route_returns_the_route_and_names_the_first_foreign_path():
    space = RoutingSpace(2, 8)
    assert space.check_route(list(space.all_paths)) == frozenset(space.all_paths)
    assert space.check_route([]) == frozenset()
    for foreign in ((INITIAL, "up"), (Cell(1, 0), "down"), (Cell(7, 0), "keep"), (Cell(0, 0), "sideways")):
        with pytest.raises(ValueError, match=f"no path {foreign[1]!r} leaves cell {foreign[0]} in a space of 2 layers"):
            space.check_route([(INITIAL, "keep"), foreign])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": 0}, "layers=0: give a whole number of at least 1"),
        ({"channels": 0}, "channels=0"),
        ({"channels": 5}, "channels=5: give an even number"),
        ({"classes": 0}, "classes=0"),
        ({"stem_channels": 0}, "stem_channels=0"),
        ({"gate": "huge"}, "choose from full, small, none"),
        ({"stem": "solid"}, "choose from separable, dense"),
        ({"operations": ()}, "operations=empty"),
        ({"operations": ("sep_conv_3x3", "conv_9x9")}, r"\['conv_9x9'\]: choose from none, skip_connect"),
    ],
)
def test_impossible_configurations_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig(**settings)


# Restricted spaces

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


NO_NETWORK = r"does not lead to the head|not reached"


def fork() -> RoutingSpace:
    return RoutingSpace.of(ModelConfig(layers=3, channels=8, gate="none", paths=FORK))


def test_a_restricted_space_holds_its_paths_and_the_cells_they_join():
    space = fork()
    assert [path_name(path) for path in space.all_paths] == list(FORK)
    assert [str(cell) for cell in space.cells] == ["init", "0.0", "0.1", "1.0", "1.1", "1.2", "2.0", "2.2"]
    assert space.routed_cells == space.cells[1:]
    assert space.last_cells == (Cell(2, 0), Cell(2, 2))
    assert space.paths(Cell(0, 1)) == ("keep", "down")
    assert space.paths(Cell(2, 1)) == ()
    assert space.arrivals(Cell(2, 0)) == ((Cell(1, 0), "keep"), (Cell(1, 1), "up"))
    assert space.arrivals(Cell(2, 2)) == ((Cell(1, 2), "keep"),)
    assert space.whole == RoutingSpace(3, 8)
    with pytest.raises(ValueError, match=r"no cell '2\.1'"):
        space.parse_cell("2.1")


def test_the_head_begins_at_the_coarsest_scale_that_is_sent():
    assert fork().head_scales == 3
    flat = RoutingSpace.of(ModelConfig(layers=1, gate="none", paths=("init>keep", "0.0>keep")))
    assert flat.head_scales == 1
    # The whole space's goes through all four, as released, even where it is too shallow to have them.
    assert RoutingSpace(1, 8).head_scales == RoutingSpace(16, 8).head_scales == SCALES


def test_one_sub_graph_is_one_config():
    one, other = (ModelConfig(layers=3, gate="none", paths=paths) for paths in (FORK, FORK[::-1] + FORK[:2]))
    assert one == other
    assert hash(one) == hash(other)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"paths": ("init>up",)}, "no path 'init>up' in a space of 3 layers: write CELL>PATH"),
        ({"paths": ("0.0",)}, "no path '0.0'"),
        ({"paths": ("2.0>down",)}, "no path '2.0>down'"),
        ({"paths": ("3.0>keep",)}, "no path '3.0>keep'"),
        ({"paths": FORK[1:2] + FORK[3:]}, r"cell 1\.0 is not reached from the initial cell"),
        ({"paths": FORK[:-1]}, r"cell 2\.2 does not lead to the head"),
        ({"paths": (*FORK, "0.0>down")[:1]}, r"cell 0\.0 does not lead to the head"),
        ({"paths": ("2.0>keep",)}, "cell init does not lead to the head"),
        ({"paths": FORK, "gate": "small"}, "a fixed network has no gates; give gate='none'"),
    ],
)
def test_what_is_no_fixed_network_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig(**{"layers": 3, "gate": "none"} | settings)


@given(some_paths())
def test_pruning_leaves_what_lies_on_a_way_from_the_initial_cell_to_the_head(drawn):
    """Against the definition: every way through the space, walked one by one."""
    space, paths = drawn
    on_a_way = set()

    def walk(cell, way):
        for path in space.paths(cell):
            if (cell, path) in paths:
                target = space.target(cell, path)
                if target is None:
                    on_a_way.update(way, [(cell, path)])
                else:
                    walk(target, [*way, (cell, path)])

    walk(INITIAL, [])
    assert space.prune(paths) == on_a_way
    assert space.prune(on_a_way) == on_a_way


@given(some_paths())
def test_what_pruning_leaves_is_a_fixed_network_and_nothing_more_could_be_kept(drawn):
    space, paths = drawn
    kept = space.prune(paths)
    assert kept <= paths
    if not kept:
        with pytest.raises(ValueError, match=NO_NETWORK):
            space.restricted(paths)
        return
    restricted = space.restricted(kept)
    assert frozenset(restricted.all_paths) == kept
    forward = {(cell, path, restricted.target(cell, path)) for cell, path in restricted.all_paths}
    backward = {(source, path, cell) for cell in restricted.cells for source, path in restricted.arrivals(cell)}
    assert forward == backward | {(cell, "keep", None) for cell in restricted.last_cells}
    if kept != paths:
        with pytest.raises(ValueError, match=NO_NETWORK):
            space.restricted(paths)


@pytest.mark.parametrize("layers", DEPTHS)
def test_all_paths_make_the_whole_space_again(layers):
    whole = RoutingSpace(layers, 8)
    restricted = whole.restricted(whole.all_paths)
    assert restricted.cells == whole.cells
    assert restricted.all_paths == whole.all_paths
    assert whole.prune(whole.all_paths) == frozenset(whole.all_paths)
    assert whole.prune([]) == frozenset()
