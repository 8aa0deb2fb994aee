"""Figures and tables of the pages on space, gates and data: numbers are counted again here, wrong input is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dynroute_core.cost import cost_table
from dynroute_core.data.dataset import Sample
from dynroute_core.data.labels import CITYSCAPES, CITYSCAPES_LABELS, IGNORE
from dynroute_core.experiments import experiment
from dynroute_core.space import ModelConfig
from dynroute_suite.book.pages.inside import FRAGMENTS, recorded_factor_figures, recorded_factors
from dynroute_suite.figures.data import (
    class_share_figure,
    count_pixels,
    count_words,
    sample_figure,
    street,
    training_crops,
)
from dynroute_suite.figures.gates import activation_figure, factor_figure, gate_cost_table
from dynroute_suite.report import space_tables
from dynroute_suite.report.numbers import gmacs, share_text
from dynroute_suite.report.routed_runs import Run, routed_runs


def sample(values: list[int], name: str = "a") -> Sample:
    label = np.array([values], dtype=np.uint8)
    return Sample(name, np.zeros((*label.shape, 3), np.uint8), label)


def columns(table: str, index: int) -> list[str]:
    return [line.strip("|").split("|")[index].strip() for line in table.splitlines()[2:]]


@pytest.mark.parametrize("gate", ["full", "small", "none"])
def test_the_space_tables_add_up_to_all_open(gate: str) -> None:
    config = ModelConfig(gate=gate)  # type: ignore[arg-type]
    table = cost_table(config, height=1024, width=2048, accounting="paper")
    parts = [float(value) for value in columns(space_tables.part_table(config), 1)]
    assert parts[-1] == float(gmacs(table.all_open))
    assert sum(parts[:-1]) == pytest.approx(parts[-1], abs=0.3)  # six numbers of one decimal or three digits
    scales = [float(value) for value in columns(space_tables.scale_table(config), 5)]
    assert sum(scales) == pytest.approx((table.all_open - table.stem - table.head) / 1e9, abs=0.3)


def test_the_number_of_routes_is_told() -> None:
    words = space_tables.size_words(ModelConfig(layers=1, channels=4))
    assert "1 layers hold 3 cells and 4 paths" in words
    assert "2^4 sets of open paths, a number of 2 digits" in words  # 16


def test_gate_costs_are_the_accountings_own() -> None:
    lines = gate_cost_table(ModelConfig(), height=1024, width=2048)
    for kind, gates, opened in zip(columns(lines, 0), columns(lines, 1), columns(lines, 3), strict=True):
        table = cost_table(ModelConfig(gate=kind), height=1024, width=2048, accounting="paper")  # type: ignore[arg-type]
        assert (gates, opened) == (gmacs(sum(table.gates.values())), gmacs(table.all_open))


def test_factor_figures_tell_shares_and_medians() -> None:
    values = np.array([0.0, 0.0, 0.0, 0.5, 0.7, 0.9])
    picture = factor_figure({"some": values, "shut": np.zeros(4)}, title="Factors")
    assert "some: 50 % closed, median factor of open paths 0.70" in picture.alt
    assert "shut: 100 % closed, median factor of open paths none" in picture.alt
    assert picture == factor_figure({"some": values, "shut": np.zeros(4)}, title="Factors")
    assert "factor 0.905, slope 0.181" in activation_figure().alt  # tanh 1.5, 1 − tanh² 1.5
    with pytest.raises(ValueError, match="no factors to draw"):
        factor_figure({}, title="Factors")


def test_pixels_are_counted_by_class() -> None:
    counts = count_pixels([sample([0, 0, 1, IGNORE]), sample([0, 2, 2, 2])], CITYSCAPES)
    assert counts.pixels[:4].tolist() == [3, 1, 3, 0]
    assert counts.present[:4].tolist() == [2, 1, 1, 0]
    assert counts.ignored_share == 1 / 8
    words = count_words(counts)
    assert words.startswith("2 pictures, 12.5 % of their pixels ignored. Rarest: sidewalk (14.3 %, in 1)")
    assert "In no picture: wall, fence" in words
    assert "road 42.9, building 42.9, sidewalk 14.3" in class_share_figure(counts, title="Some").alt
    with pytest.raises(ValueError, match="no pixel is labelled"):
        class_share_figure(count_pixels([sample([IGNORE])], CITYSCAPES), title="Some")


def test_crops_are_the_trainings_and_repeat() -> None:
    train = replace(experiment("dynamic-raw", profile="smoke").train, crop_height=32, crop_width=32)
    scene = street(0, 0, height=64, width=128)
    crops = training_crops(scene, train, count=3, seed=1)
    assert [crop.label.shape for crop in crops] == [(32, 32)] * 3
    again = training_crops(scene, train, count=3, seed=1)
    assert all(np.array_equal(a.image, b.image) for a, b in zip(crops, again, strict=True))
    assert not np.array_equal(crops[0].image, crops[1].image)


def test_samples_are_named_and_their_classes_listed() -> None:
    picture = sample_figure([sample([0, 13], "left"), sample([IGNORE], "right")], CITYSCAPES, title="Two")
    assert picture.alt == "Two: 2 pictures beside their truth. In sight: car, road."
    assert ">left<" in picture.svg and picture.svg.count("data:image/png") == 2
    with pytest.raises(ValueError, match="no pictures"):
        sample_figure([], CITYSCAPES, title="None")


def test_factors_of_a_rows_seeds_are_counted_together_and_other_images_apart() -> None:
    runs: dict[tuple[str, str], list[Run]] = {}
    for run in routed_runs():
        told = f"Factors after training: {run.record.profile} profile, {run.record.data.name}"
        runs.setdefault((told, run.record.row), []).append(run)
    assert max(map(len, runs.values())) > 1
    figures = {figure.alt.split(".")[0]: figure.alt for figure in recorded_factor_figures(routed_runs())}
    for (told, row), alike in runs.items():
        closed = float((np.concatenate([recorded_factors(run) for run in alike]) == 0).mean())
        assert f" {row}: {share_text(closed)} closed" in figures[told]


@pytest.mark.parametrize("name", sorted(FRAGMENTS))
def test_fragments_repeat(name: str) -> None:
    assert FRAGMENTS[name]() == FRAGMENTS[name]() != ""


def test_the_class_table_is_the_label_table() -> None:
    assert columns(FRAGMENTS["data-classes"](), 0) == [label.name for label in CITYSCAPES_LABELS]
