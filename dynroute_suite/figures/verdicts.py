"""A claim's picture: what its checks measured, beside what was asked of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from dynroute_suite.figures.style import BLACK, GREEN, GREY, VERMILION, WIDTH_IN, Picture, figure_style, picture
from dynroute_suite.report.claims import Check, Mark
from dynroute_suite.report.numbers import signed


@dataclass(frozen=True)
class Asked:
    """What a claim's picture measures, and the lines that its numbers should lie between or beyond."""

    measure: str
    borders: tuple[float, ...]
    decimals: int = 1


def verdict_figure(checks: Sequence[Check], asked: Asked) -> Picture:
    """Each check's numbers as points on their intervals: round where the check held, a diamond where it did not.

    Raises ValueError where no check has a number.
    """
    shown = [(mark, check.held) for check in checks for mark in check.marks]
    if not shown:
        raise ValueError("no check has a number to draw: give runs to judge by.")
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, 0.8 + 0.26 * len(shown)), layout="constrained")
        ax = figure.subplots()
        for border in asked.borders:
            ax.axvline(border, color=BLACK, linewidth=1, linestyle=(0, (4, 3)))
        for y, (mark, held) in enumerate(shown):
            color = GREEN if held else VERMILION
            ax.plot([mark.low, mark.high], [y, y], color=color, linewidth=2)
            ax.plot(mark.value, y, marker="o" if held else "D", color=color, markeredgecolor=GREY, markersize=6)
        ax.set(yticks=range(len(shown)), ylim=(len(shown) - 0.5, -0.5), xlabel=asked.measure)
        ax.set_yticklabels([mark.label for mark, _ in shown])
    told = "; ".join(f"{_words(mark, asked)}{'' if held else ', not held'}" for mark, held in shown)
    return picture(figure, alt=f"{asked.measure}, round where the check held: {told}.")


def _words(mark: Mark, asked: Asked) -> str:
    value, low, high = (signed(number, asked.decimals) for number in (mark.value, mark.low, mark.high))
    return f"{mark.label} {value}" + (f" [{low}, {high}]" if mark.low != mark.high else "")
