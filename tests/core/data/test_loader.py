"""loader.py: the stream is the same from any start and for any number of workers; errors arrive whole."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import os
import resource
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dynroute_core.data import dataset as dataset_module
from dynroute_core.data.dataset import Bytes, DataError, Sample, SegmentationDataset
from dynroute_core.data.datasets import open_dataset
from dynroute_core.data.loader import Batch, cache_estimate_mb, eval_samples, train_batches
from dynroute_core.data.transforms import TrainTransform
from dynroute_core.system.errors import DynrouteError, UsageError

TRANSFORM = TrainTransform((20, 30, 41), 200, (32, 24))
# Torch says so where a machine has fewer cores than workers are asked for; the stream must not care.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


@pytest.fixture
def data(tmp_path: Path) -> SegmentationDataset:
    rng = np.random.default_rng(0)
    for i in range(7):
        for folder, shape in (("train", (20, 30, 3)), ("trainannot", (20, 30))):
            (tmp_path / folder).mkdir(exist_ok=True)
            values = rng.integers(0, 256 if folder == "train" else 12, shape, dtype=np.uint8)
            Image.fromarray(values).save(tmp_path / folder / f"f{i}.png")
    return open_dataset("camvid", tmp_path, "train")


def stream(
    data: SegmentationDataset, start: int = 0, stop: int = 6, workers: int = 0, cache: bool | None = False
) -> list[Batch]:
    return list(train_batches(data, TRANSFORM, batch=3, seed=5, start=start, stop=stop, workers=workers, cache=cache))


def same(a: list[Batch], b: list[Batch]) -> bool:
    return len(a) == len(b) and all(
        x.names == y.names and torch.equal(x.images, y.images) and torch.equal(x.labels, y.labels)
        for x, y in zip(a, b, strict=True)
    )


def test_open_dataset_by_name(tmp_path: Path, data: SegmentationDataset) -> None:
    assert data.name == "camvid"
    with pytest.raises(UsageError, match=r"Did you mean 'cityscapes'\?.*streets, camvid"):
        open_dataset("cityscape", tmp_path, "train")
    with pytest.raises(DataError, match=r"streets: there is no folder .*generated"):
        open_dataset("streets", tmp_path / "none", "train")


def test_streets_are_read_as_cityscapes(tmp_path: Path) -> None:
    image, label = np.zeros((4, 6, 3), np.uint8), np.full((4, 6), 7, np.uint8)
    for kind, end, array in (("leftImg8bit", "leftImg8bit", image), ("gtFine", "gtFine_labelIds", label)):
        folder = tmp_path / kind / "val" / "town"
        folder.mkdir(parents=True)
        Image.fromarray(array).save(folder / f"town_0_{end}.png")
    streets = open_dataset("streets", tmp_path, "val")
    assert streets.name == "streets" and streets[0].label.tolist() == [[0] * 6] * 4


def test_batches_are_uint8_of_the_crop_size(data: SegmentationDataset) -> None:
    batch = stream(data)[0]
    assert batch.images.shape == (3, 3, 32, 24) and batch.labels.shape == (3, 32, 24)
    assert batch.images.dtype == batch.labels.dtype == torch.uint8
    assert batch.images.is_contiguous()


@dataclass(frozen=True)
class AsItIs:
    """A transform that draws but changes nothing."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        rng.random()
        return sample


def test_channels_stay_in_bgr_order(data: SegmentationDataset) -> None:
    (batch,) = train_batches(data, AsItIs(), batch=7, seed=0, start=0, stop=1, workers=0)
    by_name = {sample.name: sample for sample in data}
    for image, label, name in zip(batch.images, batch.labels, batch.names, strict=True):
        assert np.array_equal(image.permute(1, 2, 0).numpy(), by_name[name].image)
        assert np.array_equal(label.numpy(), by_name[name].label)


def test_every_image_comes_once_per_epoch_in_a_new_order(data: SegmentationDataset) -> None:
    names = [name for batch in stream(data, stop=14) for name in batch.names]  # 42 samples: 6 epochs
    epochs = [names[i : i + 7] for i in range(0, 42, 7)]
    assert all(sorted(epoch) == [f"f{i}" for i in range(7)] for epoch in epochs)
    # Two of 5040 orders agreeing by chance: 1 in 336 for six epochs; the seed is fixed.
    assert len({tuple(epoch) for epoch in epochs}) == 6


