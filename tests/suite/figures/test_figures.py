"""The figures: same bytes twice, the record's numbers in words too, names escaped, unlike things kept apart."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure
from PIL import Image

from dynroute_core.experiments import ROWS
from dynroute_core.losses import Budget
from dynroute_core.runs.record import EXAMPLES, Record, example_names
from dynroute_core.space import ModelConfig
from dynroute_core.system.errors import BlockedError, UsageError
from dynroute_core.train import TrainConfig
from dynroute_suite.figures.examples import example_figure, street_figure
from dynroute_suite.figures.pareto import pareto_figure
from dynroute_suite.figures.run import class_iou_figure, cost_figure, curve_figure
from dynroute_suite.figures.style import ROW_COLORS, ROW_LABELS, Picture, figure_style, picture
from dynroute_suite.report.numbers import gmacs, macs_of, macs_text, percent, signed, significant
from support.sample_records import published_protocol, sample_curve, sample_record, sample_routes

SMALL = ModelConfig(layers=4, channels=4, gate="small")
BUDGETED = TrainConfig(iterations=600, budget=Budget(weight=1, target=0.2, descent=0.3), budget_macs=4e7)
NASTY = "<script>alert(1)</script> $x_1$ & --> -- 'q'"


def words(shown: Picture) -> str:
    return " ".join(ElementTree.fromstring(shown.svg).itertext())


@pytest.fixture(scope="module")
def record() -> Record:
    return sample_record(SMALL)


@pytest.fixture
def run_folder(tmp_path: Path, record: Record) -> Path:
    """A run's folder with examples of 40×80 pixels: the left half wrong, the top rows ignored."""
    truth = np.zeros((40, 80), np.uint8)
    truth[:10] = 255
    prediction = np.zeros_like(truth)
    prediction[:, :40] = 13
    photo = np.arange(40 * 80 * 3, dtype=np.uint32).reshape(40, 80, 3).astype(np.uint8)
    for role in example_names(record):
        folder = tmp_path / EXAMPLES / role
        folder.mkdir(parents=True)
        for name, pixels in (("image", photo), ("truth", truth), ("prediction", prediction)):
            Image.fromarray(pixels).save(folder / f"{name}.png")
    return tmp_path


def test_a_picture_needs_words() -> None:
    with pytest.raises(ValueError, match="text alternative"):
        Picture("<svg/>", "  ")
    with pytest.raises(ValueError, match="text alternative"):
        picture(Figure(), alt="")


def test_a_picture_is_fit_for_a_page() -> None:
    with figure_style():
        figure = pyplot.figure()
        ax = figure.subplots()
        ax.plot([0, 1], [0, 1], color="#000000", label=NASTY, clip_on=True)
        ax.legend()
    shown = picture(figure, alt=NASTY)
    assert not pyplot.get_fignums(), "the figure is closed"
    assert "<script" not in shown.html
    assert NASTY in words(shown)
    assert unescape(re.findall(r'aria-label="([^"]*)"', shown.html)[0]) == NASTY
    for unwanted in ("<?xml", "<!DOCTYPE", "<metadata", "<style", "<!--", "#000000", "DejaVu Sans'"):
        assert unwanted not in shown.svg
    bundle = shown._repr_mimebundle_()
    assert bundle == {"text/html": shown.html, "text/plain": NASTY}


def test_every_row_has_a_name_and_a_colour_of_its_own() -> None:
    assert set(ROW_COLORS) == set(ROW_LABELS) == set(ROWS)
    assert len(set(ROW_COLORS.values())) == len(ROW_COLORS)


def test_ids_of_two_figures_do_not_meet(record: Record) -> None:
    pages = [cost_figure(record).svg, class_iou_figure(record).svg, curve_figure(sample_curve(), title="t").svg]
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in pages]
    assert all(ids), "clip paths have ids"
    assert not ids[0] & ids[1]
    assert not ids[0] & ids[2]
    for svg, own in zip(pages, ids, strict=True):
        assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg)) == own


def test_same_input_same_bytes(record: Record, run_folder: Path) -> None:
    curve, routes = sample_curve(), sample_routes(SMALL)
    for make in (
        lambda: curve_figure(curve, title="t", train=BUDGETED),
        lambda: class_iou_figure(record),
        lambda: cost_figure(record),
        lambda: pareto_figure([record]),
        lambda: example_figure(run_folder, record, routes, "median"),
    ):
        assert make().html == make().html


def test_curve_marks_the_budget_and_names_the_unit() -> None:
    curve = sample_curve()
    shown = curve_figure(curve, title=NASTY, train=BUDGETED)
    assert "budget starts" in words(shown)
    assert "the budget's target" in words(shown)
    assert "counts from iteration 240, its target is 8.00 MMACs" in shown.alt
    assert "Expected cost (MMACs)" in words(shown)
    assert NASTY in words(shown)
    assert significant(curve[-1].segmentation_loss) in shown.alt
    assert "budget" not in curve_figure(curve, title="t").alt
    large = [replace(point, expected_macs=point.expected_macs * 1000) for point in curve]
    assert "Expected cost (GMACs)" in words(curve_figure(large, title="t"))
    assert curve_figure(curve[:1], title="one point").alt
    with pytest.raises(ValueError, match="empty"):
        curve_figure([], title="t")


