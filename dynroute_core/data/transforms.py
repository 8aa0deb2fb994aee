"""Training augmentation and resizing: image and label go through one call, so they cannot part company.

Holds the paper's augmentation: shortest edge resized to a random scale, horizontal flip, random crop with
central padding. Takes and gives `Sample`s (H×W×3 uint8 BGR, H×W uint8 train ids); pure functions of their
arguments, random numbers included. Leaves out normalising and the conversion to tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from dynroute_core.data.dataset import Sample
from dynroute_core.data.labels import IGNORE

IMAGE_PADDING = 0
"""Padding of the raw image, before the mean is taken off (released code): to the network it is not zero."""


@dataclass(frozen=True)
class TrainTransform:
    """Resize to a random one of `scales`, flip, random `crop`.

    `scales` are lengths of the shortest edge, the longest is at most `max_size`, all in pixels. `crop` is
    (height, width), `flip` a probability. The paper's rows: scales 512 to 2048, max_size 4096, crop 768×768.
    """

    scales: tuple[int, ...]
    max_size: int
    crop: tuple[int, int]
    flip: float = 0.5

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) < 1 or self.max_size < 1 or min(self.crop) < 1:
            raise ValueError(f"sizes must be at least 1 and scales not empty, got {self}")
        if not 0.0 <= self.flip <= 1.0:
            raise ValueError(f"flip is a probability from 0 to 1, got {self.flip}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The augmented sample, image and label of size `crop`.

        Always draws four numbers (scale, flip, top, left), so how far `rng` advances never depends on their
        values.
        """
        scale, flip, top, left = rng.random(4)
        shortest = self.scales[int(scale * len(self.scales))]
        height, width = sample.label.shape
        size = target_size(height, width, shortest, self.max_size)
        rows, columns = _window(size[0], self.crop[0], top), _window(size[1], self.crop[1], left)
        if flipped := bool(flip < self.flip):
            # The window is cut before the flip, from where the flip would have put it.
            columns = range(size[1] - columns.stop, size[1] - columns.start)
        cut = _resize_window(sample, size, rows, columns)
        return crop_pad(horizontal_flip(cut) if flipped else cut, self.crop, top=0, left=0)


def target_size(height: int, width: int, shortest: int, max_size: int) -> tuple[int, int]:
    """(height, width) after resizing the shortest edge to `shortest`, the longest to at most `max_size`.

    Rounded half up, as in the released code (detectron2's convention); at least 1 pixel, where that would
    give 0.
    """
    scale = shortest / min(height, width)
    new_height, new_width = (shortest, scale * width) if height < width else (scale * height, shortest)
    if (longest := max(new_height, new_width)) > max_size:
        new_height, new_width = new_height * (max_size / longest), new_width * (max_size / longest)
    return max(1, int(new_height + 0.5)), max(1, int(new_width + 0.5))


def resize_shortest(sample: Sample, shortest: int, max_size: int) -> Sample:
    """The sample at `target_size`: image by Pillow's bilinear filter (antialiased), label by nearest."""
    height, width = sample.label.shape
    height, width = target_size(height, width, shortest, max_size)
    if (height, width) == sample.label.shape:
        return sample
    image = Image.fromarray(sample.image).resize((width, height), Image.Resampling.BILINEAR)
    label = Image.fromarray(sample.label).resize((width, height), Image.Resampling.NEAREST)
    return replace(sample, image=np.array(image), label=np.array(label))


def horizontal_flip(sample: Sample) -> Sample:
    """The sample mirrored left to right."""
    return replace(
        sample,
        image=np.ascontiguousarray(sample.image[:, ::-1]),
        label=np.ascontiguousarray(sample.label[:, ::-1]),
    )


