"""What goes with an image's cost: rank correlations over the images of a run, with what uncertainty they have.

Takes committed runs; gives numbers. What is in a picture comes from its pixel counts per class (true positives and
false negatives: the truth, not the prediction). Correlation over one run's images says nothing of cause.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dynroute_suite.report.routed_runs import RoutedRun

Values = npt.NDArray[np.float64]

RARE_SHARE = 0.03  # of all labelled pixels: classes below it are the small things of street scenes
RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Relation:
    """How one property of images goes with their cost, over n images.

    rho: Spearman's rank correlation, None where property or cost is the same for all. low, high: its bootstrap interval
    over images. effect_percent: mean cost of the quarter of images with most of the property, minus that of the quarter
    with least, in percent of the mean cost.
    """

    name: str
    n: int
    rho: float | None
    low: float
    high: float
    effect_percent: float

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out nought."""
        return self.rho is not None and (self.low > 0 or self.high < 0)


def cost_relations(run: RoutedRun) -> tuple[Relation, ...]:
    """The cost's relations to what is in the picture as a whole, and to how well it was segmented."""
    costs = costs_of(run)
    shares = class_shares(run)
    present = shares > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = -np.where(present, shares * np.log2(shares), 0.0).sum(1)
    by_name = {image.name: image.miou_percent for image in run.record.images}
    miou = np.array([by_name[image.name] for image in run.routes.images])
    return (
        relation("number of classes in the picture", present.sum(1).astype(float), costs),
        relation("how evenly the classes share it (entropy)", spread, costs),
        small_things_relation(run),
        relation("mIoU of the image", miou, costs),
    )


def small_things_relation(run: RoutedRun) -> Relation:
    """The cost's relation to the share of the picture that rare classes take."""
    overall = _overall_shares(run)
    rare = (overall > 0) & (overall < RARE_SHARE)
    name = f"share of small things (classes under {100 * RARE_SHARE:.0f} % of all pixels)"
    return relation(name, class_shares(run)[:, rare].sum(1), costs_of(run))


def class_relations(run: RoutedRun) -> tuple[Relation, ...]:
    """The cost's relation to each class's share of the picture; classes that never occur are left out."""
    costs, shares = costs_of(run), class_shares(run)
    names = run.record.data.class_names
    return tuple(relation(names[k], shares[:, k], costs) for k in range(len(names)) if shares[:, k].any())


def small_things(run: RoutedRun) -> list[str]:
    """The classes that count as small things in this run's data."""
    overall = _overall_shares(run)
    return [name for name, share in zip(run.record.data.class_names, overall, strict=True) if 0 < share < RARE_SHARE]


def costs_of(run: RoutedRun) -> Values:
    """MACs per image in the paper's accounting, in the order of the routes."""
    by_name = {image.name: image.paper_macs for image in run.record.images}
    return np.array([by_name[image.name] for image in run.routes.images])


def class_shares(run: RoutedRun) -> Values:
    """Images × classes: each class's share of the image's labelled pixels."""
    counts = _pixel_counts(run)
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)


def in_order(run: RoutedRun) -> Values:
    """Costs in the order of the images' names: for films, the order of the frames."""
    by_name = {image.name: image.paper_macs for image in run.record.images}
    return np.array([by_name[name] for name in sorted(by_name)])


def neighbours_correlation(run: RoutedRun) -> float | None:
    """Correlation of an image's cost with that of the next by name: how far neighbouring frames repeat each other."""
    costs = in_order(run)
    return rank_correlation(costs[:-1], costs[1:]) if len(costs) > 2 else None


def sequences(run: RoutedRun) -> int:
    """How many films or cities the images come from, by the part of their names before the first underscore."""
    return len({image.name.split("_")[0] for image in run.record.images})


def relation(name: str, values: Values, costs: Values) -> Relation:
    """Spearman's correlation of one property with the costs. The resampling's seed is fixed: figures repeat."""
    rho = rank_correlation(values, costs)
    if rho is None:
        return Relation(name, len(costs), None, 0.0, 0.0, 0.0)
    # Of the ranks in the whole run: ranking every resample anew changes little and costs a hundred times as much.
    chosen = np.random.default_rng(0).integers(0, len(costs), (RESAMPLES, len(costs)))
    x, y = (centred(ranks(one)[chosen]) for one in (values, costs))
    with np.errstate(invalid="ignore"):
        resampled = (x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1))
    low, high = np.nanquantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    order = np.argsort(values, kind="stable")
    quarter = max(len(costs) // 4, 1)
    effect = costs[order[-quarter:]].mean() - costs[order[:quarter]].mean()
    return Relation(name, len(costs), rho, float(low), float(high), float(100 * effect / costs.mean()))


def rank_correlation(x: Values, y: Values) -> float | None:
    """Spearman's rho, ties at their mean rank; None where either is constant."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.corrcoef(ranks(x), ranks(y))[0, 1])


def centred(rows: Values) -> Values:
    return rows - rows.mean(1, keepdims=True)


def ranks(values: Values) -> Values:
    """Ranks from 0; equal values share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1
    return np.asarray((last - (counts - 1) / 2)[inverse], dtype=np.float64)


def _pixel_counts(run: RoutedRun) -> Values:
    return np.array(
        [np.add(image.true_positive, image.false_negative) for image in run.routes.images], dtype=np.float64
    )


def _overall_shares(run: RoutedRun) -> Values:
    counts: Values = _pixel_counts(run).sum(0)
    return counts / max(counts.sum(), 1.0)
