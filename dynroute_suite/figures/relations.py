"""Figures of what goes with an image's cost: correlations with their intervals, and costs in the images' order."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dynroute_suite.figures.style import BLACK, BLUE, GREY, ROW_COLORS, WIDTH_IN, Picture, figure_style, picture
from dynroute_suite.report.numbers import macs_unit, significant
from dynroute_suite.report.relations import Relation, class_relations, in_order
from dynroute_suite.report.routed_runs import RoutedRun


def class_correlation_figure(run: RoutedRun) -> Picture:
    """Every class's correlation with the cost as a dot with its interval; those whose interval leaves out 0 are filled.

    Raises ValueError where all images cost the same.
    """
    found = sorted((one for one in class_relations(run) if one.rho is not None), key=lambda one: -(one.rho or 0.0))
    if not found:
        raise ValueError(f"{run.record.label}: every image costs the same, so nothing can go with the cost.")
    color = ROW_COLORS.get(run.record.row, BLUE)
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, 1.0 + 0.26 * len(found)), layout="constrained")
        ax = figure.subplots()
        words = f"Share of the picture and cost: {run.record.label}"
        figure.suptitle(words, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
        for y, one in enumerate(found):
            _dot(ax, y, one, color)
        ax.axvline(0, color=BLACK, linewidth=0.9)
        ax.set(xlim=(-1, 1), ylim=(len(found) - 0.4, -0.6), xlabel="Spearman's rank correlation with the cost")
        ax.set_yticks(range(len(found)), [one.name for one in found])
        ax.grid(axis="y", visible=False)
    listed = ", ".join(f"{one.name} {one.rho:.2f} ({one.low:.2f} to {one.high:.2f})" for one in found)
    return picture(figure, alt=f"Rank correlation of each class's share with the cost, {run.record.label}: {listed}.")


def _dot(ax: Axes, y: int, one: Relation, color: str) -> None:
    ax.plot([one.low, one.high], [y, y], color=GREY, linewidth=2.2, solid_capstyle="round")
    assert one.rho is not None
    fill = color if one.clear else "none"
    ax.plot(one.rho, y, marker="o", markersize=7, color=color, markerfacecolor=fill, markeredgecolor=BLACK)


def cost_in_order_figure(run: RoutedRun) -> Picture:
    """Each image's cost in the order of the names, in percent of all open."""
    costs, bound = in_order(run), run.record.costs.paper.all_open_macs
    shares = 100 * costs / bound
    color = ROW_COLORS.get(run.record.row, BLUE)
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, 2.2), layout="constrained")
        ax = figure.subplots()
        words = f"Cost from image to image: {run.record.label}"
        figure.suptitle(words, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
        ax.plot(np.arange(len(shares)), shares, color=color, marker="o", markersize=2.5, linewidth=1.1)
        ax.set(xlabel="image, by name", ylabel="% of all open")
    scale, unit = macs_unit(bound)
    low, high = (significant(float(value) / scale) for value in (costs.min(), costs.max()))
    alt = f"Cost of {len(costs)} images in the order of their names, {run.record.label}: from {low} to {high} {unit}."
    return picture(figure, alt=alt)
