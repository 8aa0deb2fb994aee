"""Pictures of data sets: pixels are counted again here, wrong input is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dynroute_core.data.dataset import Sample
from dynroute_core.data.labels import CITYSCAPES, IGNORE
from dynroute_core.experiments import experiment
from dynroute_suite.figures.data import (
    class_share_figure,
    count_pixels,
    count_words,
    sample_figure,
    street,
    training_crops,
)


def sample(values: list[int], name: str = "a") -> Sample:
    label = np.array([values], dtype=np.uint8)
    return Sample(name, np.zeros((*label.shape, 3), np.uint8), label)


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
