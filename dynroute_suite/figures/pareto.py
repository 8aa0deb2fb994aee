"""Accuracy over cost: the published points, and ours beside them only where they were measured alike."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from dynroute_core.published import PUBLISHED
from dynroute_core.runs.marks import from_scratch
from dynroute_core.runs.record import Record
from dynroute_suite.figures.style import BLACK, GREY, ROW_COLORS, ROW_LABELS, WIDTH_IN, Picture, figure_style, picture
from dynroute_suite.report.comparable import is_comparable, setting, why_not_comparable
from dynroute_suite.report.numbers import macs_unit, percent, significant

Place = tuple[float, float]
Box = tuple[float, float, float, float]  # left, bottom, right, top
PAPER_MARK, RELEASE_MARK, OURS_MARK = "o", "s", "D"
# Where a row's name stands, in points from its paper's point: published points do not move.
_LABEL_AT: Mapping[str, tuple[float, float, str]] = {
    "dynamic-a": (-9, -4, "right"),
    "dynamic-b": (9, -5, "left"),
    "dynamic-c": (9, -4, "left"),
    "dynamic-raw": (9, -4, "left"),
    "dynamic-raw-long": (-9, 0, "right"),
    "dynamic-raw-imagenet": (9, -9, "left"),
    "dynamic-raw-l33-imagenet": (-8, 4, "right"),
}
# Where a name may stand in a panel of ours, the best first; how wide a letter and how large a panel is, in points.
_NAME_AT: Sequence[tuple[float, float, Literal["left", "center", "right"]]] = (
    (8, -3, "left"),
    (-8, -3, "right"),
    (0, 7, "center"),
    (0, -15, "center"),
    (6, 5, "left"),
    (6, -12, "left"),
    (-6, 5, "right"),
    (-6, -12, "right"),
)
_LETTER_POINTS, _PANEL_POINTS = 5.6, (400.0, 190.0)


def pareto_figure(records: Sequence[Record]) -> Picture:
    """mIoU over mean cost. Published: an arrow per row from paper to released code; ours joins where measured alike.

    All other records go to panels of their own, one per profile and data set.
    """
    alike = [record for record in records if is_comparable(record)]
    found: dict[tuple[str, str], dict[str, list[Record]]] = {}
    for record in records:
        if not is_comparable(record):
            panel = found.setdefault((record.profile, record.data.name), {})
            panel.setdefault(setting(record), []).append(record)
    others = {name: list(panel.values()) for name, panel in found.items()}
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, 3.9 + 3.4 * len(others)), layout=ConstrainedLayoutEngine(h_pad=0.1))
        ratios = [3.9, *[3.4] * len(others)]
        axes = figure.subplots(len(ratios), 1, squeeze=False, height_ratios=ratios)[:, 0]
        _published_panel(axes[0], alike)
        for ax, group in zip(axes[1:], others.values(), strict=True):
            _own_panel(ax, group)
    return picture(figure, alt=_alt(alike, others))


def _published_panel(ax: Axes, alike: Sequence[Record]) -> None:
    ax.set_title("Cityscapes val, 1024×2048, as published")
    for row, published in PUBLISHED.items():
        color = ROW_COLORS[row]
        paper = _published_place(published.paper_gmacs, published.paper_miou_percent)
        release = _published_place(published.release_gmacs, published.release_miou_percent)
        if paper is None or release is None:
            continue
        ax.annotate(
            "",
            release,
            xytext=paper,
            arrowprops={"arrowstyle": "->", "color": color, "shrinkA": 4, "shrinkB": 4, "lw": 1},
        )
        _point(ax, paper, PAPER_MARK, color, hollow=True)
        _point(ax, release, RELEASE_MARK, color)
        x, y, side = _LABEL_AT[row]
        ax.annotate(ROW_LABELS[row], paper, xytext=(x, y), textcoords="offset points", ha=side, fontsize=9.5)
    for record in alike:
        _draw_ours(ax, record)
    marks = [
        (PAPER_MARK, "paper"),
        (RELEASE_MARK, "released code, in its own accounting"),
        *([(OURS_MARK, "ours")] if alike else []),
    ]
    handles = [
        Line2D(
            [],
            [],
            linestyle="",
            marker=mark,
            markeredgecolor=GREY,
            markeredgewidth=1.6,
            label=name,
            markerfacecolor="none" if mark == PAPER_MARK else GREY,
        )
        for mark, name in marks
    ]
    ax.legend(handles=handles, loc="lower right")
    # A logarithmic axis tells A, B and C apart.
    costs = [_place(record, 1e9)[0] for record in alike]
    low, high = min([38.0, *(0.85 * cost for cost in costs)]), max([290.0, *(1.15 * cost for cost in costs)])
    ax.set(xscale="log", xlim=(low, high), xlabel="GFLOPs (one multiply-accumulate counts one)", ylabel="mIoU (%)")
    ticks = [tick for tick in (1, 2, 5, 10, 20, 40, 60, 80, 100, 150, 200, 250) if low <= tick <= high]
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.margins(y=0.1)


def _draw_ours(ax: Axes, record: Record) -> None:
    """Our point, joined to the released code's; a row without published numbers carries its name itself."""
    place, published, color = _place(record, 1e9), PUBLISHED[record.row], ROW_COLORS[record.row]
    release = _published_place(published.release_gmacs, published.release_miou_percent)
    if release is None:
        ax.annotate(ROW_LABELS[record.row], place, xytext=(8, -3), textcoords="offset points", fontsize=9.5)
    else:
        look = {"arrowstyle": "->", "color": color, "shrinkA": 4, "shrinkB": 4, "lw": 1, "linestyle": (0, (3, 2))}
        ax.annotate("", place, xytext=release, arrowprops=look)
    _point(ax, place, OURS_MARK, color)


