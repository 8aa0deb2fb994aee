"""The parts of the pages on static and common networks: their tables, and a drawing of each."""

from __future__ import annotations

from dynroute_core.static_routes import STATIC, static_model
from dynroute_suite.figures.diagram import space_diagram
from dynroute_suite.figures.style import figure_block
from dynroute_suite.report.network_tables import LAYERS, common_config, common_table, depth_table, static_table
from dynroute_suite.report.results import Results
from dynroute_suite.report.routed_runs import NO_RUNS
from dynroute_suite.report.seeds import first_seeds
from dynroute_suite.report.tables import escape_markdown


def networks() -> str:
    """Every static network, and the whole space without gates."""
    return static_table()


def depths() -> str:
    """How every network's cells are divided among its stages, at the paper's two depths."""
    return depth_table()


def fcn32s() -> str:
    return _drawing("fcn32s")


def deeplabv3() -> str:
    return _drawing("deeplabv3")


def unet() -> str:
    return _drawing("unet")


def hrnetv2() -> str:
    return _drawing("hrnetv2")


def autodeeplab() -> str:
    return _drawing("autodeeplab")


def _drawing(name: str) -> str:
    network = STATIC[name]
    picture = space_diagram(static_model(name, LAYERS), title=f"{network.title} as a static route")
    return f"{figure_block(picture)}\n\nFrom: {network.source}. Stages: {network.stages}."


def common(results: Results) -> str:
    """What is left of each setting's first network, by share, and a drawing of what most of its images open."""
    parts = []
    for run in first_seeds(results.routed):
        parts += [f"### {escape_markdown(run.record.label)}", common_table(run)]
        if (config := common_config(run, 0.5)) is not None:
            costs = run.record.costs
            picture = space_diagram(
                config,
                height=costs.nominal_height,
                width=costs.nominal_width,
                title=f"{run.record.row}: open in most validation images",
            )
            parts.append(figure_block(picture))
    return "\n\n".join(parts) or NO_RUNS
