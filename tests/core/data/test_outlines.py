"""Polygon files of street scenes: drawn by the official tools, they are the label and instance images."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dynroute_core.data.labels import CITYSCAPES_LABELS
from dynroute_core.data.streets.generate import generate_streets, render_scene
from dynroute_core.data.streets.outlines import outlines

LABELS = {label.name: label for label in CITYSCAPES_LABELS}
CAR = LABELS["car"].label_id * 1000
SCENE_IN_PARTS = 35  # of ordinary scenes of seed 1 at 64×128: the parts of an object have another instance between them


@pytest.fixture
def official_drawing():
    from support.official import official_drawing

    return official_drawing


def squares(*places: tuple[int, int]) -> list[np.ndarray]:
    """Contours of 3×3 pixels, each with its upper left corner at (x, y)."""
    return [np.array([[x, y], [x, y + 2], [x + 2, y + 2], [x + 2, y]], np.int32)[:, None] for x, y in places]


def test_parts_of_one_object_are_one_polygon_and_what_joins_them_is_drawn_again() -> None:
    below = np.full((20, 20), LABELS["road"].label_id, np.uint16)
    below[:, 5] = CAR + 4
    found = outlines(LABELS["bicycle"], squares((1, 1), (9, 6), (15, 12)), below)
    names = [name for name, _ in found]
    assert names[0] == "bicycle" and set(names[1:]) == {"road", "cargroup"}
    drawn = below.copy()
    for name, polygon in found:
        cv2.fillPoly(drawn, [np.array(polygon)], (LABELS[name.removesuffix("group")].label_id,))
    parts = drawn == LABELS["bicycle"].label_id
    assert parts.sum() == 3 * 9
    assert parts[1:4, 1:4].all() and parts[6:9, 9:12].all() and parts[12:15, 15:18].all()
    assert (drawn[:, 5] == LABELS["car"].label_id).sum() == 1  # the one pixel that a line covers


def test_parts_without_instances_stay_polygons_of_their_own() -> None:
    below = np.zeros((20, 20), np.uint16)
    assert [name for name, _ in outlines(LABELS["pole"], squares((1, 1), (9, 6)), below)] == ["pole", "pole"]


def test_no_polygon_has_less_than_three_points() -> None:
    below = np.zeros((4, 4), np.uint16)
    for points in ([[1, 1]], [[1, 1], [1, 3]]):
        ((_, polygon),) = outlines(LABELS["car"], [np.array(points, np.int32)[:, None]], below)
        assert len(polygon) == 3 and polygon[: len(points)] == points
    assert all(len(polygon) >= 3 for _, polygon in render_scene(1, 0, height=64, width=128).polygons)


@pytest.mark.suite  # cityscapesScripts is not among the core's dependencies
@pytest.mark.parametrize("scenes", ["ordinary", "mixed"])
def test_the_official_tools_draw_our_images(official_drawing, tmp_path: Path, scenes) -> None:
    root = generate_streets(
        tmp_path,
        train=SCENE_IN_PARTS + 1,
        val=1,
        height=64,
        width=128,
        seed=1,
        scenes=scenes,
        workers=1,
        progress=False,
    )
    for path in sorted(root.rglob("*_polygons.json")):
        labels, instances = official_drawing(path)
        stem = str(path).removesuffix("polygons.json")
        assert np.array_equal(labels, cv2.imread(f"{stem}labelIds.png", cv2.IMREAD_UNCHANGED)), path
        ours = cv2.imread(f"{stem}instanceIds.png", cv2.IMREAD_UNCHANGED).astype(np.int64)
        # a pixel of a group lies in a line between an object's parts, over another instance
        group = (instances < 1000) & (ours >= 1000)
        assert np.array_equal(instances[~group], ours[~group]), path
        assert group.sum() <= path.read_text().count('group"'), path
        assert np.array_equal(np.unique(instances[~group]), np.unique(ours)), path


def test_one_of_these_scenes_has_an_object_in_parts() -> None:
    scene = render_scene(1, SCENE_IN_PARTS, height=64, width=128)
    assert any(name.endswith("group") for name, _ in scene.polygons)
