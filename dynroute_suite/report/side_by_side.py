"""Runs of one profile and data set side by side, as Markdown tables. Takes finished runs; computes no result."""

from __future__ import annotations

from collections.abc import Sequence

from dynroute_core.system.errors import UsageError
from dynroute_suite.report import markup
from dynroute_suite.report.committed import Committed
from dynroute_suite.report.numbers import NOTHING, gmacs, percent, signed, significant
from dynroute_suite.report.tables import escape_markdown


def runs_table(runs: Sequence[Committed]) -> str:
    """A line per run: mIoU, cost, share of all open, training minutes; what they were measured on beneath."""
    _check(runs)
    lines = []
    for one in runs:
        record, costs = one.record, one.record.costs.paper
        share = f"{100 * costs.mean_macs / costs.all_open_macs:.0f} %"
        numbers = [percent(record.metrics.miou_percent), gmacs(costs.mean_macs), share]
        spent = significant(record.durations.train_s / 60)
        lines.append([escape_markdown(record.row), str(record.seed), *numbers, spent])
    first = runs[0].record
    size = f"{first.costs.nominal_height}×{first.costs.nominal_width}"
    table = markup.table(["row", "seed", "mIoU %", "GFLOPs", "of all open", "training, min"], lines, right=1)
    where = f"{first.profile} profile, {first.data.name}, {len(first.images)} images, costs at {size}"
    return f"{table}\n\n{escape_markdown(where).capitalize()}."


def class_table(runs: Sequence[Committed]) -> str:
    """IoU of the first run, and the others' signed differences to it, in points."""
    _check(runs)
    first, *others = (one.record.metrics.class_iou_percent for one in runs)
    lines = [
        [escape_markdown(name), percent(value), *(_difference(other.get(name), value) for other in others)]
        for name, value in first.items()
    ]
    header = ["IoU %", *(f"{escape_markdown(one.record.row)}, seed {one.record.seed}" for one in runs)]
    return markup.table(header, lines, right=1)


def _difference(value: float | None, other: float | None) -> str:
    return NOTHING if value is None or other is None else signed(value - other)


def _check(runs: Sequence[Committed]) -> None:
    kinds = sorted({f"{one.record.profile} on {one.record.data.name}" for one in runs})
    if len(kinds) != 1:
        raise UsageError(f"{' and '.join(kinds) or 'no runs'}: give runs of one profile and one data set.")
