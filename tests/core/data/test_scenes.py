"""The kinds of street scenes: few large objects, many small ones, half of each; told apart by an image's name."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from dynroute_core.data.dataset import Item, SegmentationDataset
from dynroute_core.data.labels import CITYSCAPES, IGNORE, label_id_to_train_id
from dynroute_core.data.source import Scenes
from dynroute_core.data.streets.generate import generate_streets, render_scene
from dynroute_core.data.streets.layout import Kind, kind_of, places
from dynroute_core.data.streets.source import streets
from dynroute_core.experiments import DataConfig, experiment, with_settings
from dynroute_core.runs.plan import find_data
from dynroute_core.system.errors import UsageError

HEIGHT, WIDTH = 128, 256  # at which the demo profile shows them

# Of the four PNG files of the first near and far scene of seed 7 at 64×128, in path order. A change here is a change of
# the data set: raise GENERATOR_VERSION with it.
PINNED = "80a031c5d8204b0219bebb6433008e4ae5f248d0e40c25c0533d4276da9e899a"


def make(root: Path, *, train: int = 2, val: int = 2, scenes: Scenes = "mixed") -> Path:
    return generate_streets(
        root, train=train, val=val, height=64, width=128, seed=7, scenes=scenes, workers=1, progress=False
    )


@cache
def objects(kind: Kind) -> tuple[list[int], list[int], set[int]]:
    """Of sixty scenes: how many objects each has, how many pixels each object has, which train ids there are."""
    counts, areas, classes = [], [], set()
    for index in range(60):
        scene = render_scene(1, index, height=HEIGHT, width=WIDTH, kind=kind)
        pixels = np.unique(scene.instance_ids[scene.instance_ids >= 1000], return_counts=True)[1].tolist()
        counts.append(len(pixels))
        areas += pixels
        classes |= set(np.unique(label_id_to_train_id[scene.label_ids]).tolist())
    return counts, areas, classes


def test_near_objects_are_larger_and_far_ones_are_more() -> None:
    near_counts, near_areas, _ = objects("near")
    far_counts, far_areas, _ = objects("far")
    assert np.median(near_areas) >= 4 * np.median(far_areas)
    assert np.median(far_counts) >= 2 * np.median(near_counts)
    assert min(near_counts) >= 1


def test_far_objects_are_more_than_dots() -> None:
    _, areas, _ = objects("far")
    # a cell of the network's finest scale sees 4×4 pixels
    assert np.median(areas) >= 2 * 4 * 4
    assert np.percentile(areas, 10) > 4


@pytest.mark.parametrize("kind", ["near", "far"])
def test_every_class_occurs_in_either_kind(kind: Kind) -> None:
    assert objects(kind)[2] == {*range(19), IGNORE}


def test_the_image_s_name_tells_the_kind(tmp_path: Path) -> None:
    names = [item.name for split in ("train", "val") for item in streets(make(tmp_path / "mixed"), split).items]
    assert names == 2 * ["far/far_000000_000019", "near/near_000000_000019"]
    assert [kind_of(name) for name in names] == 2 * ["far", "near"]
    (ordinary,) = streets(make(tmp_path / "ordinary", train=1, scenes="ordinary"), "train").items
    assert kind_of(ordinary.name) == "ordinary"


@pytest.mark.parametrize("scenes", ["ordinary", "near", "far", "mixed"])
def test_names_are_as_in_cityscapes(scenes: Scenes) -> None:
    stems = [place.stem for place in places(scenes, train=20, val=20)]
    assert all(re.fullmatch(r"(train|val)/([a-z]+)/\2_\d{6}_\d{6}", stem) for stem in stems)
    assert len(set(stems)) == 40


def test_whatever_is_spread_over_a_mixed_split_has_both_kinds() -> None:
    for whole in range(2, 30):
        stems = sorted(place.stem for place in places("mixed", train=whole, val=0))
        items = tuple(Item(stem.removeprefix("train/"), Path(), Path()) for stem in stems)
        split = SegmentationDataset("streets", "train", CITYSCAPES, items, Path())
        for count in range(2, whole + 1):
            kinds = Counter(kind_of(item.name) for item in split.subset(count).items)
            assert abs(kinds["near"] - kinds["far"]) <= 1


def test_a_kind_s_scenes_are_its_own(tmp_path: Path) -> None:
    kinds: tuple[Kind, ...] = ("near", "far", "ordinary")
    images = {kind: render_scene(7, 0, height=64, width=128, kind=kind).image for kind in kinds}
    assert len({image.tobytes() for image in images.values()}) == 3
    mixed = {kind_of(sample.name): sample.image for sample in streets(make(tmp_path), "train")}
    assert np.array_equal(mixed["near"], images["near"])
    assert not np.array_equal(mixed["far"], images["far"])  # the second scene of the set, so of its series


def test_pinned_bytes(tmp_path: Path) -> None:
    digest = hashlib.sha256()
    for path in sorted(make(tmp_path, val=0).rglob("*.png")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    assert digest.hexdigest() == PINNED


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    make(tmp_path, scenes="near")
    assert json.loads((tmp_path / "streets.json").read_text())["scenes"] == "near"
    for other in ("far", "mixed", "ordinary"):
        with pytest.raises(UsageError, match=r'another set of street scenes: .*"scenes": "near"'):
            make(tmp_path, scenes=other)


def test_each_kind_has_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    smoke = experiment("dynamic-a", profile="smoke")
    folders = [
        find_data(with_settings(smoke, {"data.scenes": scenes}).data, None).name for scenes in ("ordinary", "far")
    ]
    assert folders == ["streets-64x128-4+3-seed2020", "streets-64x128-4+3-seed2020-far"]


def test_only_streets_have_kinds() -> None:
    assert DataConfig().scenes == "ordinary"
    camvid = experiment("dynamic-a", profile="smoke", data="camvid")
    with pytest.raises(UsageError, match=r"data\.scenes=near: camvid has ordinary alone; give that"):
        with_settings(camvid, {"data.scenes": "near"})
