"""Maps of a group of images, for `torch_backend.py`: where a cell's input is gathered, image by image or many at once.

Images are named by their places in the group, ascending; neighbours that need the same are served by one operation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from dynroute_core.space import SCALES

Images = Sequence[int]  # places in the group, ascending, at least one


def of_images(x: Tensor, images: Images) -> Tensor:
    """The maps of these images: a view where they are neighbours, else a copy."""
    first, last = images[0], images[-1] + 1
    if last - first == len(images):
        return x[first:last]
    return torch.cat([x[image : image + 1] for image in images])


def per_image(factors: Sequence[float], like: Tensor) -> float | Tensor:
    """A factor for each image's map: a number where all are the same."""
    if len(set(factors)) == 1:
        return factors[0]
    return torch.tensor(factors, dtype=like.dtype, device=like.device).view(-1, 1, 1, 1)


class Slot:
    """The maps N×C×H×W that a cell's input is gathered in, and what has reached each image's: nothing, zeros only, or
    features."""

    def __init__(self, map: Tensor) -> None:
        self.map = map
        self.empty()

    def empty(self) -> None:
        self.reached, self.filled = [False] * len(self.map), [False] * len(self.map)

    def fill(self, images: Images) -> None:
        """Marks these images' maps: reached by features, whatever had come before."""
        for image in images:
            self.reached[image] = self.filled[image] = True

    def put(self, images: Images, first: int, values: Tensor, factors: Sequence[float] | None = None) -> None:
        """Adds values·factor to these images' rows from `first` on; the caller calls `fill` after the last rows."""
        for begin, end in self._alike(images):
            rows = self.map[images[begin] : images[end - 1] + 1, :, first : first + values.shape[2]]
            factor = 1.0 if factors is None else per_image(factors[begin:end], values)
            if not self.filled[images[begin]]:
                torch.mul(values[begin:end], factor, out=rows)
            elif isinstance(factor, float):
                rows.add_(values[begin:end], alpha=factor)
            else:
                rows.addcmul_(values[begin:end], factor)

    def _alike(self, images: Images) -> Iterator[tuple[int, int]]:
        """Runs of neighbours that are all filled or all not, as spans of places in `images`."""
        begin = 0
        for end in range(1, len(images) + 1):
            if end == len(images) or (
                images[end] != images[end - 1] + 1 or self.filled[images[end]] != self.filled[images[begin]]
            ):
                yield begin, end
                begin = end

    def features(self, images: Images) -> Tensor:
        """These images' maps, zeroed where only zeros came."""
        for image in images:
            if not self.filled[image]:
                self.map[image].zero_()
                self.filled[image] = True
        return of_images(self.map, images)


class Memory:
    """Flat blocks that maps are views of: kept from group to group, grown where a larger one comes."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype, self.device = dtype, device
        self._blocks: dict[str, Tensor] = {}

    def map(self, name: str, shape: Sequence[int]) -> Tensor:
        """Maps N×C×H×W, channels-last, in block `name`; they hold whatever was there before."""
        images, channels, height, width = shape
        size = images * channels * height * width
        if name not in self._blocks or len(self._blocks[name]) < size:
            self._blocks[name] = torch.empty(size, dtype=self.dtype, device=self.device)
        return self._blocks[name][:size].view(images, height, width, channels).permute(0, 3, 1, 2)

    def slots(self, name: str, shape: Sequence[int]) -> list[Slot]:
        """An empty slot per scale; the shape is scale 0's."""
        images, channels, height, width = shape
        return [Slot(self.map(f"{name}{k}", (images, channels << k, height >> k, width >> k))) for k in range(SCALES)]
