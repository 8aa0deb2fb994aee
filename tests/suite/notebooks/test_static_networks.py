"""`static_networks.ipynb`, run on a small space: its table is the cost accounting's, its drawings are the networks."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from dynroute_core.cost import cost_table
from dynroute_core.runs.route_files import read_route
from dynroute_core.space import RoutingSpace
from dynroute_core.static_routes import static_model, static_route
from dynroute_suite.report.numbers import gmacs, macs_text
from support.notebook_runs import execute, shown


@pytest.mark.slow
def test_the_page_is_of_the_networks_that_fit(tmp_path: Path) -> None:
    file = tmp_path / "hrnet.json"
    cells = execute(
        "static_networks",
        tmp_path,
        layers=8,
        channels=4,
        height=256,
        width=512,
        network="hrnetv2",
        route_file=str(file),
    )
    (table,) = shown(cells["table"], "text/markdown")
    drawings = shown(cells["shapes"], "text/html")
    assert len(drawings) == 5
    for (title, name), drawing in zip(
        {
            "FCN-32s": "fcn32s",
            "DeepLabV3": "deeplabv3",
            "U-Net": "unet",
            "HRNetV2": "hrnetv2",
            "Auto-DeepLab": "autodeeplab",
        }.items(),
        drawings,
        strict=True,
    ):
        config = replace(static_model(name, 8), channels=4)
        space = RoutingSpace.of(config)
        cost = cost_table(config, height=256, width=512, accounting="paper").all_open
        assert re.search(
            rf"^\| {title} .* {len(space.cells)} \| {len(space.all_paths)} \|.* {gmacs(cost)} \|", table, re.M
        )
        assert f"with every path open it costs {macs_text(cost)} at 256×512" in drawing
        assert drawing.count(" channels): ") == len(space.cells)
    own = replace(static_model("hrnetv2", 8), channels=4)
    (scales,) = shown(cells["scales"], "text/markdown")
    counts = [line.split(" | ")[3] for line in scales.splitlines()[2:]]
    assert counts == [str(sum(cell.scale == k for cell in RoutingSpace.of(own).cells)) for k in range(4)]
    (run,) = shown(cells["run"], "text/html")
    assert "Route through HRNetV2 as a static route" in run
    assert read_route(file, RoutingSpace(8, 4)) == static_route("hrnetv2", 8)
    (words,) = shown(cells["file"], "text/markdown")
    assert f"HRNetV2 opens {len(static_route('hrnetv2', 8))} paths" in words
