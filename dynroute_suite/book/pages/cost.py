"""Generated parts of the book's cost page: the audit by torch's counter, one cell by hand, the head's sizes, bounds.

No typed numbers: everything is computed from `cost.py`, `audit.py` and `published.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dynroute_core.cost import conv_macs, head_macs, norm_macs, relu_macs
from dynroute_core.experiments import ROWS
from dynroute_core.published import PROTOCOL_HEIGHT, PROTOCOL_WIDTH, PUBLISHED
from dynroute_core.space import SCALES, Cell, ModelConfig, RoutingSpace
from dynroute_suite.figures.cost import bounds_figure, published_table, stacked_figure
from dynroute_suite.figures.style import figure_block
from dynroute_suite.report.cost_audit import audit, cell_audit
from dynroute_suite.report.markup import table
from dynroute_suite.report.tables import markdown_table

RAW = ModelConfig()
EXAMPLE = Cell(5, 1)  # a cell with all three paths, in the middle of the space
ROUNDING = 0.05  # the tables print one decimal


def giga(macs: float) -> str:
    """MACs in units of 10⁹ with three decimals, so that differences of a thousandth show."""
    return f"{macs / 1e9:.3f}"


def cost_audit() -> str:
    """Dynamic-Raw's network counted by its own modules, beside the formulas."""
    return audit_markdown(RAW, PROTOCOL_HEIGHT, PROTOCOL_WIDTH)


def audit_markdown(config: ModelConfig, height: int, width: int) -> str:
    """A network part by part: what was counted, what the formulas say, and by how much they differ."""
    found = audit(config, height=height, width=width)
    header = [
        "part",
        "convolutions (torch)",
        "batch norm",
        "ReLU",
        "pooling",
        "counted",
        "formula",
        "difference (MACs)",
    ]
    lines = [
        [
            part,
            *(giga(macs) for macs in (counted.convolutions, counted.norms, counted.relus, counted.poolings)),
            giga(counted.total),
            giga(found.formulas[part]),
            str(counted.total - found.formulas[part]),
        ]
        for part, counted in found.parts.items()
    ]
    counted = sum(part.total for part in found.parts.values())
    sums = [sum(getattr(part, kind) for part in found.parts.values()) for kind in ("convolutions", "norms", "relus")]
    pooled = sum(part.poolings for part in found.parts.values())
    total = found.table.all_open
    lines.append(["all", *map(giga, (*sums, pooled, counted, total)), str(counted - total)])
    return markdown_table(header, lines) + (
        f"\n\nGMACs at {height}×{width}, every path open, paper's accounting. "
        f"The accounting leaves out the initial cell's own operation and gate: {giga(found.initial_cell.total)} GMACs."
    )


def cost_example() -> str:
    """One cell by hand: every term of the formula with its numbers, and torch's count of the same modules."""
    return example_markdown(RAW, EXAMPLE, PROTOCOL_HEIGHT, PROTOCOL_WIDTH)


def example_markdown(config: ModelConfig, cell: Cell, height: int, width: int) -> str:
    """A cell's lines: term, numbers put in, MACs; then formula against count. `sep_conv_3x3` + skip cells only."""
    space = RoutingSpace.of(config)
    c, stride = space.channels_at(cell.scale), space.stride_at(cell.scale)
    h, w = height // stride, width // stride
    n = h * w
    terms = [
        ("depthwise 3×3", "2 · 9 · C · HW", 2 * conv_macs(3, c, c, n, groups=c)),
        ("pointwise", "2 · C · C · HW", 2 * conv_macs(1, c, c, n)),
        ("batch norm", "2 · 2 · C · HW", 2 * norm_macs(c, n)),
        ("ReLU between", "C · HW", relu_macs(c, n)),
    ]
    whole = sum(macs for _, _, macs in terms)
    by_hand = table(
        ["term of the operation", "formula", "MACs"],
        [[name, formula, f"{macs:,}"] for name, formula, macs in terms] + [["sum", "", f"{whole:,}"]],
        right=2,
    )
    lines = [
        [name, f"{formula:,}", f"{counted.convolutions:,}", f"{counted.total:,}", str(counted.total - formula)]
        for name, (formula, counted) in cell_audit(config, cell, height=height, width=width).items()
    ]
    checked = table(["of the cell", "formula", "convolutions (torch)", "counted", "difference"], lines, right=1)
    return (
        f"Cell {cell}: C = {c} channels on {h}×{w} positions (HW = {n:,}), input {height}×{width}.\n\n"
        f"{by_hand}\n\n{checked}"
    )


def cost_head() -> str:
    """The head's cost at its true size and at the square, map by map, and what that leaves of the all-open cost."""
    space = RoutingSpace.of(RAW)
    lines = []
    for scale in range(SCALES):
        stride = space.stride_at(scale)
        true, square = (PROTOCOL_HEIGHT // stride, PROTOCOL_WIDTH // stride), (PROTOCOL_HEIGHT // stride,) * 2
        lines.append([str(stride), f"{true[0]}×{true[1]}", f"{square[0]}×{square[1]}"])
    sizes = markdown_table(["stride", "the head's map", "charged by the released code"], lines)
    true_macs, square_macs = (head_macs(RAW, PROTOCOL_HEIGHT, width) for width in (PROTOCOL_WIDTH, PROTOCOL_HEIGHT))
    paper, repo = (published_table(RAW, accounting) for accounting in ("paper", "repo"))
    sums = markdown_table(
        ["GMACs", "paper's accounting", "released code's", "difference"],
        [
            ["head", giga(true_macs), giga(square_macs), giga(true_macs - square_macs)],
            ["everything, all open", giga(paper.all_open), giga(repo.all_open), giga(paper.all_open - repo.all_open)],
        ],
    )
    return f"{sizes}\n\n{sums}"


def cost_contradiction() -> str:
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


def cost_bounds() -> str:
    """Every published row: its least and largest cost in both accountings, and the published figure of each column."""
    header = ["row", "paper: closed", "published", "open", "release: closed", "published ", "open ", "fits"]
    lines = []
    for row, published in PUBLISHED.items():
        if published.paper_gmacs is None or published.release_gmacs is None:
            continue
        cells, fits = [row], []
        paper, repo = (published_table(ROWS[row].model, accounting) for accounting in ("paper", "repo"))
        for bounds, value in ((paper, published.paper_gmacs), (repo, published.release_gmacs)):
            cells += [giga(bounds.all_closed), f"{value:.1f}", giga(bounds.all_open)]
            fits.append(bounds.all_closed / 1e9 <= value <= bounds.all_open / 1e9 + ROUNDING)
        lines.append([*cells, "yes" if all(fits) else "no"])
    return markdown_table(header, lines) + (
        f"\n\nGFLOPs at {PROTOCOL_HEIGHT}×{PROTOCOL_WIDTH}, one multiply-accumulate counts one. Closed: no cell open. "
        f"Open: every path of every cell. Published figures have one decimal, so half of one ({ROUNDING}) is allowed."
    )


FRAGMENTS: Mapping[str, Callable[[], str]] = {
    "cost_audit": cost_audit,
    "cost_bounds": cost_bounds,
    "cost_bounds_figure": lambda: figure_block(bounds_figure()),
    "cost_contradiction": cost_contradiction,
    "cost_example": cost_example,
    "cost_head": cost_head,
    "cost_stack": lambda: figure_block(stacked_figure()),
}
