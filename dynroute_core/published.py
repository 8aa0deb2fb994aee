"""The published numbers, each with its source. Facts only: comparing them with ours is the report's business.

Two sets exist for every row and differ: the paper's tables, and the table in the released code's README. Their costs
follow two accountings (see `cost.py`): the paper's column compares with `"paper"`, the release's with `"repo"`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PAPER = "Li et al., Learning Dynamic Routing for Semantic Segmentation, CVPR 2020, tables"
RELEASE = "README of yanwei-li/DynamicRouting, commit 6a88d01"

PROTOCOL = (
    "Cityscapes val, 500 images, single scale, 1024×2048; "
    "costs in GFLOPs at 1024×2048 (one multiply-accumulate counts one)"
)
# Rows whose published training starts from ImageNet weights.
FROM_IMAGENET = ("dynamic-raw-imagenet", "dynamic-raw-l33-imagenet")
PROTOCOL_PROFILE, PROTOCOL_DATA, PROTOCOL_IMAGES = "full", "cityscapes", 500
PROTOCOL_HEIGHT, PROTOCOL_WIDTH = 1024, 2048


@dataclass(frozen=True)
class Published:
    """One row's published numbers: mIoU in percent, cost in 10⁹ MACs, the mean over the images; None: never published.

    note: what else is known of the row, and from where; not a published number.
    """

    row: str
    paper_miou_percent: float | None
    paper_gmacs: float | None
    release_miou_percent: float | None
    release_gmacs: float | None
    paper_source: str = PAPER
    release_source: str = RELEASE
    note: str = ""


_TABLE: tuple[Published, ...] = (
    Published("dynamic-a", 72.8, 44.9, 73.9, 52.5),
    Published("dynamic-b", 73.8, 58.7, 74.3, 58.9),
    Published("dynamic-c", 74.6, 66.6, 74.8, 59.8),
    Published("dynamic-raw", 76.1, 119.5, 76.7, 114.9),
    Published("dynamic-raw-long", 78.3, 113.3, 78.1, 114.2),
    Published("dynamic-raw-imagenet", 78.6, 119.4, 78.8, 117.8),
    Published("dynamic-raw-l33-imagenet", 79.2, 242.3, 79.4, 243.1),
    Published(
        "network-fix",
        None,
        None,
        None,
        None,
        paper_source="",
        release_source="",
        note="A user of the released code reports 77.28 mIoU from scratch, one run (an issue thread of "
        "yanwei-li/DynamicRouting); the author answers that several runs are needed.",
    ),
)
_NOT_COPIED = (
    "The paper's figures for static routes and common networks are not given here: no copy was at hand to check them "
    "against. The released code has neither."
)
_UNCHECKED: tuple[Published, ...] = tuple(
    Published(row, None, None, None, None, paper_source="", release_source="", note=_NOT_COPIED)
    for row in (
        "static-fcn32s",
        "static-deeplabv3",
        "static-unet",
        "static-hrnetv2",
        "static-autodeeplab",
        "common-a",
        "common-b",
        "common-c",
    )
)
PUBLISHED: Mapping[str, Published] = {published.row: published for published in _TABLE + _UNCHECKED}


@dataclass(frozen=True)
class Hearsay:
    """What an issue thread of the released code reports of a training run; nobody here has measured it.

    row: empty where the thread names none. who: the author or a user. iteration: where the value was read, None for the
    end of training. quantity: "loss" or "miou_percent".
    """

    row: str
    who: str
    iteration: int | None
    quantity: str
    value: float
    setting: str = "as published"
    source: str = "an issue thread of yanwei-li/DynamicRouting"


HEARSAY: tuple[Hearsay, ...] = (
    Hearsay("dynamic-raw-imagenet", "author", 60_000, "loss", 0.11),
    Hearsay("dynamic-raw-imagenet", "author", 186_000, "loss", 0.06),
    Hearsay("network-fix", "a user", None, "miou_percent", 77.28, "from scratch, one run"),
    Hearsay("", "a user", None, "miou_percent", 50.0, "one GPU, batch 3, lr left at 0.05"),
)
