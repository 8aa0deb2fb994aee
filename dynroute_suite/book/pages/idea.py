"""Fragments of the idea in ten minutes: the routing space, its constants, and where each equation is in the code."""

from __future__ import annotations

from dynroute_core.cell import GATE_BIAS
from dynroute_core.cost import cost_table
from dynroute_core.experiments import ROWS
from dynroute_core.published import PROTOCOL_HEIGHT, PROTOCOL_WIDTH
from dynroute_core.space import OPEN_THRESHOLD, SCALES, ModelConfig, RoutingSpace
from dynroute_suite.book.code import link
from dynroute_suite.book.row_head import row_link
from dynroute_suite.figures.diagram import space_diagram
from dynroute_suite.figures.style import figure_block
from dynroute_suite.report import markup
from dynroute_suite.report.numbers import NOTHING, gmacs


def space() -> str:
    """The routing space of the sixteen-layer network."""
    return figure_block(space_diagram(ModelConfig()))


def constants() -> str:
    """The numbers that the text speaks of, read from the code."""
    config = ModelConfig()
    own = RoutingSpace.of(config)
    lines = [
        ["scales", str(SCALES), link("space:SCALES")],
        ["layers, in most rows", str(config.layers), link("space:ModelConfig")],
        ["cells that decide", str(len(own.routed_cells)), link("space:RoutingSpace.routed_cells")],
        ["paths", str(len(own.all_paths)), link("space:RoutingSpace.all_paths")],
        ["channels at the finest scale, C", str(config.channels), link("space:ModelConfig")],
        ["a cell is closed below, ε", f"{OPEN_THRESHOLD:g}", link("space:OPEN_THRESHOLD")],
        ["bias a gate starts with", f"{GATE_BIAS:g}", link("cell:GATE_BIAS")],
    ]
    return markup.table(["", "value", "where"], lines, right=9)


def budgets() -> str:
    """λ and μ of every row, and the bounds of what its network can cost."""
    lines = []
    for row, chosen in ROWS.items():
        budget = chosen.train.budget
        table = cost_table(chosen.model, height=PROTOCOL_HEIGHT, width=PROTOCOL_WIDTH, accounting="paper")
        numbers = [f"{budget.weight:g}", f"{budget.target:g}"] if budget else [NOTHING, NOTHING]
        name = row_link(row)
        lines.append([name, chosen.model.gate, *numbers, gmacs(table.all_closed), gmacs(table.all_open)])
    header = ["row", "gate", "λ", "μ", "GFLOPs, all closed", "all open"]
    note = f"At {PROTOCOL_HEIGHT}×{PROTOCOL_WIDTH}, in the paper's accounting; computed from each row's network."
    return f"{markup.table(header, lines, right=2)}\n\n<p class='dr-caption'>{note}</p>"


def code_space() -> str:
    return _in_code("space:RoutingSpace.paths", "space:RoutingSpace.arrivals")


def code_cell() -> str:
    return _in_code("cell:CellModule.hidden", "cell:CellModule.path_output")


def code_gate() -> str:
    return _in_code("cell:Gate.forward")


def code_closed() -> str:
    return _in_code("cell:CellModule._run_open")


def code_expected() -> str:
    return _in_code("cost:routing_cost", "cost:cost_table")


def code_budget() -> str:
    return _in_code("losses:budget_loss", "losses:budget_ramp")


def code_loss() -> str:
    return _in_code("losses:segmentation_loss", "train:Trainer._step")


def code_rate() -> str:
    return _in_code("optimizer:learning_rate")


def _in_code(*symbols: str) -> str:
    """Where an equation stands in the code."""
    return "<span class='dr-code'>In code:</span> " + "; ".join(map(link, symbols)) + "."
