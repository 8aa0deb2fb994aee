"""Do routes and costs tell near scenes from far ones? AUCs over the images of one run, and how easily chance gives as
much.

The kind of an image comes from its name. An AUC is the share of pairs, one near and one far, whose scores are in order,
ties counting half: 0.5 is a guess. Chance: the same with the kinds in random order.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from dynroute_core.data.streets.layout import kind_of
from dynroute_suite.report.flow import open_names
from dynroute_suite.report.relations import Values, costs_of, ranks
from dynroute_suite.report.routed_runs import RoutedRun

Mask = npt.NDArray[np.bool_]

ORDERS, SEED = 2000, 2020
FEWEST = 2  # images of a kind: each needs another one of its kind to be near to
ROUNDING = 1e-9  # of an AUC: equal ones may differ by the order of their sums


@dataclass(frozen=True)
class Separation:
    """auc: 0..1. by_chance: the share of random orders that give as much, the true one among them."""

    auc: float
    by_chance: float


def enough_of_each(names: Iterable[str]) -> bool:
    """Whether images of these names are near and far ones, enough of each for `by_route`."""
    kinds = collections.Counter(map(kind_of, names))
    return kinds["ordinary"] == 0 and min(kinds["near"], kinds["far"]) >= FEWEST


def by_cost(run: RoutedRun) -> Separation:
    """Far scenes by their cost: above 0.5 they cost more. Chance: as far from 0.5 to either side."""
    far = far_images(run)
    costs = costs_of(run)
    auc = auc_of(costs, far)
    drawn = np.array([auc_of(costs, order) for order in _orders(far)])
    return Separation(auc, _share(abs(drawn - 0.5) >= abs(auc - 0.5) - ROUNDING))


def by_route(run: RoutedRun) -> Separation:
    """Far scenes by the nearest route of another image, each image left out in its turn."""
    far = far_images(run)
    apart = distances(run)
    auc = auc_of(nearness_to_far(apart, far), far)
    drawn = np.array([auc_of(nearness_to_far(apart, order), order) for order in _orders(far)])
    return Separation(auc, _share(drawn >= auc - ROUNDING))


def far_images(run: RoutedRun) -> Mask:
    """Which images are far scenes, in the order of the routes."""
    return np.array([kind_of(image.name) == "far" for image in run.routes.images])


def distances(run: RoutedRun) -> Values:
    """Images × images: how many paths are open in one of the two alone; an image is infinitely far from itself."""
    taken = [open_names(run.routes, image) for image in run.routes.images]
    opened = np.array([[name in names for name in run.routes.paths] for names in taken], dtype=np.float64)
    apart = opened @ (1 - opened).T
    apart = apart + apart.T
    np.fill_diagonal(apart, np.inf)
    return np.asarray(apart)


def nearness_to_far(apart: Values, far: Mask) -> Values:
    """Of each image, the distance to the nearest other near one minus that to the nearest other far one."""
    return np.asarray(apart[:, ~far].min(1) - apart[:, far].min(1))


def auc_of(scores: Values, far: Mask) -> float:
    """The share of pairs in which the far image's score is above the near one's."""
    many, others = int(far.sum()), int((~far).sum())
    return float((ranks(scores)[far].sum() - many * (many - 1) / 2) / (many * others))


def _share(as_much: Mask) -> float:
    return float((1 + as_much.sum()) / (1 + len(as_much)))


def _orders(far: Mask) -> Mask:
    return _drawn(len(far), int(far.sum()))


@lru_cache(maxsize=4)
def _drawn(images: int, far: int) -> Mask:
    """Orders × images: which images are far by chance. The seed is fixed: figures repeat."""
    generator = np.random.Generator(np.random.PCG64(SEED))
    first = np.arange(images) < far
    return np.array([generator.permutation(first) for _ in range(ORDERS)])