def _own_panel(ax: Axes, groups: Sequence[Sequence[Record]]) -> None:
    """A point per setting: the mean of its seeds, each a dot tied to it."""
    first = groups[0][0]
    scale, unit = macs_unit(max(record.costs.paper.mean_macs for same in groups for record in same))
    ax.set_title(f"Ours, {why_not_comparable(first) or 'no published numbers'}")
    named, seeds = [], []
    for same in groups:
        color = ROW_COLORS.get(same[0].row, GREY)
        places = [_place(record, scale) for record in same]
        if len(places) > 1:
            for place in places:
                ax.plot(*zip(place, _mean_place(places), strict=True), color=color, linewidth=1, zorder=2)
                ax.plot(*place, color=color, marker="o", markersize=2.5, zorder=2)
            seeds += places
        _point(ax, _mean_place(places), OURS_MARK, color)
        named.append((_name(same[0]), _mean_place(places)))
    size = f"{first.costs.nominal_height}×{first.costs.nominal_width}"
    several = "; dots are seeds, the mark is their mean" if seeds else ""
    ax.set(xlabel=f"{unit} at {size}{several}", ylabel="mIoU (%)")
    ax.margins(x=0.24, y=0.14)
    _name_points(ax, named, seeds)


def _name_points(ax: Axes, named: Sequence[tuple[str, Place]], others: Sequence[Place]) -> None:
    """Writes each point's name beside it, where it covers least of points, other names and what is beside the panel."""
    limits = (ax.get_xlim(), ax.get_ylim())
    for axis, (low, high) in zip((ax.xaxis, ax.yaxis), limits, strict=True):
        axis.set_view_interval(low, high, ignore=True)

    def at(place: Place) -> Place:
        x, y = (
            (value - low) / (high - low) * size
            for value, (low, high), size in zip(place, limits, _PANEL_POINTS, strict=True)
        )
        return x, y

    taken: list[Box] = [(-math.inf, 0, 0, math.inf), (_PANEL_POINTS[0], 0, math.inf, math.inf)]  # beside the panel
    taken += [_box_around(at(place), 5) for place in (*(place for _, place in named), *others)]
    for name, place in named:
        x, y = at(place)
        width = _LETTER_POINTS * len(name)
        boxes = []
        for dx, dy, side in _NAME_AT:
            left = x + dx - {"left": 0, "center": width / 2, "right": width}[side]
            boxes.append((left, y + dy, left + width, y + dy + 9))
        covered = [sum(_overlap(box, other) for other in taken) for box in boxes]
        chosen = covered.index(min(covered))
        taken.append(boxes[chosen])
        dx, dy, side = _NAME_AT[chosen]
        ax.annotate(name, place, xytext=(dx, dy), textcoords="offset points", ha=side, fontsize=9.5)


def _box_around(place: Place, reach: float) -> Box:
    return place[0] - reach, place[1] - reach, place[0] + reach, place[1] + reach


def _overlap(a: Box, b: Box) -> float:
    """The area of two boxes' intersection."""
    width, height = (min(a[end + 2], b[end + 2]) - max(a[end], b[end]) for end in (0, 1))
    return max(width, 0) * max(height, 0)


def _mean_place(places: Sequence[Place]) -> Place:
    xs, ys = zip(*places, strict=True)
    return statistics.fmean(xs), statistics.fmean(ys)


def _place(record: Record, scale: float) -> Place:
    return record.costs.paper.mean_macs / scale, record.metrics.miou_percent


def _published_place(gmacs: float | None, miou_percent: float | None) -> Place | None:
    return None if gmacs is None or miou_percent is None else (gmacs, miou_percent)


def _point(ax: Axes, place: Place, mark: str, color: str, *, hollow: bool = False) -> None:
    [point] = ax.plot(*place, marker=mark, markersize=6.5, zorder=3)
    point.set(
        markerfacecolor="none" if hollow else color,
        markeredgecolor=color if hollow else BLACK,
        markeredgewidth=1.6 if hollow else 0.6,
    )


def _alt(alike: Sequence[Record], others: Mapping[tuple[str, str], Sequence[Sequence[Record]]]) -> str:
    published = "; ".join(
        f"{ROW_LABELS[row]} {p.paper_miou_percent} % at {p.paper_gmacs}, "
        f"released {p.release_miou_percent} % at {p.release_gmacs}"
        for row, p in PUBLISHED.items()
        if p.paper_miou_percent is not None
    )
    words = [f"mIoU over GFLOPs, paper and released code: {published}"]
    words += [f"ours: {_point_words([record], 1e9, 'GFLOPs')}" for record in alike]
    for (profile, data), groups in others.items():
        scale, unit = macs_unit(max(record.costs.paper.mean_macs for same in groups for record in same))
        listed = "; ".join(_point_words(same, scale, unit) for same in groups)
        words.append(f"ours in a panel apart ({profile} profile, {data}): {listed}")
    return ". ".join(words) + "."


def _point_words(same: Sequence[Record], scale: float, unit: str) -> str:
    x, y = _mean_place([_place(record, scale) for record in same])
    several = f" (mean of {len(same)} seeds)" if len(same) > 1 else ""
    return f"{_name(same[0])} {percent(y)} % at {significant(x)} {unit}{several}"


def _name(record: Record) -> str:
    scratch = from_scratch(record.config)
    return f"{ROW_LABELS.get(record.row, record.row)}{scratch and f' ({scratch})'}"