def crop_pad(sample: Sample, size: tuple[int, int], top: int, left: int) -> Sample:
    """The window of `size` (height, width) at (`top`, `left`), padded where it is longer than the sample.

    Each edge for itself: it is cut where the sample is longer, and padded centrally where it is shorter
    (offset ignored; the odd pixel goes to the bottom or right), with 0 in the image and 255 in the label.
    Raises `ValueError` for a window that leaves the sample.
    """
    height, width = sample.label.shape
    for edge, length, offset, which in ((height, size[0], top, "top"), (width, size[1], left, "left")):
        if edge > length and not 0 <= offset <= edge - length:
            raise ValueError(f"{which}={offset} takes the crop {size} out of {sample.name}: give 0 to {edge - length}")
    top, left = (top if height > size[0] else 0), (left if width > size[1] else 0)
    image = sample.image[top : top + size[0], left : left + size[1]]
    label = sample.label[top : top + size[0], left : left + size[1]]
    if label.shape == size:
        return replace(sample, image=np.ascontiguousarray(image), label=np.ascontiguousarray(label))
    above, before = (size[0] - label.shape[0]) // 2, (size[1] - label.shape[1]) // 2
    inner = np.s_[above : above + label.shape[0], before : before + label.shape[1]]
    padded_image = np.full((*size, 3), IMAGE_PADDING, dtype=np.uint8)
    padded_label = np.full(size, IGNORE, dtype=np.uint8)
    padded_image[inner], padded_label[inner] = image, label
    return replace(sample, image=padded_image, label=padded_label)


def _window(edge: int, length: int, draw: float) -> range:
    """The pixels a crop of `length` keeps of an edge; offsets are uniform where `draw` is, in [0, 1)."""
    start = int(draw * (max(edge - length, 0) + 1))
    return range(start, start + min(length, edge))


def _resize_window(sample: Sample, size: tuple[int, int], rows: range, columns: range) -> Sample:
    """The window `rows`×`columns` of the sample resized to `size`, bit for bit, for a fraction of the work.

    Pillow resizes along the rows first, then along the columns, with 8 bits in between: the first pass is
    needed only for the source rows that reach the window, the second only for the window's columns. (Its
    `box` argument cannot be used for this: it is kept in single precision, and moves the filter's
    coefficients.)
    """
    height, width = sample.label.shape
    window = np.s_[rows.start : rows.stop, columns.start : columns.stop]
    if size == (height, width):
        return replace(sample, image=sample.image[window], label=sample.label[window])
    if height > width:
        # Pillow takes the passes in the other order on some upright images, so these are resized whole.
        image = Image.fromarray(sample.image).resize(size[::-1], Image.Resampling.BILINEAR)
        label = Image.fromarray(sample.label).resize(size[::-1], Image.Resampling.NEAREST)
        return replace(sample, image=np.array(image)[window], label=np.array(label)[window])
    # The bilinear filter reaches max(1, scale) source pixels to each side of a pixel's centre; one more for
    # rounding.
    scale = height / size[0]
    reach = max(1.0, scale) + 1.0
    first = max(0, int((rows.start + 0.5) * scale - reach))
    last = min(height, int((rows.stop - 0.5) * scale + reach) + 1)
    source = Image.fromarray(sample.image[first:last])
    wide = source.resize((size[1], last - first), Image.Resampling.BILINEAR)
    narrow = Image.new("RGB", (len(columns), height))
    narrow.paste(wide.crop((columns.start, 0, columns.stop, last - first)), (0, first))
    tall = narrow.resize((len(columns), size[0]), Image.Resampling.BILINEAR)
    label_rows = _nearest_index(height, size[0])[rows.start : rows.stop]
    label_columns = _nearest_index(width, size[1])[columns.start : columns.stop]
    return replace(
        sample,
        image=np.array(tall.crop((0, rows.start, len(columns), rows.stop))),
        label=sample.label[label_rows][:, label_columns],
    )


def _nearest_index(length: int, new_length: int) -> npt.NDArray[np.int32]:
    """For each pixel of an edge resized by Pillow's nearest filter, the source pixel: Pillow itself says."""
    ramp = Image.fromarray(np.arange(length, dtype=np.int32)[None])
    index: npt.NDArray[np.int32] = np.array(ramp.resize((new_length, 1), Image.Resampling.NEAREST))[0]
    return index
