"""Whether a split's annotations can be what they are read as; else a training on nothing would end with an mIoU of 0.

Takes a `SegmentationDataset`; reads a few of its annotations, and raises a `DataError` with the likely reason.
"""

from __future__ import annotations

import numpy as np

from dynroute_core.data.dataset import (
    TRAIN_ID,
    Bytes,
    DataError,
    SegmentationDataset,
    label_table,
    label_values,
    ranges,
)
from dynroute_core.data.labels import IGNORE, UNKNOWN, ClassSet, train_id_table

LOOKED_AT = 8
"""Annotations read of a split, spread over it: that none of so many has a labelled pixel is no accident."""

LEAST_VOID = 4
"""Void values that make other numbers likely: train ids below 7 alone are seven of them, read as label ids."""

TRAIN_IDS_STEP = "Train ids belong into files that are named for them: *_gtFine_labelTrainIds.png in Cityscapes' layout"


def require_labels(dataset: SegmentationDataset) -> None:
    """Raises `DataError` where no annotation looked at has a labelled pixel, or train ids stand in place of label ids.

    Values that the table does not know are left to `read_label`, which names file and values.
    """
    some = dataset.subset(min(LOOKED_AT, len(dataset)))
    seen: dict[str, np.ndarray] = {}
    for item in some.items:
        counts = np.bincount(label_values(item.label).ravel(), minlength=256)
        seen[item.numbering] = seen.get(item.numbering, 0) + counts
    tables = {numbering: label_table(numbering, dataset.classes) for numbering in seen}
    found = {numbering: np.flatnonzero(counts).astype(np.uint8) for numbering, counts in seen.items()}
    if any((tables[numbering][values] == UNKNOWN).any() for numbering, values in found.items()):
        return
    where = f"{dataset.name}/{dataset.split} in {dataset.root}"
    if all((tables[numbering][values] == IGNORE).all() for numbering, values in found.items()):
        held = "; ".join(f"{ranges(values.tolist())} read as {numbering}" for numbering, values in found.items())
        raise DataError(
            f"{where}: none of {len(some)} annotations looked at has a labelled pixel: their values ({held}) are all "
            f"ignored, so there is nothing to learn or to measure. Number the classes as the data set does. "
            f"{TRAIN_IDS_STEP}."
        )
    for numbering, values in found.items():
        if numbering != TRAIN_ID and _look_like_train_ids(values, tables[numbering], dataset.classes):
            raise DataError(
                f"{where}: {len(some)} annotations looked at are read as {numbering}, but their values "
                f"({ranges(values.tolist())}) look like train ids: most classes would be ignored, the rest taken for "
                f"others. {TRAIN_IDS_STEP}."
            )


def _look_like_train_ids(values: Bytes, table: Bytes, classes: ClassSet) -> bool:
    """Whether values could be train ids, and as what they are read as make little sense: at least half are void."""
    could_be = bool((train_id_table(classes)[values] != UNKNOWN).all())
    void = int((table[values] == IGNORE).sum())
    return could_be and void >= LEAST_VOID and 2 * void >= len(values)
