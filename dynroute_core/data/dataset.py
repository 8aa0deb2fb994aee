"""One interface for every data set: a tuple of image/label pairs on disk, decoded one at a time.

Takes the pairs that a reader (cityscapes.py, camvid.py) found; gives `Sample`s as numpy arrays, or a
`DataError` that names the file, the reason and the next step, whatever bytes the file holds. Nothing is
augmented here (transforms.py), and nothing kept in memory unless asked for (loader.py decides).
"""

from __future__ import annotations

import hashlib
import io
import os
import unicodedata
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from dynroute_core.data.labels import UNKNOWN, ClassSet, train_id_table
from dynroute_core.system.errors import BlockedError, UsageError
from dynroute_core.system.files import open_regular, read_regular

Bytes = npt.NDArray[np.uint8]
TRAIN_ID = "train_id"

MAX_PIXELS = 1 << 26
"""Largest image decoded, in pixels: 32 times a Cityscapes image. A small file can claim any size."""

MAX_FILE_MB = 256
"""Largest image file read: `MAX_PIXELS` of colour without compression have 201 MB."""

MAX_CHUNKS = 1 << 16
"""Most parts of a PNG file: each takes a step in Python, here and in Pillow, and an empty one 12 bytes."""

_PNG_SIGN = b"\x89PNG\r\n\x1a\n"
_DEPTH_PLACE = 24  # of the bits per value, in the header that follows the sign
_FORMATS = ("PNG", "JPEG")  # of data sets
_PHOTOGRAPH_FORMATS = (*_FORMATS, "WEBP")  # of pictures without an annotation
PHOTOGRAPH_ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
_EIGHT_BIT_MODES = ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK")


class DataError(BlockedError):
    """A data set on disk that is missing, empty, truncated or does not fit together; exit code 3."""


@dataclass(frozen=True)
class Item:
    """One image and its annotation on disk. numbering: what the annotation's values are, `TRAIN_ID` or one of
    `ClassSet.numberings`."""

    name: str
    image: Path
    label: Path
    numbering: str = TRAIN_ID


@dataclass(frozen=True, eq=False)
class Sample:
    """One decoded pair: `image` H×W×3 uint8 BGR (0..255), `label` H×W uint8 train ids, 255 ignored."""

    name: str
    image: Bytes
    label: Bytes


