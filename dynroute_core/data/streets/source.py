"""Generated streets as a data set: Cityscapes' classes and layout, as many scenes as a profile asks for."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from dynroute_core.data.cityscapes import cityscapes
from dynroute_core.data.dataset import SegmentationDataset
from dynroute_core.data.labels import CITYSCAPES
from dynroute_core.data.source import Amount, DataSource, Scenes
from dynroute_core.data.streets.generate import UNFINISHED, generate_streets

HOW_TO_GET = "Streets are generated: remove the folder, or empty it, and run the same command again."


def streets(root: Path, split: str) -> SegmentationDataset:
    """The scenes of a split, train or val. Raises as `cityscapes`."""
    return cityscapes(root, split, name="streets", how_to_get=HOW_TO_GET)


SOURCE = DataSource(
    name="streets",
    title="generated streets",
    classes=CITYSCAPES,
    splits=("train", "val"),
    amount=Amount(height=256, width=512, train_images=400, val_images=40),
    amounts={
        "smoke": Amount(height=64, width=128, train_images=4, val_images=3),
        "full": Amount(height=1024, width=2048, train_images=2975, val_images=500),  # as Cityscapes
    },
    read=streets,
    how_to_get=HOW_TO_GET,
    scenes=get_args(Scenes),
    generate=generate_streets,
    unfinished=UNFINISHED,
    fits_memory=True,
    demo_iterations=2400,
    demo_image_share=0.5,
)
