"""Tables of networks without gates: the static ones, and the common networks that lie in a run's recorded routes."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch

from dynroute_core.cost import cost_table
from dynroute_core.model import Segmenter
from dynroute_core.space import SCALES, ModelConfig, PathKey, RoutingSpace, path_name
from dynroute_core.static_routes import STATIC, common_route, divide, static_model
from dynroute_suite.report.flow import flow, scale_name
from dynroute_suite.report.numbers import NOTHING, gmacs, significant
from dynroute_suite.report.routed_runs import RoutedRun
from dynroute_suite.report.space_tables import HEIGHT, WIDTH
from dynroute_suite.report.tables import markdown_table

LAYERS = 16
DEPTHS = (16, 33)  # the paper's two
SHARES = (0.5, 0.95)


@lru_cache(maxsize=64)
def parameters_of(config: ModelConfig) -> int:
    """How many weights a network has; none is made."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Segmenter(config).parameters())


def network_cells(config: ModelConfig, *, height: int, width: int) -> list[str]:
    """What the head sees, cells, paths, parameters in millions, GFLOPs in both accountings: cells of a table's line."""
    space = RoutingSpace.of(config)
    costs = [cost_table(config, height=height, width=width, accounting=a).all_open for a in ("paper", "repo")]
    scales = [scale_name(space, cell.scale) for cell in space.last_cells]
    seen = "all four" if len(scales) == SCALES else ", ".join(scales)
    counts = [str(len(space.cells)), str(len(space.all_paths)), significant(parameters_of(config) / 1e6)]
    return [seen, *counts, *map(gmacs, costs)]


def static_table(*, layers: int = LAYERS, channels: int = 64, height: int = HEIGHT, width: int = WIDTH) -> str:
    """Every static network that fits so many layers, and the whole space without gates beneath them."""
    fitting = [name for name, network in STATIC.items() if network.least_layers <= layers]
    named = [(STATIC[name].title, replace(static_model(name, layers), channels=channels)) for name in fitting]
    whole = ModelConfig(layers=layers, channels=channels, gate="none")
    lines = [
        [title, *network_cells(config, height=height, width=width)]
        for title, config in [*named, ("the whole space, no gates", whole)]
    ]
    heads = ["network", "head sees", "cells", "paths", "weights, M", "GFLOPs, paper", "repo"]
    note = (
        f"{layers} layers, {channels} channels. Weights: parameters in millions. GFLOPs at {height}×{width}, one "
        "multiply-accumulate counts one, in the paper's accounting and in the released code's."
    )
    return f"{markdown_table(heads, lines)}\n\n{note}"


def depth_table(depths: tuple[int, ...] = DEPTHS) -> str:
    """How every network's cells are divided among its stages."""
    lines = [
        [
            network.title,
            " ".join(map(str, network.depths)),
            *(" ".join(map(str, divide(layers + 1, network.depths))) for layers in depths),
            str(network.least_layers),
        ]
        for network in STATIC.values()
    ]
    heads = ["network", "published depths", *(f"cells at L = {layers}" for layers in depths), "least L"]
    return markdown_table(heads, lines)


def common_config(run: RoutedRun, share: float, *, passed_on: bool = False) -> ModelConfig | None:
    """The common network of a committed run's *validation* images; None where nothing leads to the head."""
    space = RoutingSpace.of(run.config)
    route = common_route(space, _open_shares(run, passed_on=passed_on), share)
    return replace(run.config, gate="none", paths=tuple(map(path_name, route))) if route else None


def common_table(run: RoutedRun) -> str:
    """What is left of a run's network, by the share of images that a path has to be open in."""
    lines = []
    costs = run.record.costs
    size = {"height": costs.nominal_height, "width": costs.nominal_width}
    for share, passed_on in [*((share, False) for share in SHARES), (0.5, True)]:
        chosen = sum(opened > share for opened in _open_shares(run, passed_on=passed_on).values())
        config = common_config(run, share, passed_on=passed_on)
        left = network_cells(config, **size)[:-1] if config else ["nothing", *[NOTHING] * 4]
        lines.append([f"more than {100 * share:.0f} %", "yes" if passed_on else "no", str(chosen), *left])
    heads = ["open in", "passed on counts", "chosen paths", "head sees", "cells left", "paths left", "weights, M"]
    note = f"GFLOPs at {size['height']}×{size['width']}, in the paper's accounting; weights: parameters in millions."
    return f"{markdown_table([*heads, 'GFLOPs'], lines)}\n\n{note}"


def _open_shares(run: RoutedRun, *, passed_on: bool) -> dict[PathKey, float]:
    """In what share of the recorded images each path is open, or carries a closed cell's input on."""
    costs = run.record.costs
    shown = flow(
        run.routes,
        run.routes.images,
        config=run.config,
        height=costs.nominal_height,
        width=costs.nominal_width,
    )
    return {
        (cell, path): share + (shown.closed[cell] if passed_on and path == "keep" else 0.0)
        for (cell, path), share in shown.open_paths.items()
    }
