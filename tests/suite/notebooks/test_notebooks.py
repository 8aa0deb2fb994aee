"""Every notebook beside `row.ipynb` (test_row.py) is executed, and what it shows is what the code computes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import chdir
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from dynroute_core.cost import cost_table
from dynroute_core.data.datasets import open_dataset
from dynroute_core.experiments import ROWS, experiment, with_settings
from dynroute_core.runs.plan import find_data
from dynroute_core.runs.record import RECORD, ROUTES, Record, write_record
from dynroute_core.runs.route_files import read_route
from dynroute_core.space import ModelConfig, RoutingSpace
from dynroute_core.static_routes import static_model, static_route
from dynroute_core.system.strict_json import to_json
from dynroute_suite.figures.data import count_pixels, count_words
from dynroute_suite.figures.gates import recorded_factor_figures
from dynroute_suite.report.flow import config_of
from dynroute_suite.report.numbers import gmacs, macs_text, significant
from dynroute_suite.report.results import Results
from dynroute_suite.report.speed_record import read_speed
from support.notebook_runs import ROOT, execute, shown
from support.sample_records import sample_record, sample_routes
from support.sample_runs import write_run


def check_compare(folder: Path) -> None:
    """On made-up runs: what stands together, and what must not."""
    first = sample_record(row="dynamic-a")
    write_run(folder, first)
    iou = {name: None if value is None else value - 1 for name, value in first.metrics.class_iou_percent.items()}
    metrics = replace(first.metrics, miou_percent=50.04, class_iou_percent=iou)
    write_run(folder, replace(sample_record(row="dynamic-c"), metrics=metrics))
    write_run(folder, sample_record(row="dynamic-a", profile="smoke"))
    cells = execute("compare", folder, results=str(folder))
    demo, smoke = shown(cells["runs"], "text/markdown")
    assert demo.startswith("### Demo profile on streets")
    assert "| dynamic-a | 0 | 41.2 |" in demo
    assert "| dynamic-c | 0 | 50.0 |" in demo
    assert smoke.startswith("### Smoke profile on streets")
    assert "dynamic-c" not in smoke
    classes, _ = shown(cells["classes"], "text/markdown")
    assert "| road | 91.7 | −1.0 |" in classes
    assert "| train | – | – |" in classes
    (plane,) = shown(cells["plane"], "text/html")
    assert "ours in a panel apart (demo profile, streets)" in plane


def check_cost_audit(folder: Path) -> None:
    """On a small network: its tables hold the formulas' numbers, and differ from torch's count by 0."""
    settings = {"model.channels": "8", "model.layers": "4"}
    cells = execute("cost_audit", folder, row="dynamic-c", settings=settings, height=96, width=160, cell="2.1")
    config = with_settings(ROWS["dynamic-c"], settings).model
    tables = {a: cost_table(config, height=96, width=160, accounting=a) for a in ("paper", "repo")}
    (audit,) = shown(cells["audit"], "text/markdown")
    lines = [line for line in audit.splitlines() if line.startswith("|")][2:]
    assert [line.split("|")[1].strip() for line in lines] == ["stem", "gates", "operations", "paths", "head", "all"]
    assert {line.split("|")[-2].strip() for line in lines} == {"0"}
    assert f"| {tables['paper'].all_open / 1e9:.3f} | 0 |" in lines[-1]
    (example,) = shown(cells["example"], "text/markdown")
    assert "Cell 2.1: C = 16 channels on 12×20 positions" in example
    printed = "".join("".join(output.get("text", [])) for output in cells["tables"]["outputs"])
    for table in tables.values():
        assert f"{table.all_closed:,}" in printed and f"{table.all_open:,}" in printed
    assert len(shown(cells["figures"], "text/html")) == 2


def check_data(folder: Path) -> None:
    """Run on the smoke profile's streets: fingerprint, shares and crops are the data set's."""
    cells = execute("data", folder, profile="smoke", pictures=2, counted=0, crops=2)
    chosen = experiment("dynamic-raw", profile="smoke", data="streets")
    with chdir(ROOT):
        dataset = open_dataset("streets", find_data(chosen.data, None), "train")
    printed = "".join(cells["open"]["outputs"][0]["text"])  # type: ignore[index]
    assert f"streets, train: {len(dataset)} pictures, 19 classes" in printed
    assert dataset.fingerprint() in printed
    (words,) = shown(cells["classes"], "text/markdown")
    assert words == count_words(count_pixels(dataset, dataset.classes))
    assert "4 pictures; percent of labelled pixels: " in shown(cells["classes"], "text/html")[0]
    assert "2 pictures beside their truth" in shown(cells["pictures"], "text/html")[0]
    assert shown(cells["crops"], "text/html")[0].count("data:image/") == 4


def check_explore(folder: Path) -> None:
    """Run on an untrained network and two generated streets: what it prints and shows is the session's. As it opens, it
    has the weights that ship."""
    shipped = execute("explore", folder, settings={"data.val_images": "2"}, device="cpu", repeats=1)
    assert "MMACs" in json.dumps(shipped["still"]) and "untrained" not in json.dumps(shipped["still"])
    cells = execute("explore", folder, run="", profile="smoke", device="cpu", repeats=1)
    (widget,) = [output for output in cells["panel"]["outputs"] if "data" in output]  # type: ignore[attr-defined]
    assert "application/vnd.jupyter.widget-view+json" in widget["data"]
    (html,) = shown(cells["still"], "text/html")
    assert 'aria-label="' in html and "photograph, truth, prediction and errors" in html
    printed = "".join(
        "".join(output["text"])
        for output in cells["threshold"]["outputs"]  # type: ignore[attr-defined]
        if output["output_type"] == "stream"
    )
    lines = re.findall(r"^(\d\.\d\d)  ([\d.]+) of ([\d.]+) MMACs", printed, flags=re.MULTILINE)
    assert [float(threshold) for threshold, _, _ in lines] == [0.0, 0.25, 0.5, 0.75, 1.0]
    costs = [float(cost) for _, cost, _ in lines]
    # No factor exceeds 1, so at threshold 1 everything is closed; what is left then is the least a picture can cost.
    assert costs[4] == min(costs) < costs[0] <= float(lines[0][2])
    assert "the network is untrained" in printed.lower()
    assert "Traceback" not in json.dumps(cells)


def check_gates(folder: Path) -> None:
    """Run on the committed records and two small streets: its numbers are the gates' and the records'."""
    cells = execute("gates", folder, scenes=2)
    (start,) = shown(cells["start"], "text/markdown")
    assert "tanh(1.5) = 0.905" in start
    (costs,) = shown(cells["cost"], "text/markdown")
    # The table of the original's facts: all open 119.492 and 103.676 GFLOPs at 1024×2048.
    assert re.search(r"\| full \| .*\| 119\.5 \|", costs) and re.search(r"\| small \| .*\| 103\.7 \|", costs)
    (untrained,) = shown(cells["untrained"], "text/html")
    assert "Factors before training. untrained: " in untrained
    told = unescape("".join(shown(cells["recorded"], "text/html")))
    for figure in recorded_factor_figures(Results().routed):
        assert figure.alt in told


def check_routing_space(folder: Path) -> None:
    """Run on a small space: its tables are the cost accounting's, its diagram has every cell."""
    cells = execute("routing_space", folder, layers=4, channels=4, height=256, width=512)
    config = ModelConfig(layers=4, channels=4, stem_channels=8)
    space = RoutingSpace.of(config)
    table = cost_table(config, height=256, width=512, accounting="paper")
    (words,) = shown(cells["space"], "text/markdown")
    assert f"4 layers hold {len(space.cells)} cells and {len(space.all_paths)} paths" in words
    assert f"to {macs_text(table.all_open)} with every path open" in words
    (diagram,) = shown(cells["space"], "text/html")
    assert diagram.count("<circle") >= len(space.cells)
    (scales,) = shown(cells["scales"], "text/markdown")
    rows = [line.split(" | ") for line in scales.splitlines()[2:]]
    assert [row[3] for row in rows] == [str(sum(cell.scale == k for cell in space.cells)) for k in range(4)]
    (parts,) = shown(cells["parts"], "text/markdown")
    assert f"| all open | {gmacs(table.all_open)} |" in parts
    (routes,) = shown(cells["routes"], "text/markdown")
    costs = dict(re.findall(r"^\| (\S[^|]*?) \| .*? \| .*? \| (.*?) \|", routes, flags=re.MULTILINE))
    assert costs["all-open"] == macs_text(table.all_open)
    assert costs["all-closed"] == macs_text(table.all_closed)
    assert "Route of an untrained network: " in shown(cells["diagram"], "text/html")[0]


