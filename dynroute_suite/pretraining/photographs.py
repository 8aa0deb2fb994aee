"""Photographs in folders by class, as ImageNet lies: for pre-training. Other data sets here are for segmentation.

Takes a folder `train/CLASS/*` and `val/CLASS/*`; gives images 3×H×W uint8 BGR with their class. What stands at a
position of the training stream, and how it is cropped, is a function of seed and position alone.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, default_collate
from torchvision.transforms import v2

from dynroute_core.data.dataset import read_picture
from dynroute_core.system.errors import BlockedError, DynrouteError

ENDINGS = (".jpg", ".jpeg", ".png")
Labelled = tuple[Tensor, int]


@dataclass(frozen=True)
class Photographs:
    """A split: its classes by name, and every file with its class's place among them."""

    classes: tuple[str, ...]
    samples: tuple[tuple[Path, int], ...]


def open_folder(root: Path, split: str) -> Photographs:
    """A split's PNG and JPEG files by class. Raises BlockedError where the folder is missing or unreadable, or a class
    has no images."""
    folder = root / split
    if not folder.is_dir():
        raise BlockedError(
            f"there is no folder {folder}. Give --data FOLDER with train/CLASS/ and val/CLASS/ below it, as ImageNet "
            "(ILSVRC2012) lies once its archives are unpacked by class."
        )
    try:
        # By composed names, since macOS spells accents otherwise: train and val must have the same classes.
        by_class = sorted((unicodedata.normalize("NFC", p.name), p) for p in _unhidden(folder) if p.is_dir())
        classes = tuple(name for name, _ in by_class)
        files = [sorted(p for p in _unhidden(place) if p.suffix.lower() in ENDINGS) for _, place in by_class]
    except OSError as error:
        raise BlockedError(f"cannot read {folder}: {error.strerror or error}. Check its permissions.") from error
    bare = [name for name, paths in zip(classes, files, strict=True) if not paths]
    if bare or not classes:
        raise BlockedError(
            f"{folder}: {bare[0] if bare else 'it'} holds no PNG or JPEG. Every class needs a folder with at least one "
            "image."
        )
    return Photographs(classes, tuple((path, label) for label, paths in enumerate(files) for path in paths))


def _unhidden(folder: Path) -> list[Path]:
    """What lies in a folder; unlike `visible`, raises OSError where it cannot be read."""
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def collate(found: Sequence[Labelled | DynrouteError]) -> list[Tensor] | DynrouteError:
    """Images and labels of a batch, or the error of the first that could not be read.

    Returned, not raised: the DataLoader would wrap its text into a worker's traceback.
    """
    error = next((one for one in found if isinstance(one, DynrouteError)), None)
    return default_collate(list(found)) if error is None else error


class TrainPhotographs(Dataset[Labelled | DynrouteError]):
    """The training stream: each epoch a permutation drawn from (seed, epoch), each image a random resized crop of
    `crop`² pixels and a flip drawn from (seed, position)."""

    def __init__(self, folder: Photographs, *, crop: int, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.augment = v2.Compose([v2.RandomResizedCrop(crop), v2.RandomHorizontalFlip()])
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))

    def file(self, position: int) -> str:
        """The image at a position of the stream, as it lies in its split."""
        path, _ = self._sample(position)
        return f"{path.parent.name}/{path.name}"

    def _sample(self, position: int) -> tuple[Path, int]:
        count = len(self.folder.samples)
        epoch, place = divmod(position, count)
        if self._order[0] != epoch:
            drawn = torch.randperm(count, generator=torch.Generator().manual_seed(_mix_seed(self.seed, "epoch", epoch)))
            self._order = epoch, drawn
        return self.folder.samples[int(self._order[1][place])]

    def __getitem__(self, position: int) -> Labelled | DynrouteError:
        path, label = self._sample(position)
        try:
            image = read_picture(path)
        except DynrouteError as error:
            return error
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_mix_seed(self.seed, "image", position))
            return _pixels(self.augment(image)), label

    def batches(self, batch: int, start: int, stop: int) -> Iterator[list[int]]:
        """The positions in batches `start` to `stop` - 1. An epoch's last, incomplete batch is left out: batch norm
        would see too few images."""
        count = len(self.folder.samples)
        whole = count // batch
        for number in range(start, stop):
            first = number // whole * count + number % whole * batch
            yield list(range(first, first + batch))


class ValPhotographs(Dataset[Labelled | DynrouteError]):
    """The images in order, resized to a shortest edge of `resize` pixels and cropped centrally to `crop`²."""

    def __init__(self, folder: Photographs, *, resize: int, crop: int) -> None:
        self.folder = folder
        self.change = v2.Compose([v2.Resize(resize), v2.CenterCrop(crop)])

    def __len__(self) -> int:
        return len(self.folder.samples)

    def __getitem__(self, index: int) -> Labelled | DynrouteError:
        path, label = self.folder.samples[index]
        try:
            return _pixels(self.change(read_picture(path))), label
        except DynrouteError as error:
            return error


def _pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image)[..., ::-1].transpose(2, 0, 1).copy())


def _mix_seed(seed: int, what: str, number: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {what} {number}".encode()).digest()[:7])