def test_classes_are_sorted_and_absent_ones_say_so(record: Record) -> None:
    iou = {NASTY: 12.34, "road": 91.66, "bus": None}
    shown = class_iou_figure(replace(record, metrics=replace(record.metrics, class_iou_percent=iou)))
    text = words(shown)
    assert text.index("road") < text.index(NASTY) < text.index("bus")
    assert "91.7" in text
    assert "12.3" in text
    assert "occurs in no label" in text
    assert "bus" in shown.alt.split("never occurring")[1]
    assert record.label in text


def test_costs_show_mean_and_bounds(record: Record) -> None:
    costs = record.costs.paper
    shown = cost_figure(record)
    for macs, name in (
        (costs.mean_macs, "mean"),
        (costs.all_closed_macs, "all closed"),
        (costs.all_open_macs, "all open"),
    ):
        assert f"{name} {significant(macs / 1e6)}" in words(shown)
        assert significant(macs / 1e6) in shown.alt
    assert "MMACs at 256×512" in words(shown)
    assert "GMACs" in words(cost_figure(sample_record(ModelConfig(layers=4, channels=16), height=1024, width=2048)))
    assert "every image costs the same" in words(cost_figure(sample_record(ModelConfig(layers=3, gate="none"))))
    assert cost_figure(sample_record(SMALL, images=40)).alt.startswith("Cost of 40 images")
    assert cost_figure(sample_record(SMALL, images=1)).alt


def test_only_like_is_set_beside_like(record: Record) -> None:
    """The published plane holds a run of ours only by the published protocol; others get a panel of their own."""
    demo = pareto_figure([record])
    assert "not comparable: demo profile, streets" in words(demo)
    assert "ours in a panel apart" in demo.alt
    better = replace(record.metrics, miou_percent=record.metrics.miou_percent + 2)
    twice = pareto_figure([record, replace(record, seed=1, metrics=better, config={**record.config, "seed": 1})])
    assert f"A {percent(record.metrics.miou_percent + 1)} %" in twice.alt
    assert "(mean of 2 seeds)" in twice.alt
    assert "dots are seeds" in words(twice)
    assert "dots are seeds" not in words(demo)
    alone = pareto_figure([])
    assert "ours" not in words(alone).lower()
    full = pareto_figure([published_protocol(record)])
    assert "ours: A 41.2 %" in full.alt
    assert re.search(r"\b1\b", words(full)), "the axis reaches as far as our cheaper point"
    assert "panel apart" not in full.alt
    for text in ("72.8 % at 44.9", "released 79.4 % at 243.1"):
        assert text in alone.alt


def test_example_holds_four_pictures_and_the_route(run_folder: Path, record: Record) -> None:
    name = example_names(record)["dearest"]
    facts = next(image for image in record.images if image.name == name)
    shown = example_figure(run_folder, record, sample_routes(SMALL), "dearest")
    root = ElementTree.fromstring(shown.svg)
    images = [image.get("href", "") for image in root.iter("{http://www.w3.org/2000/svg}image")]
    assert [address[:16] for address in images] == ["data:image/jpeg;", *["data:image/png;b"] * 3]
    # Three quarters of the pixels are labelled; the left half of them is wrong.
    assert "errors: 50.0 % of labelled pixels" in words(shown)
    assert f"{name}, dearest: {macs_text(facts.paper_macs)}, mIoU {facts.miou_percent:.1f} %" in words(shown)
    assert "Its route: " in shown.alt


def test_the_short_example_shows_image_and_prediction_and_says_how_much_is_wrong(
    run_folder: Path, record: Record
) -> None:
    shown = street_figure(run_folder, record, sample_routes(SMALL), "dearest")
    images = ElementTree.fromstring(shown.svg).iter("{http://www.w3.org/2000/svg}image")
    assert [image.get("href", "")[:16] for image in images] == ["data:image/jpeg;", "data:image/png;b"]
    assert "50 % of labelled pixels wrong" in words(shown) and "50 % of labelled pixels wrong" in shown.alt


def test_example_errors_name_file_and_way_out(run_folder: Path, record: Record) -> None:
    routes = sample_routes(SMALL)
    with pytest.raises(UsageError, match="cheapest"):
        example_figure(run_folder, record, routes, "cheap")
    source = run_folder / EXAMPLES / "median"
    Image.fromarray(np.full((40, 80), 77, np.uint8)).save(source / "truth.png")
    with pytest.raises(BlockedError, match=r"truth\.png holds 77"):
        example_figure(run_folder, record, routes, "median")
    Image.fromarray(np.zeros((20, 80), np.uint8)).save(source / "truth.png")
    with pytest.raises(BlockedError, match=r"prediction\.png"):
        example_figure(run_folder, record, routes, "median")
    (source / "image.png").write_bytes(b"no picture")
    with pytest.raises(BlockedError, match=r"image\.png is no readable picture"):
        example_figure(run_folder, record, routes, "median")
    (source / "image.png").unlink()
    with pytest.raises(BlockedError, match=r"cannot read .*image\.png"):
        example_figure(run_folder, record, routes, "median")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.01316, "0.0132"),
        (4.2, "4.20"),
        (9.994, "9.99"),
        (9.996, "10.0"),
        (119.49, "119.5"),
        (-3.2, "-3.20"),
    ],
)
def test_numbers_have_one_form(value: float, text: str) -> None:
    assert significant(value) == text
    assert gmacs(value * 1e9) == text


def test_units_and_signs() -> None:
    assert macs_text(4.2e9) == "4.20 GMACs"
    assert macs_text(13.2e6) == "13.2 MMACs"
    assert macs_of(0.5e9, 9.7e9) == "0.500 of 9.70 GMACs"
    assert [signed(value) for value in (0.44, -1.25, 0.01)] == ["+0.4", "−1.2", "±0.0"]