def check_seeds(folder: Path) -> None:
    """On made-up runs: n, spread, and an interval that a hand can check."""
    first = sample_record(row="dynamic-a")
    _write_hits(folder, first, hits=(10,) * 6)
    other = replace(first.metrics, miou_percent=first.metrics.miou_percent + 2)
    again = replace(first, seed=1, metrics=other, config={**first.config, "seed": 1})
    _write_hits(folder, again, hits=(10,) * 6)
    _write_hits(folder, sample_record(row="dynamic-c"), hits=(12,) * 6)
    cells = execute("seeds", folder, results=str(folder), resamples=200)
    (table,) = shown(cells["seeds"], "text/markdown")
    two, one = (line for line in table.splitlines()[2:])
    assert re.search(r"\| dynamic-a \| demo, streets \| 2 \|.*\| 42\.2 \| 1\.4 \|", two)
    assert one.startswith("| dynamic-c | demo, streets | 1 |")
    assert "n = 1" in one
    (pairs,) = shown(cells["pairs"], "text/markdown")
    # 12 of 20 pixels against 10 of 20 in every image: 10 points, whatever images are drawn.
    assert "| dynamic-c − dynamic-a | demo, streets | 0, 0 | +10.0 | +10.0 … +10.0 | 6 | clear |" in pairs
    assert "200 resamples" in pairs
    (figure,) = shown(cells["intervals"], "text/html")
    assert "dynamic-c − dynamic-a +10.0, from +10.0 to +10.0" in figure


