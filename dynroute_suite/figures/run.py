"""The figures of a run: how it trained, which classes it sees, what its images cost. Records and curves in, `Picture`s
out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from dynroute_core.data.datasets import DATASETS
from dynroute_core.data.labels import ClassSet
from dynroute_core.losses import budget_target
from dynroute_core.recipe import TrainConfig
from dynroute_core.runs.record import CurvePoint, Record
from dynroute_suite.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    ROW_COLORS,
    VERMILION,
    WIDTH_IN,
    Picture,
    figure_style,
    picture,
)
from dynroute_suite.report.numbers import NOTHING, macs_unit, percent, significant

Series = Sequence[tuple[str, str, Sequence[float]]]  # name, colour, values

HISTOGRAM_FROM = 12  # fewer images than this are shown one by one


def curve_figure(points: Sequence[CurvePoint], *, title: str, train: TrainConfig | None = None) -> Picture:
    """Losses, learning rate, expected cost and mIoU on training crops over the iterations.

    train: where its recipe has a budget, the iteration from which that counts is marked in every panel, and its target
    drawn beside the cost. Raises ValueError for an empty curve.
    """
    if not points:
        raise ValueError("no points to draw: the curve is empty.")
    iterations = [point.iteration for point in points]
    scale, unit = macs_unit(max(point.expected_macs for point in points))
    segmentation = [point.segmentation_loss for point in points]
    losses: Series = [("segmentation", BLUE, segmentation)]
    if any(point.budget_loss for point in points):
        losses = [("total", VERMILION, [point.loss for point in points]), *losses]
    costs: Series = [("expected", ORANGE, [point.expected_macs / scale for point in points])]
    budget_start, told = None, ""
    if train is not None and train.budget is not None and train.budget_macs:
        budget, whole = train.budget, train.budget_macs / scale
        budget_start = round(budget.start * train.iterations)
        aim = significant(budget.target * whole)
        told = f"; the budget counts from iteration {budget_start}, its target is {aim} {unit}"
        targets = [
            budget_target(budget, each, train.iterations) * whole if each >= budget_start else math.nan
            for each in iterations
        ]
        costs = [*costs, ("the budget's target", GREY, targets)]
    panels: list[tuple[str, Series]] = [
        ("Loss", losses),
        ("Learning rate", [("", BLACK, [point.lr for point in points])]),
        (f"Expected cost ({unit})", costs),
        ("mIoU on training crops (%)", [("", GREEN, [point.train_miou_percent for point in points])]),
    ]
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, 4.4), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold")
        axes = figure.subplots(2, 2, sharex=True)
        for index, (ax, (name, series)) in enumerate(zip(axes.flat, panels, strict=True)):
            _curve_panel(ax, name, series, iterations)
            if budget_start is not None:
                _mark_budget(ax, budget_start, label=index == 1)
        for ax in axes[1]:
            ax.set_xlabel("iteration")
    first, last = points[0], points[-1]
    alt = (
        f"{title}, {last.iteration} iterations: segmentation loss from {significant(first.segmentation_loss)} to "
        f"{significant(last.segmentation_loss)}, mIoU on training crops from {percent(first.train_miou_percent)} to "
        f"{percent(last.train_miou_percent)} %, expected cost from {significant(first.expected_macs / scale)} to "
        f"{significant(last.expected_macs / scale)} {unit}"
    )
    return picture(figure, alt=f"{alt}{told}.")


def _curve_panel(ax: Axes, name: str, series: Series, iterations: Sequence[int]) -> None:
    ax.set_title(name)
    # A single point makes no line.
    marker = "o" if len(iterations) == 1 else ""
    for label, color, values in series:
        ax.plot(iterations, values, color=color, marker=marker, label=label or None)
    if len(series) > 1:
        ax.legend(loc="best")
    ax.set_ylim(bottom=0)
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def _mark_budget(ax: Axes, start: int, *, label: bool) -> None:
    ax.axvline(start, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
    if label:
        ax.annotate(
            "budget starts",
            (start, 0),
            xycoords=("data", "axes fraction"),
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=9,
        )


def class_set(record: Record) -> ClassSet:
    """The classes of the record's data set; grey where this version does not know it."""
    if record.data.name in DATASETS:
        return DATASETS[record.data.name].classes
    names = record.data.class_names
    return ClassSet(record.data.name, names, ((128, 128, 128),) * len(names))


