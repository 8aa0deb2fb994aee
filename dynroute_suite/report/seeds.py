"""Runs of one setting under several seeds: how many, their mean and their spread; and two runs compared over images."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from dynroute_core.runs.record import ROUTES, Record, read_routes
from dynroute_suite.report import markup
from dynroute_suite.report.bootstrap import LEVEL, RESAMPLES, SEED, Difference, paired_routes
from dynroute_suite.report.committed import Committed
from dynroute_suite.report.comparable import setting
from dynroute_suite.report.numbers import NOTHING, percent, signed
from dynroute_suite.report.tables import escape_markdown
from dynroute_suite.report.told_apart import recipe_of, told_apart

Routed = TypeVar("Routed", bound=Committed)


@dataclass(frozen=True)
class Seeds:
    """The runs of one row at one setting, a seed each. spread: the standard deviation (n − 1), None for one run."""

    runs: tuple[Committed, ...]
    mean_percent: float
    spread: float | None

    @property
    def n(self) -> int:
        return len(self.runs)

    @property
    def row(self) -> str:
        return self.runs[0].record.row


def mean_and_spread(values: Sequence[float]) -> str:
    """`29.9 ± 3.7 (3)`: the mean, the standard deviation (n − 1) and n; of one value, the value alone."""
    mean = percent(statistics.fmean(values))
    return f"{mean} ± {statistics.stdev(values):.1f} ({len(values)})" if len(values) > 1 else mean


def by_setting(runs: Sequence[Committed]) -> tuple[Seeds, ...]:
    """The runs that differ in nothing but the seed, together."""
    found: dict[str, list[Committed]] = {}
    for one in runs:
        found.setdefault(setting(one.record), []).append(one)
    return tuple(_gather(same) for same in found.values())


def _gather(runs: list[Committed]) -> Seeds:
    values = [one.record.metrics.miou_percent for one in runs]
    return Seeds(tuple(runs), statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def first_seeds(runs: Sequence[Routed]) -> list[Routed]:
    """A run per setting, in the runs' order: its other seeds are networks like it."""
    firsts = {same.runs[0].identity for same in by_setting(runs)}
    return [run for run in runs if run.identity in firsts]


def seeds_table(runs: Sequence[Committed]) -> str:
    """A line per setting: n, every run's mIoU, mean and spread. Markdown; each run's number opens its record."""
    settings = by_setting(runs)
    lines = []
    for same, words in zip(settings, told_apart([one.runs[0].record for one in settings]), strict=True):
        record = same.runs[0].record
        each = ", ".join(markup.link(percent(one.record.metrics.miou_percent), one.address) for one in same.runs)
        numbers = (
            [percent(same.mean_percent), f"{same.spread:.1f}"]
            if same.spread is not None
            else [NOTHING, f"{NOTHING} (n = 1)"]
        )
        names = [record.row, ", ".join(filter(None, (record.profile, record.data.name, words)))]
        lines.append([*(escape_markdown(name) for name in names), str(same.n), each, *numbers])
    return markup.table(["row", "setting", "n", "mIoU % of each seed", "mean", "spread"], lines, right=2)


def comparisons(
    runs: Sequence[Committed], *, resamples: int = RESAMPLES, seed: int = SEED
) -> list[tuple[Committed, Committed, Difference]]:
    """Every two rows that met the same images at the same profile by the same recipe: the first run of the later row
    minus the first of the earlier."""
    firsts: dict[tuple[str, tuple[str, str, str]], Committed] = {}
    for one in runs:
        if (one.folder / ROUTES).is_file():
            firsts.setdefault((one.record.row, _met(one.record)), one)
    routes = {one.identity: read_routes(one.folder / ROUTES) for one in firsts.values()}
    return [
        (b, a, paired_routes(routes[b.identity], routes[a.identity], resamples=resamples, seed=seed))
        for a, b in itertools.combinations(firsts.values(), 2)
        if _met(a.record) == _met(b.record)
    ]


def _met(record: Record) -> tuple[str, str, str]:
    """What two runs have in common whose rows may be compared: profile, images, recipe."""
    return record.profile, record.data.val_fingerprint, recipe_of(record)


def comparison_table(found: Sequence[tuple[Committed, Committed, Difference]]) -> str:
    """Differences with their intervals, in words that say no more than the bootstrap does."""
    if not found:
        return "No two runs met the same images yet: there is nothing to compare."
    lines = []
    for a, b, difference in found:
        verdict = "clear" if difference.clear else "not told apart"
        interval = f"{signed(difference.low)} … {signed(difference.high)}"
        names = [escape_markdown(f"{a.record.row} − {b.record.row}"), f"{a.record.profile}, {a.record.data.name}"]
        seeds = f"{a.record.seed}, {b.record.seed}"
        lines.append([*names, seeds, signed(difference.points), interval, str(difference.images), verdict])
    header = ["runs", "profile, data", "seeds", "Δ mIoU", f"{100 * LEVEL:.0f} % interval", "images", ""]
    note = (
        f"Paired bootstrap over images, {found[0][2].resamples} resamples, fixed seed. Clear: the interval leaves "
        "out 0, so these two trained networks differ on images like these. It says nothing of other seeds."
    )
    return f"{markup.table(header, lines, right=3)}\n\n<p class='dr-caption'>{note}</p>"
