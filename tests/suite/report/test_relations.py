"""What goes with the cost: correlations are Spearman's, intervals cover, and what cannot be said is not said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dynroute_suite.figures.relations import class_correlation_figure, cost_in_order_figure
from dynroute_suite.report.relations import (
    class_relations,
    class_shares,
    cost_relations,
    costs_of,
    in_order,
    neighbours_correlation,
    rank_correlation,
    ranks,
    relation,
    sequences,
    small_things,
)
from dynroute_suite.report.routed_runs import RoutedRun
from support.sample_runs import sample_runs

N = 40


@pytest.fixture
def run(tmp_path: Path) -> RoutedRun:
    """N images whose cost grows with class 0; class 1 is a little noise, class 2 the rest, the others never occur."""
    base = sample_runs(tmp_path)[0]
    draw = np.random.default_rng(3)
    facts, routes = [], []
    others = (1000, *(0,) * (len(base.record.data.class_names) - 3))
    for k in range(N):
        name = f"city{k % 2}_{k:03d}"
        macs = base.record.costs.paper.min_macs + 1000.0 * k
        facts.append(replace(base.record.images[0], name=name, paper_macs=macs))
        hits = (100 + 10 * k, 5 + int(draw.integers(0, 9)), *others)
        misses = (50, 0, 0, *others[1:])
        routes.append(replace(base.routes.images[0], name=name, true_positive=hits, false_negative=misses))
    return replace(
        base,
        record=replace(base.record, images=tuple(facts)),
        routes=replace(base.routes, images=tuple(reversed(routes))),
    )


def test_ranks_share_ties() -> None:
    assert ranks(np.array([5.0, 1.0, 5.0, 7.0])).tolist() == [1.5, 0.0, 1.5, 3.0]


def test_rank_correlation_equals_the_formula_without_ties() -> None:
    """1 − 6·Σd²/(n(n²−1)), exact for distinct values."""
    draw = np.random.default_rng(1)
    x, y = draw.random(30), draw.random(30)
    d = ranks(x) - ranks(y)
    assert rank_correlation(x, y) == pytest.approx(1 - 6 * (d**2).sum() / (30 * (30**2 - 1)), abs=1e-12)
    assert rank_correlation(x, np.exp(5 * x)) == pytest.approx(1)
    assert rank_correlation(x, np.ones(30)) is None


def test_shares_and_costs_belong_to_the_same_image(run: RoutedRun) -> None:
    shares, costs = class_shares(run), costs_of(run)
    assert shares.sum(1) == pytest.approx(np.ones(N))
    first = run.routes.images[0]
    assert costs[0] == next(image.paper_macs for image in run.record.images if image.name == first.name)
    assert shares[0, 0] == (first.true_positive[0] + 50) / (sum(first.true_positive) + 50)


def test_a_class_that_grows_with_the_cost_is_found_and_noise_is_not(run: RoutedRun) -> None:
    found = {one.name: one for one in class_relations(run)}
    grows, noise, rest = (run.record.data.class_names[k] for k in (0, 1, 2))
    assert set(found) == {grows, noise, rest}
    assert found[grows].rho is not None and found[grows].rho > 0.9
    assert found[grows].clear
    assert found[grows].effect_percent > 0
    assert small_things(run) == [noise]
    overall = {one.name: one for one in cost_relations(run)}
    assert overall["number of classes in the picture"].rho is None
    assert overall["mIoU of the image"].rho is None  # one value in all: nothing is said


def test_intervals_cover_independent_noise() -> None:
    """Of 60 independent pairs about 3 intervals leave out 0; 10 or more have a probability below 1 in 1000."""
    draw = np.random.default_rng(5)
    clear = sum(relation("x", draw.random(N), draw.random(N)).clear for _ in range(60))
    assert clear < 10


def test_neighbours_and_sequences_are_told(run: RoutedRun) -> None:
    assert sequences(run) == 2
    assert in_order(run).tolist() == [
        image.paper_macs for image in sorted(run.record.images, key=lambda image: image.name)
    ]
    assert neighbours_correlation(run) is not None


def test_figures_name_what_they_show(run: RoutedRun) -> None:
    picture = class_correlation_figure(run)
    assert run.record.label in picture.alt
    assert picture == class_correlation_figure(run)
    assert f"Cost of {N} images" in cost_in_order_figure(run).alt
    flat = replace(run, record=replace(run.record, images=tuple(replace(i, paper_macs=1.0) for i in run.record.images)))
    with pytest.raises(ValueError, match="every image costs the same"):
        class_correlation_figure(flat)
