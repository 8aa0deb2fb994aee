"""Figures of a setting's seeds: their numbers in words, every seed drawn, the same bytes twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dynroute_core.losses import Budget
from dynroute_core.runs.record import Record
from dynroute_core.train import TrainConfig
from dynroute_suite.figures.run import class_iou_figure
from dynroute_suite.figures.seeds import MOST_POINTS, learning_figure, outcome_figure
from support.pictures import NASTY, words
from support.sample_records import sample_curve, sample_record

RECORD = sample_record(row="dynamic-a")
BUDGETED = TrainConfig(iterations=600, budget=Budget(weight=1, target=0.2), budget_macs=4e7)


def with_miou(value: float) -> Record:
    return replace(RECORD, metrics=replace(RECORD.metrics, miou_percent=value))


def test_the_outcome_says_mean_spread_and_how_many() -> None:
    shown = outcome_figure([(NASTY, [with_miou(40.0), with_miou(44.0)]), ("one", [with_miou(10.0)])])
    assert "mIoU (%) 42.0 ± 2.8 over 2 seeds" in shown.alt
    assert "one: mIoU (%) 10.0, cost" in shown.alt
    assert NASTY in words(shown)


def test_every_seed_has_a_line_and_every_line_few_points() -> None:
    curve = sample_curve(10 * MOST_POINTS)
    single, several = (learning_figure([curve] * count, title=NASTY, train=BUDGETED) for count in (1, 3))
    assert several.svg.count("#0072b2") == 3 * single.svg.count("#0072b2") == 9
    longest = max(several.svg.split(' d="'), key=len).split('"')[0]
    assert len(longest.split()) <= 2 * MOST_POINTS
    assert "3 seeds" in several.alt and "iteration 240" in several.alt
    assert "budget" not in learning_figure([curve], title="t", train=TrainConfig()).alt


def test_an_empty_curve_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        learning_figure([sample_curve(), []], title="t", train=BUDGETED)


def test_classes_of_several_seeds_show_their_mean() -> None:
    halved = {name: None if value is None else value / 2 for name, value in RECORD.metrics.class_iou_percent.items()}
    other = replace(RECORD, metrics=replace(RECORD.metrics, class_iou_percent=halved))
    shown = class_iou_figure(RECORD, other)
    assert "2 seeds" in shown.alt
    assert f"road {0.75 * (RECORD.metrics.class_iou_percent['road'] or 0):.1f}" in shown.alt
    assert shown.html == class_iou_figure(RECORD, other).html