@dataclass(frozen=True)
class SegmentationDataset:
    """A split of a data set: `len(dataset)` samples, decoded anew at each access. `root` holds all files."""

    name: str
    split: str
    classes: ClassSet
    items: tuple[Item, ...]
    root: Path
    _kept: dict[int, Sample] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Raises `DataError` for a name that no record could be written with, after hours of training."""
        for item in self.items:
            try:
                item.name.encode()
            except UnicodeEncodeError as error:
                raise DataError(f"{self.root} has a file whose name is no text: {item.name!a}. Rename it.") from error

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        """Sample `index`, decoded and checked.

        Raises `IndexError` past the end, and `DataError` where a file is missing or broken, image and
        annotation differ in size, or the annotation holds a value outside the label table.
        """
        item = self.items[index]
        image = read_image(item.image)
        label = read_label(item.label, label_table(item.numbering, self.classes))
        if image.shape[:2] != label.shape:
            raise DataError(
                f"{item.image} is {_size(image)} but its annotation {item.label} is {_size(label)} "
                "(height×width). Both must be of one size: restore the pair from the data set's archive."
            )
        return Sample(item.name, image, label)

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def keep(self, index: int) -> Sample:
        """Sample `index`, decoded at the first call only; its arrays are read-only and live with `self`."""
        if index not in self._kept:
            sample = self[index]
            sample.image.setflags(write=False)
            sample.label.setflags(write=False)
            self._kept[index] = sample
        return self._kept[index]

    def fingerprint(self) -> str:
        """sha256 over the sorted relative names of all files and the sha256 of each one's bytes.

        A changed byte and a renamed, added or removed file change it; moving the folder does not.
        """
        paths = sorted({path for item in self.items for path in (item.image, item.label)})
        # Hashing releases the interpreter lock, and a cold disk answers several requests at once.
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            hashes = list(pool.map(_file_hash, paths))
        # Composed, since a copy by way of macOS spells accents otherwise and is the same data.
        names = [unicodedata.normalize("NFC", path.relative_to(self.root).as_posix()) for path in paths]
        digest = hashlib.sha256()
        for name, value in sorted(zip(names, hashes, strict=True)):
            digest.update(f"{name}\0{value}\0".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def subset(self, count: int | None) -> SegmentationDataset:
        """The first of each of `count` equal stretches of the split, in order; the whole split for `None`.

        Spread out because neighbouring files are neighbouring frames. Raises `UsageError` unless
        1 ≤ `count` ≤ `len(self)`.
        """
        if count is None:
            return self
        if not 1 <= count <= len(self):
            raise UsageError(
                f"cannot take {count} items of {self.name}/{self.split}: it has {len(self)}. Give 1 to {len(self)}."
            )
        return replace(self, items=tuple(self.items[i * len(self) // count] for i in range(count)))


def read_image(path: Path, *, upright: bool = False) -> Bytes:
    """A PNG or JPEG as H×W×3 uint8 BGR.

    Grey becomes three equal channels; transparency, and the low byte of 16-bit colour, are dropped.
    EXIF orientation is ignored, as annotations are drawn on the stored pixels; upright: it is followed, for
    photographs without an annotation, which may be WebP as well. Raises `DataError` for anything else.
    """
    rgb = read_picture(path, upright=upright)
    # Pillow's packer swaps the channels four times faster than a numpy copy with a negative stride.
    bgr, shape = np.frombuffer(rgb.tobytes("raw", "BGR"), dtype=np.uint8), (rgb.height, rgb.width, 3)
    del rgb  # three copies of a large picture are one too many
    return bgr.reshape(shape).copy()


def read_picture(path: Path, *, upright: bool = False) -> Image.Image:
    """The same picture as Pillow has it, in RGB. Raises as `read_image`."""
    with _open(path, _content(path), _PHOTOGRAPH_FORMATS if upright else _FORMATS) as picture:
        if picture.mode not in _EIGHT_BIT_MODES:
            raise DataError(
                f"{path} has {picture.mode} pixels; images must have 8 bits per channel (RGB, grey or "
                "palette). Convert the file to an 8-bit RGB PNG."
            )
        rgb = _decode(path, picture, "RGB")
    return _upright(path, rgb) if upright else rgb


def _upright(path: Path, picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception as error:  # as in _open: broken EXIF makes Pillow's parser raise whatever it meets
        raise DataError(f"{path} has EXIF data that cannot be read ({error}). Save it anew without them.") from error


def read_label(path: Path, table: Bytes) -> Bytes:
    """An 8-bit single-channel PNG, its values sent through `table` (256 entries), as H×W uint8 train ids.

    A palette file counts by its indices, not its colours. Raises `DataError` for other files and for values
    that `table` holds as unknown.
    """
    values = label_values(path)
    train_ids: Bytes = table[values]
    if (unknown := train_ids == UNKNOWN).any():
        found, counts = np.unique(values[unknown], return_counts=True)
        listed = ", ".join(f"{v} ({n} pixels)" for v, n in zip(found[:5], counts[:5], strict=True))
        raise DataError(
            f"{path} holds values outside the label table: {listed}{', …' if len(found) > 5 else ''}. "
            f"Known values: {ranges(np.flatnonzero(table != UNKNOWN).tolist())}. "
            "Check that --data names the right data set, or restore the file."
        )
    return train_ids


def label_values(path: Path) -> Bytes:
    """An annotation's values as they stand in the file, H×W uint8. Raises `DataError` as `read_label`."""
    content = _content(path)
    with _open(path, content, ("PNG",)) as picture:
        depth = content[_DEPTH_PLACE]
        if picture.mode in ("L", "1") and depth != 8:  # Pillow stretches 4 bits to 0..255: other classes
            raise DataError(f"{path} has {depth}-bit grey pixels; an annotation must have 8 bits. Convert it.")
        if picture.mode not in ("L", "P"):
            raise DataError(
                f"{path} has {picture.mode} pixels; an annotation must have one 8-bit channel with class "
                "numbers. This may be a coloured rendering or an instance map: use the file with label ids."
            )
        return np.array(_decode(path, picture, "P" if picture.mode == "P" else "L"))


