"""Settings with their seeds: what came out as dots, how each learned as thin lines. Records and curves in, `Picture`s
out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean, stdev

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dynroute_core.recipe import TrainConfig
from dynroute_core.runs.record import CurvePoint, Record
from dynroute_suite.figures.style import BLACK, BLUE, GREY, ROW_COLORS, WIDTH_IN, Picture, figure_style, picture
from dynroute_suite.report.numbers import macs_unit, percent, significant

MOST_POINTS = 50  # of a thin line: each is then the mean of some iterations, and the file stays small

Measure = Callable[[Record], float]


def outcome_figure(settings: Sequence[tuple[str, Sequence[Record]]]) -> Picture:
    """mIoU, and cost as a share of all paths open: a dot per seed, a bar for their mean, a line for their spread.

    settings: (name, its runs, a seed each), from top to bottom.
    """
    measures: tuple[tuple[str, Measure], ...] = (("mIoU (%)", _miou), ("cost (% of all paths open)", _cost_share))
    color = ROW_COLORS.get(settings[0][1][0].row, BLUE)
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, 0.95 + 0.42 * len(settings)), layout="constrained")
        for ax, (name, measure) in zip(figure.subplots(1, 2, sharey=True), measures, strict=True):
            for y, (_, runs) in enumerate(settings):
                _dots(ax, y, [measure(one) for one in runs], color)
            ax.set(xlabel=name, ylim=(len(settings) - 0.4, -0.6))
            ax.margins(x=0.1)
            ax.set_xlim(left=0)
            ax.set_yticks(range(len(settings)), [label for label, _ in settings])
            ax.grid(axis="y", visible=False)
            ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    told = "; ".join(
        f"{label}: " + ", ".join(f"{name} {_said([measure(one) for one in runs])}" for name, measure in measures)
        for label, runs in settings
    )
    return picture(figure, alt=f"What came out, a dot per seed. {told}.")


def _miou(record: Record) -> float:
    return record.metrics.miou_percent


def _cost_share(record: Record) -> float:
    return 100 * record.costs.paper.mean_macs / record.costs.paper.all_open_macs


def _dots(ax: Axes, y: int, values: Sequence[float], color: str) -> None:
    mean = fmean(values)
    if len(values) > 1:
        spread = stdev(values)
        ax.plot([mean - spread, mean + spread], [y, y], color=GREY, linewidth=1.2, zorder=1)
        ax.plot([mean, mean], [y - 0.25, y + 0.25], color=BLACK, linewidth=1.6, zorder=2)
    ax.plot(
        values,
        [y] * len(values),
        linestyle="",
        marker="o",
        markersize=7,
        color=color,
        markeredgecolor=BLACK,
        markeredgewidth=0.5,
    )


def _said(values: Sequence[float]) -> str:
    mean = percent(fmean(values))
    return f"{mean} ± {stdev(values):.1f} over {len(values)} seeds" if len(values) > 1 else mean


def learning_figure(curves: Sequence[Sequence[CurvePoint]], *, title: str, train: TrainConfig) -> Picture:
    """Loss, expected cost and mIoU on training crops over the iterations, a thin line per seed.

    train: where its recipe has a budget, the iteration from which that counts is marked. Raises ValueError where a
    seed's curve is empty.
    """
    if not curves or not all(curves):
        raise ValueError("no points to draw: a curve is empty.")
    scale, unit = macs_unit(max(point.expected_macs for points in curves for point in points))
    panels: tuple[tuple[str, Callable[[CurvePoint], float]], ...] = (
        ("Loss", lambda point: point.segmentation_loss),
        (f"Expected cost ({unit})", lambda point: point.expected_macs / scale),
        ("mIoU, crops (%)", lambda point: point.train_miou_percent),
    )
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, 2.6), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=10.5)
        for ax, (name, value) in zip(figure.subplots(1, 3), panels, strict=True):
            ax.set(title=name, xlabel="iteration")
            for points in curves:
                ax.plot(*_thinned(points, value), color=BLUE, linewidth=1.0, alpha=0.75)
            if train.budget is not None:
                ax.axvline(train.budget.start * train.iterations, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
            ax.set_ylim(bottom=0)
            ax.xaxis.set_major_locator(MaxNLocator(3, integer=True))
            ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    ends = [points[-1] for points in curves]
    told = ", ".join(f"{name} {_range([value(point) for point in ends])}" for name, value in panels)
    seeds = f"{len(curves)} seeds" if len(curves) > 1 else "one seed"
    budget = f" The dashed line is where the budget starts to count: {_budget_start(train)}." if train.budget else ""
    return picture(figure, alt=f"{title}, {seeds}, {ends[0].iteration} iterations; at the end: {told}.{budget}")


def _budget_start(train: TrainConfig) -> str:
    assert train.budget is not None
    return f"iteration {round(train.budget.start * train.iterations)}"


def _range(values: Sequence[float]) -> str:
    return "–".join(dict.fromkeys((significant(min(values)), significant(max(values)))))


def _thinned(points: Sequence[CurvePoint], value: Callable[[CurvePoint], float]) -> tuple[list[float], list[float]]:
    """(iterations, values), each the mean of as many points as leave at most MOST_POINTS."""
    step = -(-len(points) // MOST_POINTS)
    parts = [points[first : first + step] for first in range(0, len(points), step)]
    return [fmean(p.iteration for p in part) for part in parts], [fmean(map(value, part)) for part in parts]
