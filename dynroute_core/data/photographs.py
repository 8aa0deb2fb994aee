"""Photographs in folders by class, as ImageNet lies: for pre-training. Other data sets here are for segmentation.

Takes a folder `train/CLASS/*` and `val/CLASS/*`; gives images 3×H×W uint8 BGR with their class. What stands at a
position of the training stream, and how it is cropped, is a function of seed and position alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from dynroute_core.runtime import BlockedError


def open_folder(root: Path, split: str) -> ImageFolder:
    """A split's images by class. Raises BlockedError where the folder is missing, or a class has no images."""
    folder = root / split
    if not folder.is_dir():
        raise BlockedError(
            f"there is no folder {folder}. Give --data FOLDER with train/CLASS/ and val/CLASS/ below it, as ImageNet "
            "(ILSVRC2012) lies once its archives are unpacked by class."
        )
    try:
        return ImageFolder(str(folder))
    except FileNotFoundError as error:
        raise BlockedError(f"{folder}: {error}. Every class needs a folder with at least one image.") from error


class TrainPhotographs(Dataset[tuple[Tensor, int]]):
    """The training stream: each epoch a permutation drawn from (seed, epoch), each image a random resized crop of
    `crop`² pixels and a flip drawn from (seed, position)."""

    def __init__(self, folder: ImageFolder, *, crop: int, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.augment = v2.Compose([v2.RandomResizedCrop(crop), v2.RandomHorizontalFlip()])
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))

    def file(self, position: int) -> str:
        """The image at a position of the stream, as it lies in its split."""
        return str(Path(self.folder.samples[self._index(position)][0]).relative_to(self.folder.root))

    def _index(self, position: int) -> int:
        count = len(self.folder.samples)
        epoch, place = divmod(position, count)
        if self._order[0] != epoch:
            drawn = torch.randperm(count, generator=torch.Generator().manual_seed(_mixed(self.seed, "epoch", epoch)))
            self._order = epoch, drawn
        return int(self._order[1][place])

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        image, label = _decoded(self.folder, self._index(position))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_mixed(self.seed, "image", position))
            return _pixels(self.augment(image)), label

    def batches(self, batch: int, start: int, stop: int) -> Iterator[list[int]]:
        """The positions in batches `start` to `stop` - 1. An epoch's last, incomplete batch is left out: batch norm
        would see too few images."""
        count = len(self.folder.samples)
        whole = count // batch
        for number in range(start, stop):
            first = number // whole * count + number % whole * batch
            yield list(range(first, first + batch))


class ValPhotographs(Dataset[tuple[Tensor, int]]):
    """The images in order, resized to a shortest edge of `resize` pixels and cropped centrally to `crop`²."""

    def __init__(self, folder: ImageFolder, *, resize: int, crop: int) -> None:
        self.folder = folder
        self.change = v2.Compose([v2.Resize(resize), v2.CenterCrop(crop)])

    def __len__(self) -> int:
        return len(self.folder.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, label = _decoded(self.folder, index)
        return _pixels(self.change(image)), label


def _decoded(folder: ImageFolder, index: int) -> tuple[Image.Image, int]:
    path, label = folder.samples[index]
    try:
        return folder.loader(path), label
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BlockedError(f"{path} cannot be decoded ({error}). Replace it, or take it out.") from error


def _pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image)[..., ::-1].transpose(2, 0, 1).copy())


def _mixed(seed: int, what: str, number: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {what} {number}".encode()).digest()[:7])
