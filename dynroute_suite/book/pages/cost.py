"""The parts of the page on cost: the audit by torch's counter, one cell by hand, the head's sizes, bounds."""

from __future__ import annotations

from dynroute_core.experiments import ROWS
from dynroute_core.published import PROTOCOL_HEIGHT, PROTOCOL_WIDTH, PUBLISHED
from dynroute_core.space import Cell
from dynroute_suite.figures.cost import bounds_figure, stacked_figure
from dynroute_suite.figures.style import figure_block
from dynroute_suite.report.cost_tables import (
    RAW,
    ROUNDING,
    audit_table,
    bounds_table,
    example_table,
    head_table,
    published_table,
)

EXAMPLE = Cell(5, 1)  # a cell with all three paths, in the middle of the space


def audit() -> str:
    """Dynamic-Raw's network counted by its own modules, beside the formulas."""
    return audit_table(RAW, PROTOCOL_HEIGHT, PROTOCOL_WIDTH)


def stack() -> str:
    """What every path open costs, part by part."""
    return figure_block(stacked_figure())


def example() -> str:
    """One cell by hand: every term of the formula with its numbers, and torch's count of the same modules."""
    return example_table(RAW, EXAMPLE, PROTOCOL_HEIGHT, PROTOCOL_WIDTH)


def head() -> str:
    """The head's cost at its true size and at the square."""
    return head_table()


def contradiction() -> str:
    """The published figures that the released code's accounting cannot give, in a sentence each."""
    sentences = []
    for row, published in PUBLISHED.items():
        bound = published_table(ROWS[row].model, "repo").all_open / 1e9
        if published.paper_gmacs is not None and published.paper_gmacs > bound + ROUNDING:
            own = published_table(ROWS[row].model, "paper").all_open / 1e9
            sentences.append(
                f"- `{row}`: the paper prints **{published.paper_gmacs}**; with every path open the released code "
                f"charges **{bound:.3f}**, the paper's accounting {own:.3f}."
            )
    return "\n".join(sentences)


def bounds() -> str:
    """Every published row: its least and largest cost in both accountings, and the published figure of each."""
    return bounds_table()


def bounds_drawing() -> str:
    """The same as a figure."""
    return figure_block(bounds_figure())
