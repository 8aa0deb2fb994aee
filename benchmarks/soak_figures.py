"""A soak in a picture and in lines: what one process held after each of many runs, and the verdict on each series."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from soak_record import Growth, Series, SoakRecord, growth

from dynroute_suite.figures.style import BLUE, GREY, VERMILION, WIDTH_IN, Picture, figure_style, picture

COLORS = (BLUE, VERMILION)
MOST_POINTS = 45  # of a line: the file stays small
LOST = 1000  # times larger: of a line that much lower nothing is seen
BYTES = ((2**20, "MiB"), (2**10, "KiB"), (1, "B"))


def soak_lines(record: SoakRecord) -> list[str]:
    """A line per series, and the verdict."""
    lines = [
        f"{record.runs} runs in {record.seconds:.0f} s; growth over the second half, upper end of its 95 % interval:"
    ]
    for one in record.series:
        found = growth(one, record.cycle)
        verdict = "     " if found.limit is None else "flat " if found.flat else "GROWS"
        lines.append(f"{verdict} {_growth_words(one, found)}")
    return [*lines, "flat" if record.flat else "NOT FLAT"]


def soak_figure(record: SoakRecord) -> Picture:
    """Each series over the runs (means of whole cycles of settings, and the range within); the second half, which is
    judged, is shaded."""
    groups = _groups(record.series)
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, 1.75 * ((len(groups) + 1) // 2)), layout=ConstrainedLayoutEngine())
        panels = figure.subplots((len(groups) + 1) // 2, 2, squeeze=False, sharex=True).flat
        for ax, group in zip(panels, groups, strict=False):
            _panel(ax, group, record)
        for ax in list(panels)[len(groups) :]:
            ax.set_axis_off()
        figure.supxlabel("runs", fontsize=9.5)
    verdict = "Flat" if record.flat else "Not flat"
    said = "; ".join(_growth_words(one, growth(one, record.cycle)) for one in record.series)
    return picture(
        figure,
        alt=f"What one process held after each of {record.runs} runs. {verdict}: growth over the second half, upper "
        f"end of its 95 % interval: {said}.",
    )


def _groups(series: Sequence[Series]) -> list[list[Series]]:
    """Two series to a panel where they have one unit, and neither is lost beside the other."""
    groups: list[list[Series]] = []
    for one in series:
        beside = groups[-1][0] if groups and len(groups[-1]) < len(COLORS) else None
        if beside is not None and beside.unit == one.unit and max(beside.values) < LOST * max(1, *one.values):
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups


def _panel(ax: Axes, group: Sequence[Series], record: SoakRecord) -> None:
    scale, unit = _scale(max(max(one.values) for one in group), group[0])
    ax.axvspan(record.runs // 2, record.runs, color=GREY, alpha=0.12, linewidth=0)
    for one, color in zip(group, COLORS, strict=False):
        wide = record.cycle * math.ceil(record.runs / record.cycle / MOST_POINTS)
        starts = range(0, record.runs - wide + 1, wide)
        parts = [[value / scale for value in one.values[start : start + wide]] for start in starts]
        places = [start + wide / 2 for start in starts]
        ax.fill_between(places, list(map(min, parts)), list(map(max, parts)), color=color, alpha=0.2, linewidth=0)
        ax.plot(places, [sum(part) / len(part) for part in parts], color=color, label=one.name, linewidth=1.2)
    ax.set(ylim=(0, 1.45 * max(max(one.values) for one in group) / scale), xlim=(0, record.runs), ylabel=unit)
    ax.legend(loc="upper left", fontsize=8.5, borderaxespad=0.2)


def _scale(largest: float, series: Series) -> tuple[float, str]:
    if series.unit == "count":
        return 1, ""
    return next(((scale, unit) for scale, unit in BYTES if largest >= 10 * scale), BYTES[-1])


def _growth_words(series: Series, found: Growth) -> str:
    """`threads +0 (limit 0.5)`."""
    scale, unit = _scale(max(abs(found.total), found.limit or 0), series)
    unit = unit and f" {unit}"
    limit = "no limit" if found.limit is None else f"limit {found.limit / scale:.4g}{unit}"
    return f"{series.name} {found.total / scale:+.4g}{unit} ({limit})"
