"""The label tables: which classes a data set has, how they are numbered, how they are coloured.

Facts only. Two numberings are kept apart by name: a *label id* is what an annotation file holds, a *train id*
is what the network predicts (0, 1, …; 255 = ignored). The Cityscapes table is the official one
(mcordts/cityscapesScripts, helpers/labels.py); the CamVid one is SegNet's 11 classes. Reading files is the
business of the other modules here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

IGNORE = 255
"""The train id of pixels that count neither in the loss nor in the metrics."""

UNKNOWN = 254
"""What the lookup tables hold for values that no label has: readers report these, no loss meets them."""


@dataclass(frozen=True)
class Label:
    """One row of the Cityscapes table; `color` is RGB, `train_id` is 255 where the label is ignored."""

    name: str
    label_id: int
    train_id: int
    category: str
    has_instances: bool
    color: tuple[int, int, int]


CITYSCAPES_LABELS: tuple[Label, ...] = (
    Label("unlabeled", 0, IGNORE, "void", False, (0, 0, 0)),
    Label("ego vehicle", 1, IGNORE, "void", False, (0, 0, 0)),
    Label("rectification border", 2, IGNORE, "void", False, (0, 0, 0)),
    Label("out of roi", 3, IGNORE, "void", False, (0, 0, 0)),
    Label("static", 4, IGNORE, "void", False, (0, 0, 0)),
    Label("dynamic", 5, IGNORE, "void", False, (111, 74, 0)),
    Label("ground", 6, IGNORE, "void", False, (81, 0, 81)),
    Label("road", 7, 0, "flat", False, (128, 64, 128)),
    Label("sidewalk", 8, 1, "flat", False, (244, 35, 232)),
    Label("parking", 9, IGNORE, "flat", False, (250, 170, 160)),
    Label("rail track", 10, IGNORE, "flat", False, (230, 150, 140)),
    Label("building", 11, 2, "construction", False, (70, 70, 70)),
    Label("wall", 12, 3, "construction", False, (102, 102, 156)),
    Label("fence", 13, 4, "construction", False, (190, 153, 153)),
    Label("guard rail", 14, IGNORE, "construction", False, (180, 165, 180)),
    Label("bridge", 15, IGNORE, "construction", False, (150, 100, 100)),
    Label("tunnel", 16, IGNORE, "construction", False, (150, 120, 90)),
    Label("pole", 17, 5, "object", False, (153, 153, 153)),
    Label("polegroup", 18, IGNORE, "object", False, (153, 153, 153)),
    Label("traffic light", 19, 6, "object", False, (250, 170, 30)),
    Label("traffic sign", 20, 7, "object", False, (220, 220, 0)),
    Label("vegetation", 21, 8, "nature", False, (107, 142, 35)),
    Label("terrain", 22, 9, "nature", False, (152, 251, 152)),
    Label("sky", 23, 10, "sky", False, (70, 130, 180)),
    Label("person", 24, 11, "human", True, (220, 20, 60)),
    Label("rider", 25, 12, "human", True, (255, 0, 0)),
    Label("car", 26, 13, "vehicle", True, (0, 0, 142)),
    Label("truck", 27, 14, "vehicle", True, (0, 0, 70)),
    Label("bus", 28, 15, "vehicle", True, (0, 60, 100)),
    Label("caravan", 29, IGNORE, "vehicle", True, (0, 0, 90)),
    Label("trailer", 30, IGNORE, "vehicle", True, (0, 0, 110)),
    Label("train", 31, 16, "vehicle", True, (0, 80, 100)),
    Label("motorcycle", 32, 17, "vehicle", True, (0, 0, 230)),
    Label("bicycle", 33, 18, "vehicle", True, (119, 11, 32)),
    Label("license plate", -1, IGNORE, "vehicle", False, (0, 0, 142)),
)


@dataclass(frozen=True)
class ClassSet:
    """The classes a network predicts, in train-id order; `colors` are RGB.

    numberings: how annotation files number them besides train ids: a name → 256 train ids, by the file's value.
    """

    name: str
    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    numberings: Mapping[str, npt.NDArray[np.uint8]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raises `ValueError` for a table that cannot be right: training would learn nothing by it, or fail late."""
        if len(self.colors) != len(self.names):
            raise ValueError(f"{self.name} has {len(self.names)} classes and {len(self.colors)} colours: give one each")
        for numbering, table in self.numberings.items():
            if table.shape != (256,) or table.dtype != np.uint8:
                raise ValueError(
                    f"{self.name}: {numbering} is {table.dtype} {table.shape}; give 256 train ids as uint8"
                )
            classes = set(table.tolist()) - {IGNORE, UNKNOWN}
            if classes != set(range(len(self.names))):
                raise ValueError(
                    f"{self.name}: {numbering} leads to the train ids {sorted(classes)}; give every class a value, "
                    f"so that they are 0..{len(self.names) - 1}, besides {IGNORE} for ignored, {UNKNOWN} for unknown"
                )

    def __len__(self) -> int:
        return len(self.names)