def class_iou_figure(record: Record, *others: Record) -> Picture:
    """Every class's IoU as a bar, the best on top, with the class's colour; a class that never occurs has no bar.

    others: further seeds of the record's setting. Bars then show means, dots every seed.
    """
    classes = class_set(record)
    colors = dict(zip(classes.names, classes.colors, strict=True))
    of_seeds = {name: _known(name, (record, *others)) for name in record.metrics.class_iou_percent}
    values = {name: fmean(known) if known else None for name, known in of_seeds.items()}
    label = setting_label(record, *others)
    present = sorted(((v, n) for n, v in values.items() if v is not None), key=lambda pair: (-pair[0], pair[1]))
    absent = [name for name, value in values.items() if value is None]
    color = ROW_COLORS.get(record.row, BLUE)
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, 1.0 + 0.235 * len(values)), layout="constrained")
        ax = figure.subplots()
        ax.set_title(f"IoU per class: {label}")
        for y, (value, name) in enumerate([*present, *((None, name) for name in absent)]):
            dots = of_seeds[name] if others else ()
            _class_bar(ax, y, name, value, color=color, swatch=colors.get(name), dots=dots)
        miou = fmean(one.metrics.miou_percent for one in (record, *others))
        floor = len(values) + 0.25
        ax.plot(miou, floor - 0.32, marker="v", markersize=7, color=BLACK)
        ax.text(miou + 1.6, floor - 0.42, f"mIoU {percent(miou)}", va="center", fontweight="bold")
        ax.set(xlim=(0, 108), ylim=(floor, -0.7), xlabel="IoU (%)", yticks=[])
        ax.set_xticks(range(0, 101, 20))
        ax.grid(axis="y", visible=False)
        ax.spines["left"].set_visible(False)
    listed = ", ".join(f"{name} {percent(value)}" for value, name in present)
    alt = f"IoU per class of {label}, in percent: {listed}" + (
        f"; never occurring: {', '.join(absent)}." if absent else "."
    )
    return picture(figure, alt=alt)


def setting_label(record: Record, *others: Record) -> str:
    """The run's label; of several seeds of one setting, with how many they are: `dynamic-a (demo, camvid), 3 seeds`."""
    if not others:
        return record.label
    return f"{record.row} ({record.profile}, {record.data.name}), {1 + len(others)} seeds"


def _known(name: str, records: Sequence[Record]) -> list[float]:
    """A class's IoU in each record that has one."""
    found = (one.metrics.class_iou_percent.get(name) for one in records)
    return [value for value in found if value is not None]


def _class_bar(
    ax: Axes,
    y: int,
    name: str,
    value: float | None,
    *,
    color: str,
    swatch: tuple[int, int, int] | None,
    dots: Sequence[float],
) -> None:
    across = ax.get_yaxis_transform()
    ax.annotate(
        name,
        (0, y),
        xycoords=("axes fraction", "data"),
        xytext=(-20, 0),
        textcoords="offset points",
        ha="right",
        va="center",
    )
    if swatch is not None:
        # The thin rim keeps dark swatches visible on dark pages, and light ones on light pages.
        box = Rectangle(
            (-0.034, y - 0.3),
            0.022,
            0.6,
            transform=across,
            clip_on=False,
            linewidth=0.6,
            edgecolor=GREY,
            facecolor=tuple(part / 255 for part in swatch),
        )
        ax.add_patch(box)
    if value is None:
        ax.text(1, y, f"{NOTHING} occurs in no label and no prediction", va="center", fontsize=9, style="italic")
        return
    ax.barh(y, value, height=0.66, color=color, edgecolor=BLACK, linewidth=0.5)
    if dots:
        ax.plot(dots, [y] * len(dots), linestyle="", marker="o", markersize=3.5, color=BLACK)
    ax.text(max(value, *dots, 0) + 1, y, percent(value), va="center", fontsize=9)