def test_a_batch_may_be_larger_than_the_data_set(data: SegmentationDataset) -> None:
    (batch,) = train_batches(data, TRANSFORM, batch=20, seed=0, start=0, stop=1, workers=0)
    assert sorted(batch.names[:7]) == sorted(batch.names[7:14]) == [f"f{i}" for i in range(7)]


@pytest.mark.parametrize("workers", [0, 2, 4])
@pytest.mark.parametrize("cache", [False, True])
def test_the_stream_is_the_same_for_any_workers_and_start(data: SegmentationDataset, workers: int, cache: bool) -> None:
    whole = stream(data)
    assert same(stream(data, workers=workers, cache=cache), whole)
    assert same(stream(data, start=4, workers=workers, cache=cache), whole[4:])


def test_the_stream_follows_the_seed_and_augments_each_position_anew(data: SegmentationDataset) -> None:
    a, b = (list(train_batches(data, TRANSFORM, batch=7, seed=seed, start=0, stop=2, workers=0)) for seed in (1, 2))
    assert a[0].names != b[0].names
    first = a[0].images[0]
    again = a[1].images[a[1].names.index(a[0].names[0])]
    assert not torch.equal(first, again)


def test_an_empty_range_is_an_empty_stream(data: SegmentationDataset) -> None:
    for workers in (0, 2):
        assert stream(data, start=3, stop=3, workers=workers, cache=None) == []


