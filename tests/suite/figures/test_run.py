"""A run's figures: same bytes twice, the record's numbers in words too, names escaped."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from dynroute_core.losses import Budget
from dynroute_core.recipe import TrainConfig
from dynroute_core.runs.record import Record
from dynroute_core.space import ModelConfig
from dynroute_suite.figures.run import class_iou_figure, cost_figure, curve_figure
from dynroute_suite.report.numbers import significant
from support.pictures import NASTY, words
from support.sample_records import sample_curve, sample_record

SMALL = ModelConfig(layers=4, channels=4, gate="small")
BUDGETED = TrainConfig(iterations=600, budget=Budget(weight=1, target=0.2, descent=0.3), budget_macs=4e7)


@pytest.fixture(scope="module")
def record() -> Record:
    return sample_record(SMALL)


def test_ids_of_two_figures_do_not_meet(record: Record) -> None:
    pages = [cost_figure(record).svg, class_iou_figure(record).svg, curve_figure(sample_curve(), title="t").svg]
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in pages]
    assert all(ids), "clip paths have ids"
    assert not ids[0] & ids[1]
    assert not ids[0] & ids[2]
    for svg, own in zip(pages, ids, strict=True):
        assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg)) == own


def test_same_input_same_bytes(record: Record) -> None:
    curve = sample_curve()
    for make in (
        lambda: curve_figure(curve, title="t", train=BUDGETED),
        lambda: class_iou_figure(record),
        lambda: cost_figure(record),
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
