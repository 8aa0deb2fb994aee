"""Tables of the accounting: a network counted module by module beside the formulas, one cell by hand, the head's sizes,
and the bounds between which every published row must lie. Computed, nothing typed."""

from __future__ import annotations

from collections.abc import Mapping

from dynroute_core.cost import Accounting, CostTable, conv_macs, cost_table, head_macs, norm_macs, relu_macs
from dynroute_core.experiments import ROWS
from dynroute_core.published import PROTOCOL_HEIGHT, PROTOCOL_WIDTH, PUBLISHED
from dynroute_core.space import SCALES, Cell, ModelConfig, RoutingSpace
from dynroute_suite.report.cost_audit import audit, cell_audit
from dynroute_suite.report.markup import table
from dynroute_suite.report.numbers import giga
from dynroute_suite.report.tables import markdown_table

RAW = ModelConfig()
ROUNDING = 0.05  # the published tables print one decimal
NETWORKS: Mapping[str, ModelConfig] = {
    "Layer16, full gate": ModelConfig(),
    "Layer16, small gate": ModelConfig(gate="small"),
    "Layer16, no gate": ModelConfig(gate="none"),
    "Layer33, full gate": ModelConfig(layers=33),
}


def published_table(config: ModelConfig, accounting: Accounting) -> CostTable:
    """A network's cost at the size of the published tables."""
    return cost_table(config, height=PROTOCOL_HEIGHT, width=PROTOCOL_WIDTH, accounting=accounting)


def parts_of(table: CostTable) -> dict[str, int]:
    """MACs of each part with every path open; they sum to `table.all_open`."""
    return {
        "stem": table.stem,
        "head": table.head,
        "gates": sum(table.gates.values()),
        "operations": sum(table.operations.values()),
        "paths": sum(table.paths.values()),
    }


def audit_table(config: ModelConfig, height: int, width: int) -> str:
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


def example_table(config: ModelConfig, cell: Cell, height: int, width: int) -> str:
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


def head_table() -> str:
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


def bounds_table() -> str:
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