def _lookup(pairs: Mapping[int, int]) -> npt.NDArray[np.uint8]:
    table = np.full(256, UNKNOWN, dtype=np.uint8)
    for value, train_id in pairs.items():
        table[value] = train_id
    table.setflags(write=False)
    return table


def _trained_labels(labels: tuple[Label, ...]) -> list[Label]:
    return sorted((label for label in labels if label.train_id != IGNORE), key=lambda label: label.train_id)


# An 8-bit file cannot hold -1: the licence plate is stored as 255, which is -1 modulo 256.
label_id_to_train_id: npt.NDArray[np.uint8] = _lookup(
    {label.label_id % 256: label.train_id for label in CITYSCAPES_LABELS}
)
"""Cityscapes label id (0..255) → train id; `UNKNOWN` for ids that the table lacks. Read-only."""

train_id_to_label_id: npt.NDArray[np.uint8] = np.array(
    [label.label_id for label in _trained_labels(CITYSCAPES_LABELS)], dtype=np.uint8
)
"""Cityscapes train id (0..18) → label id, as the test server wants predictions. Read-only."""
train_id_to_label_id.setflags(write=False)

CITYSCAPES = ClassSet(
    name="cityscapes",
    names=tuple(label.name for label in _trained_labels(CITYSCAPES_LABELS)),
    colors=tuple(label.color for label in _trained_labels(CITYSCAPES_LABELS)),
    numberings={"label_id": label_id_to_train_id},
)

_CAMVID_CLASSES: tuple[tuple[str, tuple[int, int, int]], ...] = (
    ("sky", (128, 128, 128)),
    ("building", (128, 0, 0)),
    ("pole", (192, 192, 128)),
    ("road", (128, 64, 128)),
    ("pavement", (60, 40, 222)),
    ("tree", (128, 128, 0)),
    ("sign", (192, 128, 128)),
    ("fence", (64, 64, 128)),
    ("car", (64, 0, 128)),
    ("pedestrian", (64, 64, 0)),
    ("bicyclist", (0, 128, 192)),
)

CAMVID_VOID = 11
"""The value SegNet's CamVid annotations hold for unlabelled pixels."""

camvid_id_to_train_id: npt.NDArray[np.uint8] = _lookup(
    {**{i: i for i in range(len(_CAMVID_CLASSES))}, CAMVID_VOID: IGNORE, IGNORE: IGNORE}
)
"""CamVid annotation value (0..255) → train id; `UNKNOWN` for values that no class has. Read-only."""

CAMVID = ClassSet(
    name="camvid",
    names=tuple(name for name, _ in _CAMVID_CLASSES),
    colors=tuple(color for _, color in _CAMVID_CLASSES),
    numberings={"camvid_id": camvid_id_to_train_id},
)


def train_id_table(classes: ClassSet) -> npt.NDArray[np.uint8]:
    """The lookup for files that hold train ids: 0..classes-1 and 255 to themselves, all else `UNKNOWN`."""
    return _lookup({**{i: i for i in range(len(classes))}, IGNORE: IGNORE})


def colorize(train_ids: npt.NDArray[np.integer], classes: ClassSet) -> npt.NDArray[np.uint8]:
    """Train ids (H×W, any integer type) as an H×W×3 RGB uint8 picture; ignored pixels are black.

    Raises `ValueError` where a value is neither a class nor 255.
    """
    known = (train_ids == IGNORE) | ((train_ids >= 0) & (train_ids < len(classes)))
    if not known.all():
        wrong = sorted({int(value) for value in train_ids[~known]})
        raise ValueError(
            f"cannot colour train ids {wrong[:5]}: {classes.name} has classes 0..{len(classes) - 1}, and "
            f"{IGNORE} is ignored"
        )
    picture: npt.NDArray[np.uint8] = palette(classes)[train_ids]
    return picture


def palette(classes: ClassSet) -> npt.NDArray[np.uint8]:
    """256×3 RGB by train id; black where there is no class."""
    colors = np.zeros((256, 3), dtype=np.uint8)
    colors[: len(classes)] = classes.colors
    return colors
