"""Figures of the accounting: what an all-open network's cost is made of, and the range in which a row's cost must lie.

Configurations and published numbers in, `Picture`s out; no weights, no records.
"""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dynroute_core.cost import Accounting
from dynroute_core.experiments import ROWS
from dynroute_core.published import PROTOCOL_HEIGHT, PROTOCOL_WIDTH, PUBLISHED
from dynroute_suite.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    ROW_LABELS,
    SKY,
    VERMILION,
    WIDTH_IN,
    Picture,
    figure_style,
    picture,
)
from dynroute_suite.report.cost_tables import NETWORKS, parts_of, published_table
from dynroute_suite.report.numbers import GFLOPS

_COLUMNS: Mapping[Accounting, tuple[str, str, str]] = {
    "paper": ("o", BLUE, "paper's accounting and table"),
    "repo": ("s", GREEN, "released code's accounting and table"),
}
_PART_COLORS = {"stem": GREY, "head": ORANGE, "gates": VERMILION, "operations": BLUE, "paths": SKY}


def stacked_figure() -> Picture:
    """What the all-open cost of each published network is made of, in the paper's accounting."""
    shares = {name: parts_of(published_table(config, "paper")) for name, config in NETWORKS.items()}
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, 2.9), layout="constrained")
        ax = figure.subplots()
        ax.set_title(f"Every path open, {PROTOCOL_HEIGHT}×{PROTOCOL_WIDTH}")
        lines = range(len(shares))
        left = [0.0] * len(shares)
        for part, color in _PART_COLORS.items():
            widths = [parts[part] / 1e9 for parts in shares.values()]
            ax.barh(lines, widths, left=left, height=0.62, color=color, label=part, edgecolor=BLACK, linewidth=0.4)
            left = [start + width for start, width in zip(left, widths, strict=True)]
        for line, total in zip(lines, left, strict=True):
            ax.annotate(f"{total:.1f}", (total, line), xytext=(4, 0), textcoords="offset points", va="center")
        ax.set_yticks(list(lines), list(shares))
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
        ax.margins(x=0.09)
        ax.set_xlabel(GFLOPS)
        figure.legend(loc="outside lower center", ncols=len(_PART_COLORS))
    said = "; ".join(
        f"{name} {sum(parts.values()) / 1e9:.1f}, of which "
        + ", ".join(f"{part} {macs / 1e9:.1f}" for part, macs in parts.items())
        for name, parts in shares.items()
    )
    return picture(figure, alt=f"Cost with every path open at 1024×2048, in GFLOPs, by part: {said}.")


def bounds_figure() -> Picture:
    """For each published row and accounting: the range from all closed to all open, and the published figure in it."""
    rows = [row for row, published in PUBLISHED.items() if published.paper_gmacs is not None]
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, 0.55 * len(rows) + 1.3), layout="constrained")
        ax = figure.subplots()
        ax.set_title("What each row's network can cost, and what was published")
        said = []
        for line, row in enumerate(rows):
            published = PUBLISHED[row]
            columns: tuple[tuple[Accounting, float | None], ...] = (
                ("paper", published.paper_gmacs),
                ("repo", published.release_gmacs),
            )
            for offset, (accounting, value) in zip((-0.17, 0.17), columns, strict=True):
                assert value is not None
                table, (mark, color, _) = published_table(ROWS[row].model, accounting), _COLUMNS[accounting]
                low, high = table.all_closed / 1e9, table.all_open / 1e9
                ax.barh(line + offset, high - low, left=low, height=0.26, color=color, alpha=0.35)
                ax.plot([value], [line + offset], marker=mark, color=color, markersize=6)
                said.append(f"{row}, {accounting}: {low:.1f} to {high:.1f}, published {value}")
        ax.set_yticks(range(len(rows)), [ROW_LABELS[row] for row in rows])
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
        ax.set_xlim(0)
        ax.set_xlabel(GFLOPS)
        handles = [Line2D([], [], marker=m, color=c, linestyle="", label=text) for m, c, text in _COLUMNS.values()]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return picture(figure, alt=f"Possible and published cost in GFLOPs at 1024×2048. {'; '.join(said)}.")
