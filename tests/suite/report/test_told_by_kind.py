"""Near and far told apart by route and cost: from a guess to all pairs in order, and never against oneself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dynroute_core.space import OPEN_THRESHOLD
from dynroute_suite.report.relations import costs_of
from dynroute_suite.report.results import Results
from dynroute_suite.report.routed_runs import RoutedRun
from dynroute_suite.report.told_by_kind import (
    ORDERS,
    auc_of,
    by_cost,
    by_route,
    distances,
    enough_of_each,
    far_images,
    nearness_to_far,
)
from support.trial_runs import EACH, NAMES, write_trial_run

SELDOMEST = 1 / (1 + ORDERS)


def run(folder: Path, *, far_costs: float = 1.5, own_ways: bool = True) -> RoutedRun:
    write_trial_run(folder, "dynamic-a", far_costs=far_costs, own_ways=own_ways)
    return RoutedRun.of(Results(folder).committed[0])


def test_an_auc_is_the_share_of_pairs_in_order() -> None:
    scores, far = np.array([1.0, 2.0, 2.0, 0.5, 3.0]), np.array([False, False, True, True, True])
    pairs = [(near, other) for near in scores[~far] for other in scores[far]]
    assert auc_of(scores, far) == pytest.approx(
        sum(1.0 if near < other else 0.5 if near == other else 0.0 for near, other in pairs) / len(pairs)
    )


def test_costs_that_differ_by_kind_put_all_pairs_in_order(tmp_path: Path) -> None:
    found = by_cost(run(tmp_path))
    assert found.auc == 1
    # Of the orders of twelve images, one in 462 gives 0 or 1.
    assert SELDOMEST <= found.by_chance < 0.01


def test_cheaper_far_scenes_are_as_far_from_chance(tmp_path: Path) -> None:
    found = by_cost(run(tmp_path, far_costs=0.5))
    assert found.auc == 0
    assert found.by_chance < 0.01


def test_routes_of_their_own_give_the_kind_away_and_shared_ones_do_not(tmp_path: Path) -> None:
    own, shared = by_route(run(tmp_path / "own")), by_route(run(tmp_path / "shared", own_ways=False))
    assert (own.auc, shared.auc) == (1, 0.5)
    assert own.by_chance < 0.01
    assert shared.by_chance == 1  # every order gives a half


def test_an_image_is_never_its_own_neighbour(tmp_path: Path) -> None:
    whole = run(tmp_path)
    apart, far = distances(whole), far_images(whole)
    assert list(far) == [False] * EACH + [True] * EACH
    assert np.isinf(np.diag(apart)).all()
    score = nearness_to_far(apart, far)
    assert np.isfinite(score).all()
    assert (score[far] > 0).all() and (score[~far] < 0).all()


def test_a_distance_counts_the_paths_open_in_one_alone(tmp_path: Path) -> None:
    whole = run(tmp_path)
    near, far = whole.routes.images[0], whole.routes.images[-1]
    closed = replace(near, factors=(0.0,) * len(near.factors))
    changed = replace(whole, routes=replace(whole.routes, images=(near, closed, far)))
    apart = distances(changed)
    opened = sum(
        factor > OPEN_THRESHOLD and near.states[whole.routes.cells.index(name.split(">")[0])] == "o"
        for name, factor in zip(whole.routes.paths, near.factors, strict=True)
    )
    assert apart[0, 1] == apart[1, 0] == opened > 0


def test_costs_are_in_the_order_of_the_routes(tmp_path: Path) -> None:
    assert (np.diff(costs_of(run(tmp_path))) > 0).all()


def test_both_kinds_are_needed_twice() -> None:
    assert enough_of_each(NAMES)
    assert enough_of_each(["near/a", "near/b", "far/a", "far/b"])
    assert not enough_of_each(["near/a", "near/b", "far/a"])
    assert not enough_of_each([*NAMES, "kestrel/kestrel_000000_000019"])
