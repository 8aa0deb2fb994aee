"""The data sets, by name. A new one is a file that makes its `DataSource`, and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dynroute_core.data import camvid, cityscapes
from dynroute_core.data.dataset import SegmentationDataset
from dynroute_core.data.source import DataSource
from dynroute_core.data.streets import source as streets
from dynroute_core.system.errors import suggest

DATASETS: Mapping[str, DataSource] = {
    each.name: each
    for each in (
        streets.SOURCE,
        camvid.SOURCE,
        cityscapes.SOURCE,
    )
}


def find_dataset(name: str) -> DataSource:
    """The data set of this name. Raises `UsageError` for an unknown one."""
    if name not in DATASETS:
        raise suggest("data set", name, DATASETS)
    return DATASETS[name]


def is_generated(name: str) -> bool:
    """Whether this is a data set that the suite makes itself: its pictures may be shown."""
    return name in DATASETS and DATASETS[name].generate is not None


def open_dataset(name: str, root: Path, split: str) -> SegmentationDataset:
    """The `split` of a data set in the folder `root`.

    Raises `UsageError` for an unknown name and `DataError` where files are missing.
    """
    return find_dataset(name).read(root, split)
