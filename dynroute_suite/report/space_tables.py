"""The routing space in numbers: what stands at each scale, what it costs, how many routes there are."""

from __future__ import annotations

import math

from dynroute_core.cost import cost_table
from dynroute_core.space import SCALES, ModelConfig, RoutingSpace
from dynroute_suite.report.flow import scale_name
from dynroute_suite.report.numbers import gmacs, macs_text, share_text, significant
from dynroute_suite.report.tables import markdown_table

HEIGHT, WIDTH = 1024, 2048  # of Cityscapes, at which the paper counts


def scale_table(config: ModelConfig, *, height: int = HEIGHT, width: int = WIDTH) -> str:
    """Per scale: size and channels of its maps, cells, paths that leave them, and MACs with every path open."""
    space = RoutingSpace.of(config)
    table = cost_table(config, height=height, width=width, accounting="paper")
    lines = []
    for scale in range(SCALES):
        cells = [cell for cell in space.cells if cell.scale == scale]
        leaving = [key for key in space.all_paths if key[0].scale == scale]
        stride = space.stride_at(scale)
        macs = sum(table.operations.get(cell, 0) + table.gates.get(cell, 0) for cell in cells)
        macs += sum(table.paths.get(key, 0) for key in leaving)
        lines.append(
            [
                scale_name(space, scale),
                f"{height // stride}×{width // stride}",
                str(space.channels_at(scale)),
                str(len(cells)),
                str(len(leaving)),
                gmacs(macs),
                share_text(macs / table.all_open),
            ]
        )
    size = f"GFLOPs at {height}×{width}"
    return markdown_table(["scale", "map", "channels", "cells", "paths that leave", size, "of all open"], lines)


def part_table(config: ModelConfig, *, height: int = HEIGHT, width: int = WIDTH) -> str:
    """What stem, head, gates, operations and paths cost with every path open, and which of it a route can save."""
    table = cost_table(config, height=height, width=width, accounting="paper")
    parts = [
        ("stem", table.stem, "no"),
        ("head", table.head, "no"),
        ("gates", sum(table.gates.values()), "no: each is asked before its cell may stay closed"),
        ("operations", sum(table.operations.values()), "yes, cell by cell"),
        ("paths", sum(table.paths.values()), "yes, path by path"),
    ]
    lines = [[name, gmacs(macs), share_text(macs / table.all_open), saved] for name, macs, saved in parts]
    total = ["all open", gmacs(table.all_open), share_text(1), ""]
    return markdown_table(["part", f"GFLOPs at {height}×{width}", "share", "can a route save it?"], [*lines, total])


def size_words(config: ModelConfig, *, height: int = HEIGHT, width: int = WIDTH) -> str:
    """How large the space is, in a sentence."""
    space = RoutingSpace.of(config)
    table = cost_table(config, height=height, width=width, accounting="paper")
    digits = len(space.all_paths) * math.log10(2)
    return (
        f"{config.layers} layers hold {len(space.cells)} cells and {len(space.all_paths)} paths. Each path is open or "
        f"closed: that makes 2^{len(space.all_paths)} sets of open paths, a number of {math.floor(digits) + 1} digits. "
        f"At {height}×{width} an image costs from {macs_text(table.all_closed)} with every cell closed to "
        f"{macs_text(table.all_open)} with every path open: at best {significant(table.all_open / table.all_closed)} "
        "times less."
    )
