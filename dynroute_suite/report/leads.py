"""By how much is one row ahead of another? Over the seeds that both were run with, and over the images of all.

Two uncertainties that do not replace each other: over seeds (Student's t of the paired differences: what another
training would give) and over images (paired bootstrap of the mean lead: what other images would).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dynroute_core.runs.record import ROUTES, read_routes
from dynroute_suite.report.bootstrap import LEVEL, RESAMPLES, SEED, Values, counts_of, drawn, miou_percent
from dynroute_suite.report.committed import Committed

# Student's t, 97.5 %, of 1, 2, ... degrees of freedom; of more the last is used, which is too wide, not too narrow.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)

Interval = tuple[float, float]


@dataclass(frozen=True)
class Lead:
    """Points of mIoU by seed, and 95 % intervals of their mean. over_seeds: None for one seed."""

    by_seed: Mapping[int, float]
    over_images: Interval
    images: int

    @property
    def points(self) -> float:
        return statistics.fmean(self.by_seed.values())

    @property
    def over_seeds(self) -> Interval | None:
        n = len(self.by_seed)
        if n < 2:
            return None
        reach = _T[min(n - 1, len(_T)) - 1] * statistics.stdev(self.by_seed.values()) / math.sqrt(n)
        return self.points - reach, self.points + reach


def lead(own: Sequence[Committed], rival: Sequence[Committed]) -> Lead | None:
    """The lead of one row's runs over another's on the same images, a run per seed; None where they share no seed.

    Raises UsageError where a run lacks an image of the first.
    """
    mine, others = ({one.record.seed: one for one in runs} for runs in (own, rival))
    seeds = sorted(set(mine) & set(others))
    if not seeds:
        return None
    names = [image.name for image in mine[seeds[0]].record.images]
    resampled = [_resampled(mine[seed], names) - _resampled(others[seed], names) for seed in seeds]
    low, high = np.quantile(np.mean(resampled, axis=0), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    by_seed = {
        seed: mine[seed].record.metrics.miou_percent - others[seed].record.metrics.miou_percent for seed in seeds
    }
    return Lead(by_seed, (float(low), float(high)), len(names))


def _resampled(one: Committed, names: list[str]) -> Values:
    """mIoU of each resample of the images: the same resamples for every run."""
    return miou_percent(counts_of(read_routes(one.folder / ROUTES), names), drawn(len(names), RESAMPLES, SEED))
