"""The Cityscapes layout on disk → a `SegmentationDataset`; generated scenes in the same layout use it too; and
Cityscapes' `DataSource`.

Takes the folder that holds `leftImg8bit/` and `gtFine/`; gives the pairs of one split, sorted by city and
name. Looks at names only: the files' content is checked when they are decoded (dataset.py). Fine annotations
only.
"""

from __future__ import annotations

from pathlib import Path

from dynroute_core.data.dataset import DataError, Item, SegmentationDataset
from dynroute_core.data.labels import CITYSCAPES
from dynroute_core.data.pairs import PICTURES, Expected, by_name, misplaced, require_partners
from dynroute_core.data.source import Amount, DataSource
from dynroute_core.system.files import visible

_IMAGE, _LABEL_IDS, _TRAIN_IDS = "_leftImg8bit.png", "_gtFine_labelIds.png", "_gtFine_labelTrainIds.png"
_IMAGES = tuple(_IMAGE.lower().replace(".png", ending) for ending in PICTURES)

HOW_TO_GET = (
    "To get Cityscapes: register at www.cityscapes-dataset.com, download leftImg8bit_trainvaltest.zip and "
    "gtFine_trainvaltest.zip and unpack both into one folder."
)


def cityscapes(
    root: Path, split: str, *, name: str = "cityscapes", how_to_get: str = HOW_TO_GET
) -> SegmentationDataset:
    """The pairs of `split`, one of train, val and test: all `leftImg8bit/<split>/<city>/*_leftImg8bit.png` (or .jpg).

    Their annotations are `gtFine/<split>/<city>/*_gtFine_labelTrainIds.png` where these have been made, else
    `*_gtFine_labelIds.png`. `name` and
    `how_to_get` are for other data in this layout. Raises `DataError` where a folder is missing or empty, or
    an image and an annotation have no partner.
    """
    image_folder, label_folder = root / "leftImg8bit" / split, root / "gtFine" / split
    if not root.is_dir():
        raise DataError(f"{name}: there is no folder {root}. {how_to_get}")
    for folder in (image_folder, label_folder):
        if not folder.is_dir():
            there = ", ".join(p.name for p in visible(folder.parent, "*") if p.is_dir())
            known = f"{folder.parent} has {there or 'no folders'}"
            step = misplaced(root, folder.relative_to(root).as_posix()) or how_to_get
            raise DataError(f"{name}: there is no folder {folder}; {known}. {step}")
    images = by_name(name, image_folder, "*/*", _IMAGES)
    label_ids, train_ids = (by_name(name, label_folder, "*/*", (end.lower(),)) for end in (_LABEL_IDS, _TRAIN_IDS))
    if not images:
        raise DataError(f"{name}: {image_folder} has no */*{_IMAGE}. {how_to_get}")
    require_partners(
        name,
        images,
        label_ids | train_ids,
        image=Expected(
            lambda stem: f"{image_folder / stem}{_IMAGE}", "Unpack leftImg8bit again, or remove the annotations."
        ),
        label=Expected(lambda stem: f"{label_folder / stem}{_LABEL_IDS}", "Unpack gtFine again, or remove the images."),
    )
    items = tuple(
        Item(stem, images[stem], train_ids[stem], "train_id")
        if stem in train_ids
        else Item(stem, images[stem], label_ids[stem], "label_id")
        for stem in sorted(images)
    )
    return SegmentationDataset(name=name, split=split, classes=CITYSCAPES, items=items, root=root)


SOURCE = DataSource(
    name="cityscapes",
    title="Cityscapes",
    classes=CITYSCAPES,
    splits=("train", "val", "test"),
    amount=Amount(height=1024, width=2048),
    read=cityscapes,
    how_to_get=HOW_TO_GET,
    fits_memory=False,
    demo_iterations=2400,
    demo_image_share=0.25,
)
