"""What the suite knows of a data set: every fact in one object, which the data set's own file makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from dynroute_core.data.dataset import SegmentationDataset
from dynroute_core.data.labels import ClassSet


@dataclass(frozen=True, kw_only=True)
class Amount:
    """Images of one size, in pixels, and how many of each split are used, 0 for all."""

    height: int
    width: int
    train_images: int = 0
    val_images: int = 0


Scenes = Literal["ordinary", "near", "far", "mixed"]


class Generate(Protocol):
    """Makes so many images below `root` and returns it; leaves a whole set as it is. progress: a bar on stderr."""

    def __call__(
        self, root: Path, *, train: int, val: int, height: int, width: int, seed: int, scenes: Scenes, progress: bool
    ) -> Path: ...


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """A data set: where it comes from, what its images and labels are, how it is used."""

    name: str  # on the command line and in records
    title: str  # in sentences
    classes: ClassSet
    splits: tuple[str, ...]
    amount: Amount  # that profiles ask for
    read: Callable[[Path, str], SegmentationDataset]  # opens a split of a folder
    how_to_get: str  # what to do where the folder is missing or broken, in whole sentences
    fits_memory: bool  # when it is decoded
    demo_iterations: int  # of the demo profile: minutes on two cores
    demo_image_share: float  # of the image height: what the demo profile shows
    scenes: tuple[Scenes, ...] = ("ordinary",)  # the kinds there are
    generate: Generate | None = None  # makes it where it is missing; None for data that a folder is given for
    unfinished: str = ""  # file that a set being made has
    amounts: Mapping[str, Amount] = field(default_factory=dict)  # of generated data: by profile, where it is another

    def amount_at(self, profile: str) -> Amount:
        """How much of it a profile asks for."""
        return self.amounts.get(profile, self.amount)