def cost_figure(record: Record) -> Picture:
    """What the images cost, in the paper's accounting: their spread, and its place between the row's bounds."""
    costs = record.costs.paper
    scale, unit = macs_unit(costs.all_open_macs)
    values = np.array([image.paper_macs for image in record.images]) / scale
    color = ROW_COLORS.get(record.row, BLUE)
    mean = costs.mean_macs / scale
    with figure_style():
        tall = 2.3 if len(values) >= HISTOGRAM_FROM else 1.0
        same = float(np.ptp(values)) < 1e-6 * float(values.max())
        figure = Figure(figsize=(WIDTH_IN, 1.35 + (0 if same else tall)), layout="constrained")
        figure.suptitle(f"Cost per image: {record.label}", x=0.01, ha="left", fontsize=10.5, fontweight="bold")
        if same:
            lower = figure.subplots()
        else:
            upper, lower = figure.subplots(2, 1, height_ratios=[tall, 0.9])
            _spread(upper, values, color)
            upper.axvline(mean, color=BLACK, linewidth=1.4)
            upper.annotate(
                f"mean {significant(mean)}",
                (mean, 1),
                xycoords=("data", "axes fraction"),
                xytext=(5, -1),
                textcoords="offset points",
                va="top",
            )
        _between_bounds(lower, record, scale, unit, color)
        if same:
            words = f"every image costs the same: {significant(mean)}"
            lower.annotate(
                words,
                (0, 1),
                xycoords="axes fraction",
                xytext=(4, -2),
                textcoords="offset points",
                fontsize=9,
            )
    size = f"{record.costs.nominal_height}×{record.costs.nominal_width}"
    alt = (
        f"Cost of {len(values)} images at {size}, {record.label}: mean {significant(mean)} {unit}, from "
        f"{significant(costs.min_macs / scale)} to {significant(costs.max_macs / scale)}; with every cell closed "
        f"{significant(costs.all_closed_macs / scale)}, with every path open "
        f"{significant(costs.all_open_macs / scale)}."
    )
    return picture(figure, alt=alt)


def _spread(ax: Axes, values: np.ndarray, color: str) -> None:
    """A histogram, or one dot per image where there are few."""
    if len(values) >= HISTOGRAM_FROM:
        ax.hist(values, bins=min(30, 6 + len(values) // 8), color=color, edgecolor=BLACK, linewidth=0.5)
        ax.set_ylabel("images")
        ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        # Room for the mean's name above the bars.
        ax.margins(y=0.16)
    else:
        ax.plot(
            values,
            np.full_like(values, 0.3),
            linestyle="",
            marker="o",
            markersize=9,
            color=color,
            markeredgecolor=BLACK,
            markeredgewidth=0.6,
        )
        ax.set(ylim=(0, 1), yticks=[])
        ax.spines["left"].set_visible(False)
    ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.grid(axis="x", visible=False)


def _between_bounds(ax: Axes, record: Record, scale: float, unit: str, color: str) -> None:
    costs = record.costs.paper
    closed, opened = costs.all_closed_macs / scale, costs.all_open_macs / scale
    low, high = costs.min_macs / scale, costs.max_macs / scale
    ax.plot([0, opened], [0, 0], color=GREY, linewidth=1, zorder=0)
    # A narrow spread would be thinner than a pixel.
    shown = max(high - low, 0.004 * opened)
    ax.add_patch(Rectangle(((low + high - shown) / 2, -0.5), shown, 1, facecolor=color, edgecolor=BLACK, linewidth=0.5))
    ax.plot([costs.mean_macs / scale] * 2, [-0.75, 0.75], color=BLACK, linewidth=1.4)
    for x, words, side in ((closed, "all closed", "left"), (opened, "all open", "right")):
        ax.plot([x, x], [-1, 1], color=VERMILION, linewidth=1.4)
        ax.annotate(
            f"{words} {significant(x)}",
            (x, 1),
            xytext=(0, 3),
            textcoords="offset points",
            ha=side,
            va="bottom",
            fontsize=9,
            annotation_clip=False,
        )
    size = f"{record.costs.nominal_height}×{record.costs.nominal_width}"
    ax.set(
        xlim=(0, opened * 1.005),
        ylim=(-1.1, 1.6),
        yticks=[],
        xlabel=f"{unit} at {size} (one multiply-accumulate counts one)",
    )
    ax.spines["left"].set_visible(False)
    ax.grid(visible=False)
