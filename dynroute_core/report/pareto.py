"""Accuracy over cost: the published points, and ours beside them only where they were measured alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from dynroute_core.published import PUBLISHED
from dynroute_core.record import Record
from dynroute_core.report.comparison import is_comparable, why_not_comparable
from dynroute_core.report.numbers import macs_unit, percent, significant
from dynroute_core.report.style import (
    BLACK,
    GREY,
    ROW_COLORS,
    ROW_LABELS,
    WIDTH_IN,
    Picture,
    figure_style,
    picture,
)

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


def pareto_figure(records: Sequence[Record]) -> Picture:
    """mIoU over mean cost. Published: an arrow per row from paper to released code; ours joins where measured alike.

    All other records go to panels of their own, one per profile and data set.
    """
    alike = [record for record in records if is_comparable(record)]
    others: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if not is_comparable(record):
            others.setdefault((record.profile, record.data.name), []).append(record)
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, 3.9 + 2.9 * len(others)), layout=ConstrainedLayoutEngine(h_pad=0.1))
        ratios = [3.9, *[2.9] * len(others)]
        axes = figure.subplots(len(ratios), 1, squeeze=False, height_ratios=ratios)[:, 0]
        _published_panel(axes[0], alike)
        for ax, group in zip(axes[1:], others.values(), strict=True):
            _own_panel(ax, group)
    return picture(figure, alt=_alt(alike, others))


def _published_panel(ax: Axes, alike: Sequence[Record]) -> None:
    ax.set_title("Cityscapes val, 1024×2048, as published")
    for row, published in PUBLISHED.items():
        color = ROW_COLORS[row]
        paper = _both(published.paper_gmacs, published.paper_miou_percent)
        release = _both(published.release_gmacs, published.release_miou_percent)
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
        _ours_among_published(ax, record)
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


def _ours_among_published(ax: Axes, record: Record) -> None:
    """Our point, joined to the released code's; a row without published numbers carries its name itself."""
    place, published, color = _place(record, 1e9), PUBLISHED[record.row], ROW_COLORS[record.row]
    release = _both(published.release_gmacs, published.release_miou_percent)
    if release is None:
        ax.annotate(ROW_LABELS[record.row], place, xytext=(8, -3), textcoords="offset points", fontsize=9.5)
    else:
        look = {"arrowstyle": "->", "color": color, "shrinkA": 4, "shrinkB": 4, "lw": 1, "linestyle": (0, (3, 2))}
        ax.annotate("", place, xytext=release, arrowprops=look)
    _point(ax, place, OURS_MARK, color)


def _own_panel(ax: Axes, records: Sequence[Record]) -> None:
    scale, unit = macs_unit(max(record.costs.paper.mean_macs for record in records))
    first = records[0]
    ax.set_title(f"Ours, {why_not_comparable(first) or 'no published numbers'}")
    for record in records:
        place = _place(record, scale)
        _point(ax, place, OURS_MARK, ROW_COLORS.get(record.row, GREY))
        ax.annotate(
            ROW_LABELS.get(record.row, record.row),
            place,
            xytext=(8, -3),
            textcoords="offset points",
            fontsize=9.5,
        )
    size = f"{first.costs.nominal_height}×{first.costs.nominal_width}"
    ax.set(xlabel=f"{unit} at {size}", ylabel="mIoU (%)")
    ax.margins(x=0.16, y=0.18)


def _place(record: Record, scale: float) -> tuple[float, float]:
    return record.costs.paper.mean_macs / scale, record.metrics.miou_percent


def _both(gmacs: float | None, miou_percent: float | None) -> tuple[float, float] | None:
    return None if gmacs is None or miou_percent is None else (gmacs, miou_percent)


def _point(ax: Axes, place: tuple[float, float], mark: str, color: str, *, hollow: bool = False) -> None:
    [point] = ax.plot(*place, marker=mark, markersize=6.5, zorder=3)
    point.set(
        markerfacecolor="none" if hollow else color,
        markeredgecolor=color if hollow else BLACK,
        markeredgewidth=1.6 if hollow else 0.6,
    )


def _alt(alike: Sequence[Record], others: Mapping[tuple[str, str], Sequence[Record]]) -> str:
    published = "; ".join(
        f"{ROW_LABELS[row]} {p.paper_miou_percent} % at {p.paper_gmacs}, "
        f"released {p.release_miou_percent} % at {p.release_gmacs}"
        for row, p in PUBLISHED.items()
        if p.paper_miou_percent is not None
    )
    words = [f"mIoU over GFLOPs, paper and released code: {published}"]
    words += [f"ours: {_one(record, 1e9, 'GFLOPs')}" for record in alike]
    for (profile, data), group in others.items():
        scale, unit = macs_unit(max(record.costs.paper.mean_macs for record in group))
        listed = "; ".join(_one(record, scale, unit) for record in group)
        words.append(f"ours in a panel apart ({profile} profile, {data}): {listed}")
    return ". ".join(words) + "."


def _one(record: Record, scale: float, unit: str) -> str:
    x, y = _place(record, scale)
    return f"{ROW_LABELS.get(record.row, record.row)} {percent(y)} % at {significant(x)} {unit}"
