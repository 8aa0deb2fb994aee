"""Gates in pictures and numbers: the function they apply, the factors that recorded images got, what gates cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from dynroute_core.cell import GATE_BIAS
from dynroute_core.cost import cost_table
from dynroute_core.space import OPEN_THRESHOLD, GateKind, ModelConfig, RoutingSpace
from dynroute_suite.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ROW_COLORS,
    VERMILION,
    WIDTH_IN,
    Picture,
    figure_style,
    picture,
)
from dynroute_suite.report.numbers import gmacs, share_text
from dynroute_suite.report.routed_runs import RoutedRun
from dynroute_suite.report.tables import markdown_table

Values = npt.NDArray[np.float64]
KINDS: tuple[GateKind, ...] = ("full", "small", "none")
BINS = 20


def activation_figure() -> Picture:
    """max(0, tanh x) beside a sigmoid: the gate's is nought over half the line, and flat there."""
    x = np.linspace(-3, 3, 241)
    gate = np.maximum(np.tanh(x), 0)
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, 2.7), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.plot(x, gate, color=BLUE, label="max(0, tanh x)")
        left.plot(x, 1 / (1 + np.exp(-x)), color=GREY, linestyle="--", label="sigmoid")
        start = float(np.tanh(GATE_BIAS))
        left.plot(GATE_BIAS, start, marker="o", color=VERMILION, markeredgecolor=BLACK)
        left.annotate(f"start: {start:.3f}", (GATE_BIAS, start), (-2, -40), textcoords="offset points", fontsize=9.5)
        left.set(title="Factor", xlabel="x")
        left.legend(loc="upper left")
        slope = np.where(x > 0, 1 - np.tanh(x) ** 2, 0.0)
        right.plot(x, slope, color=BLUE)
        right.axvspan(-3, 0, color=GREY, alpha=0.15, linewidth=0)
        right.annotate("closed:\nno gradient", (-2.85, 0.5), fontsize=9.5)
        right.plot(GATE_BIAS, 1 - start**2, marker="o", color=VERMILION, markeredgecolor=BLACK)
        right.set(title="Its slope", xlabel="x")
    alt = (
        "The gate's activation max(0, tanh x): nought for negative x, rising to 1, and its slope: 1 just above nought, "
        f"falling; nought below. Training starts at x = {GATE_BIAS}, factor {start:.3f}, slope {1 - start**2:.3f}."
    )
    return picture(figure, alt=alt)


def factor_figure(factors: Mapping[str, Values], *, title: str) -> Picture:
    """How often which factor occurs, a panel per series (row or initial network → factors of all images and paths).

    Raises ValueError where there is no series.
    """
    if not factors:
        raise ValueError("no factors to draw: give at least one series.")
    told = []
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, 0.6 + 1.35 * len(factors)), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold")
        axes = figure.subplots(len(factors), 1, sharex=True, squeeze=False)[:, 0]
        for ax, (name, values) in zip(axes, factors.items(), strict=True):
            shut = float((values <= OPEN_THRESHOLD).mean())
            opened = values[values > OPEN_THRESHOLD]
            shares = 100 * np.histogram(opened, bins=BINS, range=(0, 1))[0] / len(values)
            ax.bar((np.arange(BINS) + 0.5) / BINS, shares, width=0.9 / BINS, color=ROW_COLORS.get(name, GREEN))
            ax.bar(-0.04, 100 * shut, width=0.04, color=GREY, edgecolor=BLACK, linewidth=0.5)
            ax.set(ylabel="% of paths", xlim=(-0.08, 1.01))
            ax.set_title(f"{name}: {share_text(shut)} closed", fontsize=10, fontweight="normal")
            middle = f"{np.median(opened):.2f}" if len(opened) else "none"
            told.append(f"{name}: {share_text(shut)} closed, median factor of open paths {middle}")
        axes[-1].set_xlabel("factor (grey bar: closed)")
        axes[-1].grid(axis="x", visible=False)
    return picture(figure, alt=f"{title}. {'; '.join(told)}.")


def gate_cost_table(config: ModelConfig, *, height: int, width: int) -> str:
    """What the gates cost in the network's three forms, and what a gated network costs with every cell closed."""
    lines = []
    for kind in KINDS:
        whole = ModelConfig(layers=config.layers, channels=config.channels, classes=config.classes, gate=kind)
        table = cost_table(whole, height=height, width=width, accounting="paper")
        gates = sum(table.gates.values())
        lines.append(
            [
                kind,
                gmacs(gates),
                share_text(gates / table.all_open),
                gmacs(table.all_open),
                "–" if kind == "none" else gmacs(table.all_closed),
            ]
        )
    size = f"at {height}×{width}"
    return markdown_table(
        ["gate", f"gates, GFLOPs {size}", "of all open", "all open, GFLOPs", "all closed, GFLOPs"], lines
    )


def start_words() -> str:
    """Where training begins, in numbers."""
    start = float(np.tanh(GATE_BIAS))
    return (
        f"The bias starts at {GATE_BIAS}, so where the pooled features add nothing every path begins with a factor of "
        f"tanh({GATE_BIAS}) = {start:.3f} and a slope of {1 - start**2:.3f}. A factor of 0 has no slope: from that "
        "image the path's gate learns nothing. So training starts well above it."
    )


def recorded_factor_figures(runs: Sequence[RoutedRun]) -> list[Picture]:
    """A figure per profile and data set, with a panel per row: the factors of all its runs' images together."""
    found: dict[str, dict[str, list[Values]]] = {}
    for run in runs:
        group = found.setdefault(f"{run.record.profile} profile, {run.record.data.name}", {})
        group.setdefault(run.record.row, []).append(recorded_factors(run))
    return [
        factor_figure(
            {row: np.concatenate(each) for row, each in rows.items()}, title=f"Factors after training: {name}"
        )
        for name, rows in sorted(found.items())
    ]


def recorded_factors(run: RoutedRun) -> Values:
    """Every factor of every image; paths of closed and dead cells count as 0."""
    space = RoutingSpace.of(run.config)
    sources = [index for index, cell in enumerate(space.cells) for _ in space.paths(cell)]
    rows = [
        [factor if image.states[cell] == "o" else 0.0 for cell, factor in zip(sources, image.factors, strict=True)]
        for image in run.routes.images
    ]
    return np.array(rows).ravel()