def test_torch_random_numbers_are_left_alone(data: SegmentationDataset) -> None:
    # Drop path draws from them; a resumed run would differ from an unbroken one.
    for workers in (0, 2):
        before = torch.get_rng_state()
        stream(data, stop=2, workers=workers)
        assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "wrong",
    [{"batch": 0}, {"seed": -1}, {"start": -1}, {"start": 3, "stop": 2}, {"workers": -1}],
)
def test_settings_that_do_not_fit_are_refused_at_once(data: SegmentationDataset, wrong: dict[str, int]) -> None:
    s = {"batch": 1, "seed": 0, "start": 0, "stop": 1, "workers": 0} | wrong
    with pytest.raises(UsageError, match="do not fit"):
        train_batches(
            data,
            TRANSFORM,
            batch=s["batch"],
            seed=s["seed"],
            start=s["start"],
            stop=s["stop"],
            workers=s["workers"],
        )
    with pytest.raises(UsageError, match="does not fit"):
        eval_samples(data, -1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without CUDA")
def test_pinned_memory_needs_cuda(data: SegmentationDataset) -> None:
    with pytest.raises(UsageError, match="needs CUDA"):
        train_batches(data, TRANSFORM, batch=1, seed=0, start=0, stop=1, workers=0, pin_memory=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("workers", [0, 2])
def test_pinned_batches_are_pinned(data: SegmentationDataset, workers: int) -> None:
    for batch in train_batches(data, TRANSFORM, batch=2, seed=0, start=0, stop=2, workers=workers, pin_memory=True):
        assert batch.images.is_pinned() and batch.labels.is_pinned()


# The cache.


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the images decoded by this process."""
    names: list[str] = []
    original = dataset_module.read_image

    def counting(path: Path) -> Bytes:
        names.append(path.stem)
        return original(path)

    monkeypatch.setattr(dataset_module, "read_image", counting)
    return names


def test_with_the_cache_each_image_is_decoded_once(data: SegmentationDataset, decoded: list[str]) -> None:
    for _ in range(2):
        for workers in (0, 2):
            stream(data, stop=7, workers=workers, cache=True)
    assert sorted(decoded) == [f"f{i}" for i in range(7)]


def test_only_what_the_stream_needs_is_decoded(data: SegmentationDataset, decoded: list[str]) -> None:
    for workers in (0, 2):
        (batch,) = stream(data, stop=1, workers=workers, cache=True)
        assert sorted(decoded) == sorted(batch.names)


def test_without_the_cache_nothing_is_kept(data: SegmentationDataset, decoded: list[str]) -> None:
    stream(data, stop=7)
    assert len(decoded) == 21


def test_the_cache_limit(data: SegmentationDataset, decoded: list[str]) -> None:
    assert cache_estimate_mb(data, count=7) == pytest.approx(7 * 20 * 30 * 4 / 1e6)
    limit = cache_estimate_mb(data, count=7) * 0.99

    def run(cache: bool | None) -> int:
        decoded.clear()
        batches = train_batches(
            data, TRANSFORM, batch=7, seed=0, start=0, stop=2, workers=0, cache=cache, cache_limit_mb=limit
        )
        return len(list(batches))

    with pytest.raises(UsageError, match="more than the cache limit"):
        run(True)
    assert run(None) == 2 and len(decoded) == 14


# Errors and ends.


def damage(data: SegmentationDataset) -> Path:
    path = data.items[3].image
    path.write_bytes(path.read_bytes()[:200])
    return path


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("cache", [False, True])
def test_a_broken_file_surfaces_as_the_same_error(data: SegmentationDataset, workers: int, cache: bool) -> None:
    path = damage(data)
    with pytest.raises(DataError) as plain:
        data[3]
    with pytest.raises(DataError) as caught:
        stream(data, workers=workers, cache=cache)
    assert str(caught.value) == str(plain.value)
    assert str(path) in str(caught.value)


def test_batches_before_a_broken_file_still_come(data: SegmentationDataset) -> None:
    damage(data)
    batches = train_batches(data, TRANSFORM, batch=1, seed=5, start=0, stop=7, workers=2, cache=False)
    names: list[str] = []
    with pytest.raises(DataError):
        for batch in batches:
            names += batch.names
    assert names == list(itertools.takewhile(lambda name: name != "f3", names))


@dataclass(frozen=True)
class Dies:
    """A transform whose worker is killed, as by a machine out of memory."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        os.kill(os.getpid(), signal.SIGKILL)
        return sample


def test_a_worker_that_dies_is_reported(data: SegmentationDataset) -> None:
    batches = train_batches(data, Dies(), batch=1, seed=0, start=0, stop=3, workers=1, cache=False)
    with pytest.raises(DynrouteError, match=r"a data worker died.*shared memory.*give fewer"):
        list(batches)


# Torch's iterator, which never came whole, says so as it is removed.
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("spare", [8, 20], ids=["no worker starts", "some start"])
def test_too_few_open_files_for_the_workers_are_reported(data: SegmentationDataset, spare: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(os.devnull, os.O_RDONLY)  # the lowest number that is free
    os.close(free)
    batches = train_batches(data, TRANSFORM, batch=3, seed=5, start=0, stop=6, workers=4, cache=False)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + spare, hard))  # each worker takes several
    try:
        with pytest.raises(DynrouteError, match=r"Too many open files.*ulimit -n.*data\.workers"):
            list(batches)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    gc.collect()
    assert multiprocessing.active_children() == []


def test_stopping_early_ends_the_workers(data: SegmentationDataset) -> None:
    batches = train_batches(data, TRANSFORM, batch=1, seed=0, start=0, stop=1000, workers=2, cache=True)
    next(iter(batches))
    assert len(multiprocessing.active_children()) == 2
    del batches
    gc.collect()
    assert multiprocessing.active_children() == []


# Evaluation.


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_eval_samples_come_in_order_decoded_once(data: SegmentationDataset, decoded: list[str], workers: int) -> None:
    samples = list(eval_samples(data, workers))
    assert [sample.name for sample in samples] == [f"f{i}" for i in range(7)]
    assert sorted(decoded) == [f"f{i}" for i in range(7)]
    assert np.array_equal(samples[6].image, data[6].image)


@pytest.mark.parametrize("workers", [0, 2])
def test_eval_samples_raise_at_the_broken_file(data: SegmentationDataset, workers: int) -> None:
    damage(data)
    seen = []
    with pytest.raises(DataError, match=r"f3.png"):
        for sample in eval_samples(data, workers):
            seen.append(sample.name)
    assert seen == ["f0", "f1", "f2"]


def test_eval_read_ahead_is_bounded(data: SegmentationDataset, decoded: list[str]) -> None:
    samples = eval_samples(data, 1)
    next(samples)
    samples.close()  # type: ignore[attr-defined]
    assert len(decoded) <= 3
