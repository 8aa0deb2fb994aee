"""plausible.py: annotations that cannot be right are refused before anything is trained on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dynroute_core.data.camvid import camvid
from dynroute_core.data.cityscapes import cityscapes
from dynroute_core.data.dataset import DataError
from dynroute_core.data.plausible import LOOKED_AT, require_labels
from dynroute_core.experiments import experiment
from dynroute_core.runs.plan import open_data

ROAD, SIDEWALK, CAR, SKY = 7, 8, 26, 23  # label ids


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def in_layout(root: Path, *values: list[int], kind: str = "labelIds") -> Path:
    """Data of one's own in the Cityscapes layout, an image for each list of the values that its annotation holds."""
    for split in ("train", "val"):
        for number, held in enumerate(values):
            label = np.array([held] * 4, np.uint8)
            write(root / f"leftImg8bit/{split}/town/{number}_leftImg8bit.png", np.zeros((*label.shape, 3), np.uint8))
            write(root / f"gtFine/{split}/town/{number}_gtFine_{kind}.png", label)
    return root


@pytest.mark.parametrize(
    ("values", "kind", "says"),
    [
        ([0, 1, 2, 3, 4, 5], "labelIds", r"none of 3 annotations .* a labelled pixel: .*0\.\.5 read as label_id"),
        ([255, 255], "labelTrainIds", "a labelled pixel: .*255 read as train_id"),
        ([*range(19), 255], "labelIds", r"read as label_id, but .*0\.\.18, 255.* look like train ids"),
        ([0, 1, 2, 8, 10, 13], "labelIds", r"look like train ids.*\*_gtFine_labelTrainIds\.png"),
    ],
)
def test_a_run_on_labels_that_cannot_be_right_is_refused(
    tmp_path: Path, values: list[int], kind: str, says: str
) -> None:
    root = in_layout(tmp_path, *[values] * 4, kind=kind)
    with pytest.raises(DataError, match=says):
        open_data(experiment("dynamic-a", profile="smoke", data="streets"), root)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([[ROAD, SIDEWALK, CAR, SKY, 255]], "labelIds"),
        ([[0, 1, 2, 3, 4, CAR]], "labelIds"),  # nearly all void, but no train id is 26
        ([[0, ROAD]], "labelIds"),  # data with a single class
        ([[0, 0], [0, 0], [0, ROAD]], "labelIds"),
        ([[*range(19), 255]], "labelTrainIds"),
    ],
)
def test_labels_that_can_be_right_are_taken(tmp_path: Path, values: list[list[int]], kind: str) -> None:
    require_labels(cityscapes(in_layout(tmp_path, *values, kind=kind), "val"))


def test_images_without_labels_are_no_objection_to_others(tmp_path: Path) -> None:
    """Those looked at are spread over the split, and a long stretch without labels is not all of it."""
    require_labels(cityscapes(in_layout(tmp_path, *[[0]] * LOOKED_AT, *[[CAR]] * LOOKED_AT), "val"))


def test_camvid_without_a_labelled_pixel_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "val/a.png", np.zeros((4, 4, 3), np.uint8))
    for value, refused in ((11, True), (10, False)):
        write(tmp_path / "valannot/a.png", np.full((4, 4), value, np.uint8))
        if refused:
            with pytest.raises(DataError, match="11 read as camvid_id"):
                require_labels(camvid(tmp_path, "val"))
        else:
            require_labels(camvid(tmp_path, "val"))


def test_values_that_no_class_has_are_left_to_the_reader(tmp_path: Path) -> None:
    data = cityscapes(in_layout(tmp_path, [0, 77]), "val")
    require_labels(data)
    with pytest.raises(DataError, match=r"outside the label table: 77"):
        data[0]
