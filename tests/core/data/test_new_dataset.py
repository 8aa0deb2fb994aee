"""A data set of one's own, in one object and one line: it trains, is evaluated, and is asked for by its name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dynroute_core.data import datasets
from dynroute_core.data.dataset import Item, SegmentationDataset
from dynroute_core.data.labels import IGNORE, UNKNOWN, ClassSet
from dynroute_core.data.source import Amount, DataSource
from dynroute_core.experiments import experiment, with_settings
from dynroute_core.runs.pipeline import run
from dynroute_core.runs.plan import find_data
from dynroute_core.system.errors import BlockedError
from support.sample_tiny_runs import TINY

TABLE = np.full(256, UNKNOWN, np.uint8)
TABLE[[10, 20, 30]] = 0, 1, IGNORE  # as the file's values say: field, sky, not looked at
CLASSES = ClassSet("fields", ("field", "sky"), ((0, 120, 0), (120, 160, 255)), {"tens": TABLE})


def fields(root: Path, split: str) -> SegmentationDataset:
    items = tuple(Item(p.stem, p, p.with_suffix(".png"), "tens") for p in sorted((root / split).glob("*.jpg")))
    return SegmentationDataset(name="fields", split=split, classes=CLASSES, items=items, root=root)


FIELDS = DataSource(
    name="fields",
    title="fields",
    classes=CLASSES,
    splits=("train", "val"),
    amount=Amount(height=64, width=96),
    read=fields,
    how_to_get="Take photographs of fields.",
    fits_memory=True,
    demo_iterations=600,
    demo_image_share=1.0,
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(datasets, "DATASETS", {**datasets.DATASETS, "fields": FIELDS})  # the line
    draw = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 2)):
        folder = tmp_path / "fields" / split
        folder.mkdir(parents=True)
        for k in range(count):
            Image.fromarray(draw.integers(0, 256, (64, 96, 3), np.uint8)).save(folder / f"{k}.jpg")
            Image.fromarray(draw.choice(np.array([10, 20, 30], np.uint8), (64, 96))).save(folder / f"{k}.png")
    return tmp_path / "fields"


def test_it_trains_and_is_evaluated(root: Path, tmp_path: Path) -> None:
    chosen = experiment("dynamic-a", profile="smoke", data="fields")
    assert (chosen.model.classes, chosen.data.height, chosen.data.cache) == (2, 64, True)
    settings = {name: value for name, value in TINY.items() if not name.startswith("data.")}
    record = run(with_settings(chosen, settings), data_root=root, out=tmp_path / "runs", device="cpu").record
    assert record.data.name == "fields" and record.data.class_names == ("field", "sky")
    assert (record.data.train_images, record.data.val_images) == (3, 2)
    assert record.label.startswith("dynamic-a (smoke profile, fields")


def test_its_folder_is_asked_for_with_what_its_file_says(root: Path) -> None:
    with pytest.raises(BlockedError, match=r"Take photographs of fields\. Then give --data fields=FOLDER"):
        find_data(experiment("dynamic-a", profile="demo", data="fields").data, None)
