"""labels.py: the tables agree with each other and with the official numbering."""

from __future__ import annotations

import numpy as np
import pytest

from dynroute_core.data.labels import (
    CAMVID,
    CITYSCAPES,
    CITYSCAPES_LABELS,
    IGNORE,
    UNKNOWN,
    ClassSet,
    camvid_id_to_train_id,
    colorize,
    label_id_to_train_id,
    train_id_table,
)


def test_every_official_label_is_there_once() -> None:
    assert sorted(label.label_id for label in CITYSCAPES_LABELS) == list(range(-1, 34))
    assert len({label.name for label in CITYSCAPES_LABELS}) == 35
    assert {label.category for label in CITYSCAPES_LABELS} == {
        *("void", "flat", "construction", "object", "nature", "sky", "human", "vehicle")
    }
    assert [label.name for label in CITYSCAPES_LABELS if label.has_instances] == [
        *("person", "rider", "car", "truck", "bus", "caravan", "trailer", "train", "motorcycle", "bicycle")
    ]


def test_train_ids_are_the_nineteen_of_the_benchmark() -> None:
    assert CITYSCAPES.names == (
        *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign"),
        *("vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle"),
        "bicycle",
    )
    by_name = {label.name: label for label in CITYSCAPES_LABELS}
    for train_id, (name, color) in enumerate(zip(CITYSCAPES.names, CITYSCAPES.colors, strict=True)):
        assert (by_name[name].train_id, by_name[name].color) == (train_id, color)


def test_lookup_maps_known_ids_and_marks_all_others() -> None:
    for label in CITYSCAPES_LABELS:
        assert label_id_to_train_id[label.label_id % 256] == label.train_id
    assert (label_id_to_train_id[34:255] == UNKNOWN).all()
    assert label_id_to_train_id[255] == IGNORE  # the licence plate, -1, in an 8-bit file
    assert camvid_id_to_train_id[:13].tolist() == [*range(11), IGNORE, UNKNOWN]
    assert train_id_table(CAMVID)[10:12].tolist() == [10, UNKNOWN]


def test_lookup_cannot_be_changed_by_accident() -> None:
    with pytest.raises(ValueError, match="read-only"):
        label_id_to_train_id[0] = 3


def test_camvid_has_eleven_distinct_classes_in_segnet_order() -> None:
    assert len(CAMVID) == len(set(CAMVID.names)) == len(set(CAMVID.colors)) == 11
    assert CAMVID.names[0] == "sky" and CAMVID.names[3] == "road" and CAMVID.names[10] == "bicyclist"


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_colorize_gives_rgb_and_black_for_ignored(dtype: type) -> None:
    picture = colorize(np.array([[0, 18, 255]], dtype=dtype), CITYSCAPES)
    assert picture.dtype == np.uint8
    assert picture.tolist() == [[[128, 64, 128], [119, 11, 32], [0, 0, 0]]]


@pytest.mark.parametrize("value", [-1, 11, 254])
def test_colorize_refuses_what_is_no_class(value: int) -> None:
    with pytest.raises(ValueError, match=rf"\[{value}\].*0\.\.10"):
        colorize(np.array([[value]]), CAMVID)


@pytest.mark.parametrize(
    ("colors", "table", "says"),
    [
        (1, [0, 1], "2 classes and 1 colours"),
        (2, [0, 0], r"train ids \[0\]; give every class a value"),
        (2, [0, 1, 2], r"train ids \[0, 1, 2\].*they are 0\.\.1"),
    ],
)
def test_a_class_table_that_cannot_be_right_is_refused(colors: int, table: list[int], says: str) -> None:
    values = np.full(256, UNKNOWN, np.uint8)
    values[: len(table)] = table
    with pytest.raises(ValueError, match=says):
        ClassSet("two", ("a", "b"), ((0, 0, 0),) * colors, {"own": values})
    with pytest.raises(ValueError, match="give 256 train ids"):
        ClassSet("two", ("a", "b"), ((0, 0, 0),) * 2, {"own": values[:9]})
