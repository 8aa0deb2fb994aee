"""The route explorer's data: records and routes as one compact JSON, small enough to stand inside a page.

Takes committed runs; gives text. Per image two strings: a letter per cell, and two digits in base 36 per path, the
factor in thousandths. Costs travel as tables of whole MACs, so that the browser's sums are exact and equal to
`cost.py`'s. At most MAX_IMAGES of a run are shipped, spread evenly over its costs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import astuple

from dynroute_core.cost import cost_table
from dynroute_core.runs.record import ImageFacts, ImageRoute
from dynroute_core.space import OPEN_THRESHOLD, ModelConfig, RoutingSpace
from dynroute_suite.book.explorer.pictures import Sight, sights_of
from dynroute_suite.report.flow import image_route
from dynroute_suite.report.numbers import percent
from dynroute_suite.report.routed_runs import RoutedRun

MAX_IMAGES = 128
FACTOR_STEPS = 1000
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"

Network = tuple[ModelConfig, int, int]  # and the nominal height and width at which its costs are counted


def networks_of(runs: Sequence[RoutedRun]) -> list[Network]:
    """The networks of the runs, each once: records of one network share a drawing and a cost table."""
    return list(dict.fromkeys(_network(run) for run in runs))


def explorer_json(runs: Sequence[RoutedRun]) -> str:
    """Everything the explorer knows, as JSON that may stand inside a script element."""
    networks = networks_of(runs)
    data = {
        "steps": FACTOR_STEPS,
        "first": opening(runs),
        "networks": [_network_data(network) for network in networks],
        "records": [_record_data(run, networks.index(_network(run)), sights_of(run, runs)) for run in runs],
    }
    return json.dumps(data, separators=(",", ":"), ensure_ascii=True).replace("<", "\\u003c")


def opening(runs: Sequence[RoutedRun]) -> int:
    """The place of the run that the explorer opens with: the first whose segmentations can be seen, else the first."""
    seen = (place for place, run in enumerate(runs) if any(one.prediction for one in sights_of(run, runs).values()))
    return next(seen, 0)


def shipped_images(run: RoutedRun) -> list[ImageFacts]:
    """The images in the explorer, the cheapest first: all of them, or MAX_IMAGES at even steps of their order."""
    ordered = sorted(run.record.images, key=lambda image: (image.paper_macs, image.name))
    if len(ordered) <= MAX_IMAGES:
        return ordered
    return [ordered[round(k * (len(ordered) - 1) / (MAX_IMAGES - 1))] for k in range(MAX_IMAGES)]


def steps_of(image: ImageRoute, space: RoutingSpace) -> list[int]:
    """Factors in thousandths, rounded up; 0 where a path is closed.

    Up, so that whether a factor exceeds a threshold of whole thousandths is the same as for the recorded number.
    """
    of_cell = [index for index, cell in enumerate(space.cells) for _ in space.paths(cell)]
    return [
        -(-round(1e6 * factor) * FACTOR_STEPS // 10**6) if image.states[cell] == "o" and factor > OPEN_THRESHOLD else 0
        for cell, factor in zip(of_cell, image.factors, strict=True)
    ]


def _network(run: RoutedRun) -> Network:
    return run.config, run.record.costs.nominal_height, run.record.costs.nominal_width


def _network_data(network: Network) -> dict[str, object]:
    config, height, width = network
    space = RoutingSpace.of(config)
    table = cost_table(config, height=height, width=width, accounting="paper")
    places = {cell: index for index, cell in enumerate(space.cells)}

    def target(index: int) -> int:
        found = space.target(*space.all_paths[index])
        return -1 if found is None else places[found]

    return {
        "layers": config.layers,
        "size": f"{height}\N{MULTIPLICATION SIGN}{width}",
        "cells": [[cell.layer, cell.scale] for cell in space.cells],
        "paths": [[places[cell], target(index), path] for index, (cell, path) in enumerate(space.all_paths)],
        "fixed": table.stem + table.head,
        "gates": [table.gates.get(cell, 0) for cell in space.cells],
        "operations": [table.operations.get(cell, 0) for cell in space.cells],
        "arrivals": [table.paths.get(key, 0) for key in space.all_paths],
    }


def _record_data(run: RoutedRun, network: int, sights: dict[str, Sight]) -> dict[str, object]:
    space, record = RoutingSpace.of(run.config), run.record
    shown = shipped_images(run)
    images = []
    for facts in shown:
        route = image_route(run.routes, facts.name)
        steps = "".join(_DIGITS[value // 36] + _DIGITS[value % 36] for value in steps_of(route, space))
        images.append([facts.name, percent(facts.miou_percent), route.states, steps])
    return {
        "id": run.identity,
        "row": record.row,
        "setting": record.label.removeprefix(f"{record.row} (").removesuffix(")"),
        "network": network,
        "of": len(record.images),
        "images": images,
        "pictures": {index: astuple(sights[one.name]) for index, one in enumerate(shown) if one.name in sights},
    }