def read_size(path: Path) -> tuple[int, int]:
    """(height, width) of a PNG or JPEG, in pixels, by its header. Raises `DataError` where it has none."""
    with _open(path, _content(path)) as picture:
        return picture.height, picture.width


def _content(path: Path) -> bytes:
    try:
        content = read_regular(path, most_mb=MAX_FILE_MB)
    except OSError as error:
        raise _read_error(path, error) from error
    if not content:
        raise DataError(f"{path} is empty (0 bytes). Restore it from where it came.")
    return content


def _open(path: Path, content: bytes, formats: tuple[str, ...] = _FORMATS) -> Image.Image:
    """The picture, its header read and its size checked, before memory is given to its pixels."""
    try:
        if content.startswith(_PNG_SIGN):
            _check_png(content)
        picture = Image.open(io.BytesIO(content), formats=formats)
    except Image.DecompressionBombError as error:
        raise DataError(f"{path} is refused: {error} Check where this file comes from.") from error
    except Exception as error:  # broken bytes make Pillow's parsers raise OSError, KeyError, and more
        why = f" ({error})" if type(error) is ValueError else ""  # ours; Pillow's tell of its own buffers
        raise DataError(
            f"{path} is not a readable {' or '.join(formats)} file{why}. Restore it from where it came."
        ) from error
    if picture.width * picture.height > MAX_PIXELS:
        raise DataError(
            f"{path} claims {picture.height}×{picture.width} pixels, more than the {MAX_PIXELS} allowed. "
            "Check where this file comes from, or shrink it."
        )
    return picture


def _check_png(content: bytes) -> None:
    """Raises ValueError where a part's checksum is wrong or the end mark missing: Pillow skips those of the pixels, and
    a flipped bit would be another class."""
    place, view = len(_PNG_SIGN), memoryview(content)
    for _ in range(MAX_CHUNKS):
        end = place + 8 + int.from_bytes(view[place : place + 4])
        if end + 4 > len(view):
            raise ValueError("it ends too early")
        if zlib.crc32(view[place + 4 : end]) != int.from_bytes(view[end : end + 4]):
            raise ValueError("a checksum in it is wrong")
        if content[place + 4 : place + 8] == b"IEND":
            return
        place = end + 4
    raise ValueError(f"it has more than {MAX_CHUNKS} parts")


def _decode(path: Path, picture: Image.Image, mode: Literal["RGB", "L", "P"]) -> Image.Image:
    try:
        picture.load()
        return picture if picture.mode == mode else picture.convert(mode)
    except Exception as error:  # as in _open: the decoders' exceptions are not listed anywhere
        raise DataError(f"{path} is truncated or damaged ({error}). Restore it from where it came.") from error


def label_table(numbering: str, classes: ClassSet) -> Bytes:
    """256 train ids, by the file's value, for a numbering of `Item`."""
    return train_id_table(classes) if numbering == TRAIN_ID else classes.numberings[numbering]


def _file_hash(path: Path) -> str:
    try:
        with open_regular(path, most_mb=MAX_FILE_MB) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _read_error(path, error) from error


def _read_error(path: Path, error: OSError) -> DataError:
    return DataError(f"cannot read {path}: {error.strerror or error}. Restore the file or its permissions.")


def _size(array: Bytes) -> str:
    return f"{array.shape[0]}×{array.shape[1]}"


def ranges(values: list[int]) -> str:
    """[0, 1, 2, 255] → "0..2, 255"."""
    starts = [v for v in values if v - 1 not in values]
    ends = [v for v in values if v + 1 not in values]
    return ", ".join(str(a) if a == b else f"{a}..{b}" for a, b in zip(starts, ends, strict=True))
