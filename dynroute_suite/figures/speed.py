"""Time against MACs, with the diagonal that the method promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from dynroute_suite.figures.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    SKY,
    VERMILION,
    WIDTH_IN,
    Picture,
    figure_style,
    picture,
)
from dynroute_suite.report.speed_record import Measurement
from dynroute_suite.report.speed_tables import curves

COLORS: Mapping[str, str] = {
    "model": GREY,
    "torch float32": SKY,
    "torch bfloat16": BLUE,
    "native float32": ORANGE,
    "native bfloat16": VERMILION,
}


def time_figure(measurements: Sequence[Measurement]) -> Picture:
    """Each subject's time over its own all-open time, against the share of the MACs that its routes cost."""
    lines = curves(measurements)
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, 4.2), layout=ConstrainedLayoutEngine())
        ax = figure.subplots()
        ax.plot((0, 1), (0, 1), color=GREY, linestyle="--", linewidth=1, label="time = MACs")
        for subject, points in lines.items():
            shares, times = zip(*points, strict=True)
            ax.plot(shares, times, marker="o", markersize=4, color=COLORS.get(subject, GREEN), label=subject)
        ax.set(xlim=(0, 1.03), ylim=(0, 1.08), xlabel="share of the all-open MACs", ylabel="share of the all-open time")
        ax.legend(loc="upper left")
    said = "; ".join(
        f"{subject}: {100 * points[0][1]:.0f} % of its time at {100 * points[0][0]:.0f} % of the MACs"
        for subject, points in lines.items()
    )
    return picture(figure, alt=f"Time against MACs, both as shares of all paths open, beside the diagonal. {said}.")
