"""The generated street scenes: layout, exact labels, the same bytes everywhere, resuming, refusing."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from dynroute_core.data.labels import CITYSCAPES_LABELS, IGNORE
from dynroute_core.data.streets.generate import generate_streets, render_scene
from dynroute_core.data.streets.png import encode_png
from dynroute_core.system.errors import BlockedError

HEIGHT, WIDTH = 64, 128
IDS = {label.label_id: label for label in CITYSCAPES_LABELS if 0 <= label.label_id < 256}
NAMES = {label.name: label for label in CITYSCAPES_LABELS}

# Of scene 0 (train) and the first validation scene of seed 7 at 64×128, in path order: the PNG files, and the polygon
# files. A change of the first is a change of the data set: raise GENERATOR_VERSION with it.
PINNED = {
    ".png": "50f128047b8d23124c5a51cb3f45d0135a4410cdd5bcd21dcc5707bb9966d919",
    "_polygons.json": "e130b475bc32aeaaa37e2cd9e3fac97cd1551c64fe287925fbcf16458b191fd1",
}


def make(root: Path, *, train: int = 1, val: int = 1, seed: int = 7, workers: int = 1) -> Path:
    return generate_streets(
        root, train=train, val=val, height=HEIGHT, width=WIDTH, seed=seed, workers=workers, progress=False
    )


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_layout_and_names(tmp_path: Path) -> None:
    root = make(tmp_path / "new" / "set", train=2, val=1)
    names = {name for name in contents(root) if name != "streets.json"}
    assert "leftImg8bit/train/alderbruck/alderbruck_000000_000019_leftImg8bit.png" in names
    assert "leftImg8bit/val/ivenstadt/ivenstadt_000000_000019_leftImg8bit.png" in names
    for image in [name for name in names if name.startswith("leftImg8bit/")]:
        stem = image.replace("leftImg8bit/", "gtFine/", 1).removesuffix("_leftImg8bit.png")
        for kind in ("labelIds.png", "instanceIds.png", "color.png", "polygons.json"):
            assert f"{stem}_gtFine_{kind}" in names
    assert len(names) == 3 * 5
    manifest = json.loads((root / "streets.json").read_text())
    assert (manifest["seed"], manifest["height"], manifest["width"]) == (7, HEIGHT, WIDTH)
    assert (manifest["train"], manifest["val"]) == (2, 1)


def test_files_hold_the_scene(tmp_path: Path) -> None:
    root = make(tmp_path)
    scene = render_scene(7, 0, height=HEIGHT, width=WIDTH)
    stem = "train/alderbruck/alderbruck_000000_000019"
    image = cv2.imread(str(root / "leftImg8bit" / f"{stem}_leftImg8bit.png"))
    assert np.array_equal(image, scene.image)
    annotation = root / "gtFine" / stem
    labels = cv2.imread(f"{annotation}_gtFine_labelIds.png", cv2.IMREAD_UNCHANGED)
    assert np.array_equal(labels, scene.label_ids)
    instances = cv2.imread(f"{annotation}_gtFine_instanceIds.png", cv2.IMREAD_UNCHANGED)
    assert instances is not None
    assert instances.dtype == np.uint16
    assert np.array_equal(instances, scene.instance_ids)
    colours = cv2.imread(f"{annotation}_gtFine_color.png")
    assert colours is not None
    road = NAMES["road"]
    assert (colours[scene.label_ids == road.label_id] == road.color[::-1]).all()


@pytest.mark.parametrize("ending", list(PINNED))
def test_pinned_bytes(tmp_path: Path, ending: str) -> None:
    digest = hashlib.sha256()
    for name, data in contents(make(tmp_path)).items():
        if name.endswith(ending):
            digest.update(name.encode() + b"\0" + data)
    assert digest.hexdigest() == PINNED[ending]


def test_same_bytes_for_any_number_of_workers(tmp_path: Path) -> None:
    one, two = make(tmp_path / "one", train=8, val=2), make(tmp_path / "two", train=8, val=2, workers=2)
    assert contents(one) == contents(two)


def test_processes_that_cannot_start_block_with_what_is_lacking(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(os.devnull, os.O_RDONLY)  # the lowest number that is free
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 6, hard))  # enough for the folder's lock alone
    try:
        with pytest.raises(BlockedError, match=r"Too many open files.*ulimit -n"):
            make(tmp_path, train=8, workers=4)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_growing_training_leaves_validation_alone(tmp_path: Path) -> None:
    small, large = contents(make(tmp_path / "small")), contents(make(tmp_path / "large", train=3))
    assert all(large[name] == data for name, data in small.items() if name != "streets.json")


def test_every_class_occurs_and_ids_are_valid() -> None:
    seen: set[int] = set()
    shares = []
    for index in range(60):
        scene = render_scene(1, index, height=HEIGHT, width=WIDTH)
        assert scene.image.shape == (HEIGHT, WIDTH, 3)
        present = np.unique(scene.label_ids)
        assert set(present.tolist()) <= set(IDS)
        seen |= {IDS[int(value)].train_id for value in present}
        instances = scene.instance_ids.astype(np.int64)
        owner = np.where(instances >= 1000, instances // 1000, instances)
        assert np.array_equal(owner, scene.label_ids)
        for value in np.unique(instances):
            assert IDS[int(value) // 1000 if value >= 1000 else int(value)].has_instances == (value >= 1000)
        counts = np.unique(instances[instances >= 1000], return_counts=True)[1]
        shares.append(counts.max() / instances.size if counts.size else 0.0)
    assert seen == {*range(19), IGNORE}
    shares.sort()
    # scale varies: what is large in one scene is more than ten times as large as in another
    assert shares[-6] > 10 * shares[5] > 0


@pytest.mark.parametrize("index", [0, 3, 11])
def test_polygons_redraw_the_labels(index: int) -> None:
    scene = render_scene(2, index, height=HEIGHT, width=WIDTH)
    drawn = np.zeros((HEIGHT, WIDTH), np.uint8)
    for label, polygon in scene.polygons:
        points = np.array(polygon, np.int32)
        assert (points >= 0).all()
        assert (points < (WIDTH, HEIGHT)).all()
        cv2.fillPoly(drawn, [points], (NAMES[label].label_id,))
    assert np.array_equal(drawn, scene.label_ids)


def test_polygon_file(tmp_path: Path) -> None:
    root = make(tmp_path, val=0)
    (path,) = root.rglob("*_polygons.json")
    outline = json.loads(path.read_text())
    assert (outline["imgHeight"], outline["imgWidth"]) == (HEIGHT, WIDTH)
    assert {"road", "sky"} <= {entry["label"] for entry in outline["objects"]}


@pytest.mark.parametrize("size", [(33, 47), (16, 16), (16, 90), (75, 18)])
def test_odd_sizes(size: tuple[int, int]) -> None:
    for index in range(3):
        scene = render_scene(3, index, height=size[0], width=size[1])
        assert scene.image.shape == (*size, 3)
        assert scene.label_ids.shape == scene.instance_ids.shape == size


def test_finished_set_is_left_alone(tmp_path: Path) -> None:
    root = make(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    make(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_interrupted_set_is_completed(tmp_path: Path) -> None:
    root = make(tmp_path, train=3)
    whole = contents(root)
    (root / "streets.json").rename(root / "streets.unfinished.json")
    victims = sorted(root.rglob("*birkenau*"), key=str)
    victims = [path for path in victims if path.is_file()][:3]
    for path in victims:
        path.unlink()
    kept = next(iter(sorted(root.rglob("alderbruck*_color.png"))))
    stamp = kept.stat().st_mtime_ns
    stale = kept.with_name(f".{kept.name}.1.tmp")
    stale.write_bytes(b"half")
    make(tmp_path, train=3)
    assert contents(root) == whole
    assert kept.stat().st_mtime_ns == stamp


def test_interrupt_leaves_a_resumable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dynroute_core.data.streets import generate as streets

    real, calls = streets._make, []

    def make_two(job: streets.Job) -> None:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(job)
        real(job)

    monkeypatch.setattr(streets, "_make", make_two)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "set", train=4)
    assert not (tmp_path / "set" / "streets.json").exists()
    monkeypatch.undo()
    assert contents(make(tmp_path / "set", train=4)) == contents(make(tmp_path / "fresh", train=4))


def test_another_set_or_foreign_files_are_refused(tmp_path: Path) -> None:
    make(tmp_path / "set")
    with pytest.raises(ValueError, match="another set of street scenes"):
        make(tmp_path / "set", seed=8)
    foreign = tmp_path / "foreign"
    (foreign / "leftImg8bit").mkdir(parents=True)
    with pytest.raises(ValueError, match="leftImg8bit"):
        make(foreign)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        make(tmp_path / "file")


def test_bad_parameters_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 16"):
        render_scene(0, 0, height=15, width=64)
    with pytest.raises(ValueError, match="negative"):
        render_scene(0, -1, height=64, width=64)
    with pytest.raises(ValueError, match="train is -1"):
        make(tmp_path, train=-1)
    with pytest.raises(ValueError, match="workers is 0"):
        make(tmp_path, workers=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_of_many_blocks(dtype: type[np.uint8] | type[np.uint16]) -> None:
    pixels = (np.arange(300 * 401) * 7919).reshape(300, 401).astype(dtype)
    data = encode_png(pixels)
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(read, pixels)
    start = data.index(b"IDAT") + 4
    assert len(zlib.decompress(data[start : data.index(b"IEND") - 8])) == 300 * (401 * pixels.itemsize + 1)
    with pytest.raises(ValueError, match="H×W"):
        encode_png(np.zeros((2, 2, 2), np.uint8))
