"""Bad bytes in images, annotations and folders of photographs; files that claim more memory than they hold."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from dynroute_core.data.dataset import MAX_CHUNKS, MAX_PIXELS, DataError, read_image, read_label
from dynroute_core.data.labels import CITYSCAPES, train_id_table
from dynroute_core.data.streets.png import encode_png
from dynroute_core.system.errors import BlockedError
from dynroute_suite.pretraining.photographs import TrainPhotographs, ValPhotographs, collate, open_folder
from support.damage import bombard, bounded, damaged

TABLE = train_id_table(CITYSCAPES)
ROOT = Path(__file__).parents[3]
NOISE = np.random.default_rng(3).integers(0, 256, (24, 31, 3), dtype=np.uint8)
LABEL = np.random.default_rng(4).integers(0, 19, (24, 31), dtype=np.uint8)
LOSSY = ("x.jpg", "x.webp")
SIGN = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(height: int, width: int, *, depth: int, kind: int, pixels: bytes, between: bytes = b"") -> bytes:
    """A PNG file whose header says what it is told to. pixels: compressed."""
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return SIGN + chunk(b"IHDR", head) + between + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize("name", ["x.png", "stored.png", "x.jpg", "x.webp", "label.png"])
def test_damage_is_a_named_error_or_the_same_pixels(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name in LOSSY:
        Image.fromarray(NOISE).save(path, quality=90)
    elif name == "label.png":
        Image.fromarray(LABEL).save(path)
    else:
        path.write_bytes(encode_png(NOISE)) if name == "stored.png" else Image.fromarray(NOISE).save(path)

    def read(one: Path) -> npt.NDArray[np.uint8]:
        return read_label(one, TABLE) if name == "label.png" else read_image(one, upright=name == "x.webp")

    whole, expected = path.read_bytes(), read(path)

    def accept(found: npt.NDArray[np.uint8], _: bytes) -> None:
        assert found.dtype == np.uint8
        if name not in LOSSY:  # these have no checksum: there, the data set's fingerprint is what tells
            assert np.array_equal(found, expected), "damaged pixels were taken for whole ones"

    tried, refused = bombard(read, path, damaged(whole, 210), accept=accept)
    assert tried == 210 and refused > 50


def test_every_bit_of_a_png_counts(tmp_path: Path) -> None:
    path = tmp_path / "label.png"
    path.write_bytes(whole := encode_png(LABEL[:3, :5]))
    for place in range(8 * len(whole)):
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"label\.png"):
            read_label(path, TABLE)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_annotations_of_fewer_bits_are_refused_where_values_would_be_stretched(tmp_path: Path, depth: int) -> None:
    path, wide = tmp_path / "label.png", -(-8 * depth // 8)
    rows = zlib.compress((b"\0" + bytes([0x11] * wide)) * 2)
    path.write_bytes(png(2, 8, depth=depth, kind=0, pixels=rows))
    with pytest.raises(DataError, match=f"{depth}-bit grey pixels"):
        read_label(path, TABLE)
    palette = chunk(b"PLTE", bytes(3 * 2**depth))
    path.write_bytes(png(2, 8, depth=depth, kind=3, pixels=rows, between=palette))
    assert read_label(path, TABLE).max() <= 1  # a palette's indices stay what they are


def zeros(count: int) -> bytes:
    """So many zeros, compressed, without holding them."""
    press = zlib.compressobj(9)
    parts = [press.compress(bytes(1 << 20)) for _ in range(count >> 20)]
    return b"".join(parts) + press.compress(bytes(count & (1 << 20) - 1)) + press.flush()


def bombs() -> dict[str, bytes]:
    """Files of at most 2 MB that claim or unpack to much more."""
    tiny = {"depth": 8, "kind": 0, "pixels": zeros(20)}
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0))
    return {
        "pixels": png(60_000, 60_000, depth=8, kind=2, pixels=b""),
        "just too many": png(MAX_PIXELS + 1, 1, depth=8, kind=0, pixels=b""),
        "most pixels": png(8192, 8192, depth=8, kind=2, pixels=zeros((3 * 8192 + 1) * 8192)),
        "profile": png(4, 4, **tiny, between=chunk(b"iCCP", b"a\0\0" + zeros(1 << 28))),
        "text": png(4, 4, **tiny, between=chunk(b"zTXt", b"a\0\0" + zeros(1 << 28))),
        "parts": SIGN + head + chunk(b"tEXt", b"") * (MAX_CHUNKS + 1),
    }


@pytest.mark.slow
def test_small_files_cannot_take_gigabytes(tmp_path: Path) -> None:
    """In a process of its own, whose peak is known. Pixels at the limit have 201 MB, and are held three times."""
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from dynroute_core.data.dataset import DataError, read_image\n"
        "peak = lambda: int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
        "before = peak()\n"
        "for name in sys.argv[1:]:\n    try:\n        print(name, read_image(Path(name)).shape)\n"
        "    except DataError as error:\n        print(name, 'refused', error)\n"
        "print((peak() - before) // 1024)"
    )
    files = bombs()
    for name, content in files.items():
        assert len(content) < 2_000_000
        (tmp_path / f"{name}.png").write_bytes(content)
    (tmp_path / "long.png").touch()
    os.truncate(tmp_path / "long.png", 10 << 30)  # sparse: takes no room
    names = [str(tmp_path / f"{name}.png") for name in (*files, "long")]
    shown = subprocess.run(
        [sys.executable, "-c", code, *names], capture_output=True, text=True, check=True, cwd=ROOT, timeout=300
    ).stdout.splitlines()
    assert [line.split(".png ")[1].split()[0] for line in shown[:2]] == ["refused", "refused"]
    assert "(8192, 8192, 3)" in shown[2]
    assert "refused" in shown[5] and "refused" in shown[6]
    print(f"peak of reading {len(names)} bombs: {shown[-1]} MB")
    assert 200 < int(shown[-1]) < 1000  # the largest allowed picture is among them


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zeros.png").symlink_to("/dev/zero")
    for name in ("folder", "pipe", "zeros", "none"):
        with bounded(), pytest.raises(DataError, match=f"cannot read .*{name}"):
            read_image(tmp_path / f"{name}.png")


def test_photographs_that_cannot_be_read_are_named_and_no_other_format_is_tried(tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / split / "cat").mkdir(parents=True)
        Image.fromarray(NOISE).save(tmp_path / split / "cat" / "a.JPEG", format="JPEG")
    path = tmp_path / "train" / "cat" / "a.JPEG"
    train = TrainPhotographs(open_folder(tmp_path, "train"), crop=16, seed=0)
    whole = path.read_bytes()
    refused = 0
    for content in damaged(whole, 150):
        path.write_bytes(content)
        with bounded():
            found = train[0]
        if isinstance(found, BlockedError):
            refused += 1
            assert "a.JPEG" in str(found)
            assert collate([found]) is found
    print(f"photographs: 150 inputs, {refused} refused")
    assert 50 < refused < 150
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    for content in (
        postscript,
        b"GIF89a" + bytes(20),
        png(60_000, 60_000, depth=8, kind=2, pixels=b""),
    ):  # Pillow would run Ghostscript on the first
        path.write_bytes(content)
        assert isinstance(train[0], BlockedError)
    os.remove(path)
    path.symlink_to(path)
    found = ValPhotographs(open_folder(tmp_path, "train"), resize=16, crop=16)[0]
    assert isinstance(found, BlockedError) and "cannot read" in str(found)
