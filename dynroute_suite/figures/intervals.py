"""Differences between runs with their intervals."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from dynroute_suite.figures.style import BLACK, BLUE, GREY, WIDTH_IN, Picture, figure_style, picture
from dynroute_suite.report.bootstrap import LEVEL, Difference
from dynroute_suite.report.committed import Committed
from dynroute_suite.report.numbers import signed


def interval_figure(found: Sequence[tuple[Committed, Committed, Difference]]) -> Picture:
    """Each difference as a point on its interval, zero marked. Raises ValueError where there is nothing to show."""
    if not found:
        raise ValueError("no comparison to draw: give at least one.")
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, 1.1 + 0.42 * len(found)), layout="constrained")
        ax = figure.subplots()
        names = []
        for y, (a, b, difference) in enumerate(found):
            color = BLUE if difference.clear else GREY
            ax.plot([difference.low, difference.high], [y, y], color=color, linewidth=3, solid_capstyle="butt")
            ax.plot(difference.points, y, marker="o" if difference.clear else "D", color=color, markersize=7)
            names.append(f"{a.record.row} − {b.record.row}")
        ax.axvline(0, color=BLACK, linewidth=1)
        ax.set(yticks=range(len(names)), ylim=(len(names) - 0.5, -0.5), xlabel="difference in mIoU, points")
        ax.set_yticklabels(names)
    told = "; ".join(
        f"{name} {signed(one.points)}, from {signed(one.low)} to {signed(one.high)}"
        for name, (_, _, one) in zip(names, found, strict=True)
    )
    return picture(figure, alt=f"Differences in mIoU with their {100 * LEVEL:.0f} % intervals over images: {told}.")
