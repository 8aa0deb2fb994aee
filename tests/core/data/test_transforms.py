"""transforms.py: geometry by hand on tiny cases, against Pillow on odd sizes; label follows image."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dynroute_core.data.dataset import Sample
from dynroute_core.data.transforms import TrainTransform, crop_pad, horizontal_flip, resize_shortest, target_size

ODD = (1, 2, 3, 31, 33)


def noise(height: int, width: int, seed: int = 0) -> Sample:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Sample("noise", image, rng.integers(0, 19, (height, width), dtype=np.uint8))


def tied(height: int, width: int) -> Sample:
    """Image and label say the same thing, so that moving one without the other shows."""
    label = np.random.default_rng(1).integers(1, 19, (height, width), dtype=np.uint8)
    return Sample("tied", np.stack([label, label, label], axis=2), label)


def same(a: Sample, b: Sample) -> bool:
    return np.array_equal(a.image, b.image) and np.array_equal(a.label, b.label)


@pytest.mark.parametrize(
    ("given", "shortest", "max_size", "expected"),
    [
        ((1024, 2048), 768, 4096, (768, 1536)),
        ((1024, 2048), 2048, 4096, (2048, 4096)),
        ((1024, 2048), 2048, 3000, (1500, 3000)),  # the long edge limits
        ((360, 480), 450, 2048, (450, 600)),
        ((3, 2), 3, 100, (5, 3)),  # 4.5 rounds up, where Python's round would give 4
        ((2, 5), 1, 100, (1, 3)),  # 2.5 likewise
        ((100, 1), 1, 10, (10, 1)),  # 0.1 would be 0 pixels: one stays
    ],
)
def test_target_size_by_hand(given: tuple[int, int], shortest: int, max_size: int, expected: tuple[int, int]) -> None:
    assert target_size(given[0], given[1], shortest, max_size) == expected
    assert target_size(given[1], given[0], shortest, max_size) == expected[::-1]


def test_resize_is_antialiased_bilinear_for_the_image_and_nearest_for_the_label() -> None:
    # 1×4 → 1×2 (scale 2): the triangle of half-width 2 around centre 1 weighs pixels 0, 1, 2 at distances
    # 0.5, 0.5, 1.5 with .75, .75, .25, which sum to 1.75; the second pixel mirrors it.
    image = np.array([[0, 70, 140, 210]], dtype=np.uint8)[:, :, None].repeat(3, axis=2)
    label = np.array([[1, 2, 3, 4]], dtype=np.uint8)
    tall = Sample("tall", image.repeat(4, axis=0), label.repeat(4, axis=0))
    out = resize_shortest(tall, 2, 10)
    first, second = (0.75 * 70 + 0.25 * 140) / 1.75, (0.25 * 70 + 0.75 * 140 + 0.75 * 210) / 1.75
    assert out.image[0, :, 0].tolist() == [round(first), round(second)] == [50, 160]
    assert out.label.tolist() == [[2, 4], [2, 4]]


def test_resize_to_the_same_size_changes_nothing() -> None:
    sample = noise(31, 33)
    assert same(resize_shortest(sample, 31, 100), sample)


def test_flip_mirrors_both_and_twice_is_nothing() -> None:
    for height, width in itertools.product(ODD, ODD):
        sample = noise(height, width)
        flipped = horizontal_flip(sample)
        assert np.array_equal(flipped.image[:, 0], sample.image[:, -1])
        assert np.array_equal(flipped.label[:, 0], sample.label[:, -1])
        assert same(horizontal_flip(flipped), sample)


def test_crop_pad_over_odd_sizes() -> None:
    for height, width, rows, columns in itertools.product(ODD, repeat=4):
        sample = tied(height, width)
        top, left = max(0, height - rows), max(0, width - columns)
        out = crop_pad(sample, (rows, columns), top, left)
        assert out.image.shape == (rows, columns, 3) and out.label.shape == (rows, columns)
        inside = out.label != 255
        assert inside.sum() == min(height, rows) * min(width, columns)
        assert np.array_equal(out.image[:, :, 0][inside], out.label[inside])
        assert (out.image[~inside] == 0).all()
        above, before = max(0, rows - height) // 2, max(0, columns - width) // 2
        assert inside[above, before]
        assert out.label[above, before] == sample.label[top, left]


def test_crop_pads_one_edge_and_cuts_the_other() -> None:
    sample = Sample("s", np.full((2, 4, 3), 9, np.uint8), np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.uint8))
    out = crop_pad(sample, (5, 2), 0, 1)
    # Three rows are missing: one goes above, two below.
    assert out.label.tolist() == [[255, 255], [2, 3], [6, 7], [255, 255], [255, 255]]
    assert out.image[:, 0, 0].tolist() == [0, 9, 9, 0, 0]


@pytest.mark.parametrize(("top", "left"), [(-1, 0), (0, -1), (8, 0), (0, 8)])
def test_crop_refuses_a_window_that_leaves_the_sample(top: int, left: int) -> None:
    with pytest.raises(ValueError, match="give 0 to 7"):
        crop_pad(noise(10, 10), (3, 3), top, left)


def plain(transform: TrainTransform, sample: Sample, rng: np.random.Generator) -> Sample:
    """The augmentation as the paper orders it, each step on the whole image."""
    scale, flip, top, left = rng.random(4)
    whole = resize_shortest(sample, transform.scales[int(scale * len(transform.scales))], transform.max_size)
    if flip < transform.flip:
        whole = horizontal_flip(whole)
    height, width = whole.label.shape
    top = int(top * (max(0, height - transform.crop[0]) + 1))
    left = int(left * (max(0, width - transform.crop[1]) + 1))
    return crop_pad(whole, transform.crop, top, left)


def test_working_only_on_the_crop_is_bit_identical() -> None:
    sizes = (*ODD, 60, 97)
    for seed, (height, width) in enumerate(itertools.product(sizes, sizes)):
        sample = noise(height, width, seed)
        for crop, max_size in (((31, 33), 2000), ((5, 64), 90), ((1, 2), 2000)):
            transform = TrainTransform((1, 2, 13, 31, 50, 97, 120), max_size, crop)
            for draw in range(3):
                fast = transform(sample, np.random.default_rng((seed, draw)))
                assert same(fast, plain(transform, sample, np.random.default_rng((seed, draw)))), (
                    f"{height}×{width}, crop {crop}, draw {draw}"
                )


def test_label_follows_the_image() -> None:
    # Without resizing (nearest and bilinear differ) each pixel must still say the same in both.
    sample = tied(33, 31)
    transform = TrainTransform((31,), 100, (20, 40))
    seen = set()
    for seed in range(40):
        out = transform(sample, np.random.default_rng(seed))
        inside = out.label != 255
        assert np.array_equal(out.image[:, :, 2][inside], out.label[inside])
        seen.add(out.label.tobytes())
    assert len(seen) > 20  # 14 tops × 2 flips are possible


@pytest.mark.parametrize(("flip", "expected"), [(0.0, 0), (1.0, 50)])
def test_flip_probability_at_its_ends(flip: float, expected: int) -> None:
    sample = tied(3, 5)
    transform = TrainTransform((3,), 10, (3, 5), flip)
    outs = [transform(sample, np.random.default_rng(seed)) for seed in range(50)]
    assert sum(np.array_equal(out.label, sample.label[:, ::-1]) for out in outs) == expected


def test_always_four_draws_whatever_they_are() -> None:
    for crop, flip in (((2, 2), 0.0), ((64, 64), 1.0)):
        rng, other = np.random.default_rng(7), np.random.default_rng(7)
        TrainTransform((3, 9), 100, crop, flip)(noise(5, 6), rng)
        other.random(4)
        assert rng.random() == other.random()


def test_every_scale_and_offset_is_reached_and_none_beyond() -> None:
    label = np.arange(9, dtype=np.uint8).reshape(3, 3)
    sample = Sample("s", label[:, :, None].repeat(3, axis=2), label)
    transform = TrainTransform((3,), 10, (2, 2), flip=0.0)
    corners = {int(transform(sample, np.random.default_rng(seed)).label[0, 0]) for seed in range(100)}
    assert corners == {0, 1, 3, 4}


def test_inputs_stay_as_they_were() -> None:
    sample = noise(40, 50)
    before = replace(sample, image=sample.image.copy(), label=sample.label.copy())
    sample.image.setflags(write=False)  # as samples from the cache are
    sample.label.setflags(write=False)
    for seed in range(5):
        TrainTransform((20, 40, 60), 100, (32, 64))(sample, np.random.default_rng(seed))
    assert same(sample, before)


@pytest.mark.parametrize(
    ("scales", "max_size", "crop", "flip"),
    [((), 9, (1, 1), 0.5), ((0,), 9, (1, 1), 0.5), ((1,), 0, (1, 1), 0.5), ((1,), 9, (0, 1), 0.5),
     ((1,), 9, (1, 1), 1.5)],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused(
    scales: tuple[int, ...], max_size: int, crop: tuple[int, int], flip: float
) -> None:
    with pytest.raises(ValueError, match=r"sizes|probability"):
        TrainTransform(scales, max_size, crop, flip)


def test_pillow_still_resizes_in_two_eight_bit_passes() -> None:
    # What the windowed resize rests on; a Pillow that changes this must fail here, not shift pixels silently.
    image = Image.fromarray(noise(60, 97).image)
    rows_first = image.resize((150, 60), Image.Resampling.BILINEAR).resize((150, 93), Image.Resampling.BILINEAR)
    assert rows_first.tobytes() == image.resize((150, 93), Image.Resampling.BILINEAR).tobytes()