def check_speed(folder: Path) -> None:
    """At a tiny size: what it shows is what its benchmark measured."""
    small = {"height": 64, "width": 128, "channels": 8, "layers": 3, "runs": 1}
    cells = execute("speed", folder, out=str(folder / "speed"), **small)
    opened = read_speed(folder / "speed" / "inference-open-64x128-cpu-default.json")
    (table,) = shown(cells["open"], "text/markdown")
    for one in opened.measurements:
        assert f"| {one.subject} | 64×128 | 1 | 100 | {significant(one.median_ms)} |" in table
    alt = unescape(shown(cells["routes"], "text/html")[0])
    assert "torch float32: " in alt and "of its time at" in alt
    assert shown(cells["committed"], "text/markdown")


def check_static_networks(folder: Path) -> None:
    """Run on a small space: its table is the cost accounting's, its drawings are the networks."""
    file = folder / "hrnet.json"
    cells = execute(
        "static_networks",
        folder,
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


def _write_hits(results: Path, record: Record, *, hits: tuple[int, ...]) -> None:
    """A run whose images have these true positives in every class, of 20 pixels each."""
    folder = results / record.row / f"{record.profile}-{record.data.name}-seed{record.seed}"
    write_record(folder / RECORD, record)
    routes = sample_routes(config_of(record), row=record.row)
    images = tuple(
        replace(
            image,
            true_positive=(hit,) * len(image.true_positive),
            false_positive=(20 - hit,) * len(image.true_positive),
            false_negative=(0,) * len(image.true_positive),
        )
        for image, hit in zip(routes.images, hits, strict=True)
    )
    (folder / ROUTES).write_bytes(to_json(replace(routes, images=images)))


CHECKS: Mapping[str, Callable[[Path], None]] = {
    "compare": check_compare,
    "cost_audit": check_cost_audit,
    "data": check_data,
    "explore": check_explore,
    "gates": check_gates,
    "routing_space": check_routing_space,
    "seeds": check_seeds,
    "speed": check_speed,
    "static_networks": check_static_networks,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_a_notebook_shows_what_the_code_computes(name: str, tmp_path: Path) -> None:
    CHECKS[name](tmp_path)


def test_every_notebook_has_its_check() -> None:
    assert {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} == {*CHECKS, "row"}
