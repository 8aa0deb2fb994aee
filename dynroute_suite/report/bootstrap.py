"""Is one network better than another on such images? The paired bootstrap over images, from counts alone.

Takes each image's true positives, false positives and false negatives per class, as `routes.json` holds them; gives the
difference in mIoU with its interval. Images are drawn with replacement, the same for both networks. It speaks of two
*trained networks*: what another seed would do needs other seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from dynroute_core.runs.record import ROUTES, Routes, read_routes
from dynroute_core.system.errors import UsageError
from dynroute_suite.report.committed import Committed

Counts = npt.NDArray[np.float64]  # 3 × images × classes: true positives, false positives, false negatives
Values = npt.NDArray[np.float64]

RESAMPLES, SEED, LEVEL = 4000, 2020, 0.95


@dataclass(frozen=True)
class Difference:
    """a − b in points of mIoU. low, high: the interval's ends. share_above: of the resamples in which a is ahead."""

    points: float
    low: float
    high: float
    share_above: float
    images: int
    resamples: int

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def paired(a: Committed, b: Committed, *, resamples: int = RESAMPLES, seed: int = SEED) -> Difference:
    """The difference a − b of two finished runs, over the images of b. Raises UsageError where a lacks one of them."""
    routes = [read_routes(one.folder / ROUTES) for one in (a, b)]
    return paired_routes(routes[0], routes[1], resamples=resamples, seed=seed)


def paired_routes(a: Routes, b: Routes, *, resamples: int = RESAMPLES, seed: int = SEED) -> Difference:
    """The same of two runs' routes. Raises UsageError where a lacks an image of b."""
    names = [image.name for image in b.images]
    return paired_difference(counts_of(a, names), counts_of(b, names), resamples=resamples, seed=seed)


def counts_of(routes: Routes, names: list[str]) -> Counts:
    """The counts of some images, in the order of `names`. Raises UsageError for an image the routes lack."""
    known = {image.name: image for image in routes.images}
    absent = [name for name in names if name not in known]
    if absent:
        raise UsageError(f"the routes of {routes.row} lack the image {absent[0]!r}: give runs on the same images.")
    images = [known[name] for name in names]
    parts = [
        [getattr(image, kind) for image in images] for kind in ("true_positive", "false_positive", "false_negative")
    ]
    return np.array(parts, dtype=np.float64)


def miou_percent(counts: Counts, weights: Values) -> Values:
    """mIoU of each weighting of the images. weights: resamples × images. Classes that never occur do not count."""
    hit, wrong, missed = (weights @ part for part in counts)
    union = hit + wrong + missed
    iou = np.divide(hit, union, out=np.full_like(hit, np.nan), where=union > 0)
    return np.asarray(100 * np.nanmean(iou, axis=1))


@lru_cache(maxsize=8)
def drawn(images: int, resamples: int, seed: int) -> Values:
    """How often each resample has each image."""
    generator = np.random.Generator(np.random.PCG64(seed))
    return generator.multinomial(images, np.full(images, 1 / images), size=resamples).astype(np.float64)


def paired_difference(a: Counts, b: Counts, *, resamples: int = RESAMPLES, seed: int = SEED) -> Difference:
    """The difference a − b and its 95 % percentile interval. Raises UsageError where the images are not the same many.

    The same seed gives the same numbers on every machine.
    """
    if a.shape[:2] != b.shape[:2] or not a.shape[1]:
        raise UsageError(
            f"{a.shape[1]} and {b.shape[1]} images: a paired comparison needs the same ones, at least one."
        )
    images = a.shape[1]
    once = np.ones((1, images))
    weights = drawn(images, resamples, seed)
    differences = miou_percent(a, weights) - miou_percent(b, weights)
    low, high = np.quantile(differences, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Difference(
        points=float((miou_percent(a, once) - miou_percent(b, once))[0]),
        low=float(low),
        high=float(high),
        share_above=float((differences > 0).mean()),
        images=images,
        resamples=resamples,
    )
