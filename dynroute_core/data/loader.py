"""A data set's two streams: training batches and evaluation samples.

Takes a `SegmentationDataset`; gives `Batch`es of uint8 tensors, or `Sample`s. A training batch is
a pure function of (dataset, transform, seed, batch size, batch number): any number of workers gives the same
stream, and a run resumes at any iteration by asking for it. Leaves out the transfer to a device, normalising,
and generating scenes.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from dynroute_core.data.dataset import Sample, SegmentationDataset, read_size
from dynroute_core.system.errors import DynrouteError, UsageError

Transform = Callable[[Sample, np.random.Generator], Sample]

CACHE_LIMIT_MB = 4096
"""Decoded samples above this are not kept in memory. All of Cityscapes' training split takes 24 955 MB."""


@dataclass(frozen=True, eq=False)
class Batch:
    """N samples: `images` N×3×H×W uint8 BGR, `labels` N×H×W uint8 train ids (255 ignored), `names`.

    Where only some places of a batch were asked for, images and labels are of these, names of the whole batch.
    """

    images: torch.Tensor
    labels: torch.Tensor
    names: tuple[str, ...]

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory, which a GPU reads without waiting. (The DataLoader calls this.)"""
        return Batch(self.images.pin_memory(), self.labels.pin_memory(), self.names)


def train_batches(
    dataset: SegmentationDataset,
    transform: Transform,
    *,
    batch: int,
    seed: int,
    start: int,
    stop: int,
    workers: int,
    places: Sequence[int] | None = None,
    cache: bool | None = None,
    cache_limit_mb: float = CACHE_LIMIT_MB,
    pin_memory: bool = False,
) -> Iterator[Batch]:
    """Batches `start` to `stop` - 1 of the endless stream that `seed` fixes; batch 0 is the first.

    Sample j of batch i stands at position p = i·batch + j, in epoch p // len(dataset): each epoch is a
    permutation of the data set drawn from (seed, epoch), and each sample is augmented with random numbers
    drawn from (seed, p).

    places: which of each batch's samples are wanted, by this process of several that share it; `None`: all.

    `workers` processes prepare batches ahead, 0 prepares them in this one; the stream is the same. With
    `cache`, samples are decoded once for as long as `dataset` lives (by this process, before the workers
    start and share them): `True` insists, `None` does so where `cache_estimate_mb` of what the stream needs
    is within `cache_limit_mb`. `pin_memory` needs CUDA.

    Raises `UsageError` for a setting that does not fit, at once; and `DataError` as soon as a sample cannot
    be decoded, by whichever process.
    """
    if batch < 1 or workers < 0 or seed < 0 or not 0 <= start <= stop:
        raise UsageError(
            f"batch={batch}, workers={workers}, seed={seed}, start={start}, stop={stop} do not fit: "
            "batch must be at least 1, workers and seed at least 0, and 0 ≤ start ≤ stop."
        )
    wanted = tuple(range(batch)) if places is None else tuple(places)
    if not wanted or not set(wanted) <= set(range(batch)):
        raise UsageError(f"places={wanted} do not fit: give some of 0 to {batch - 1}.")
    if pin_memory and not torch.cuda.is_available():
        raise UsageError("pin_memory=True needs CUDA, and torch sees no GPU here. Leave it out.")
    stream = _Stream(dataset, transform, batch, wanted, seed, False)
    if cache is not False and start < stop:
        needed = stream.needed(start, stop)
        estimate = cache_estimate_mb(dataset, count=len(needed))
        if estimate > cache_limit_mb and cache:
            raise UsageError(
                f"keeping {len(needed)} decoded samples of {dataset.name} takes about {estimate:.0f} MB, "
                f"more than the cache limit of {cache_limit_mb:.0f} MB. Raise the limit, or decode anew each "
                "time "
                "(cache=False)."
            )
        if estimate <= cache_limit_mb:
            stream = _Stream(dataset, transform, batch, wanted, seed, True)
            if workers:
                with ThreadPoolExecutor(max_workers=workers) as pool:
                    list(pool.map(dataset.keep, needed))
    return _batches(stream, range(start, stop), workers, pin_memory)


def cache_estimate_mb(dataset: SegmentationDataset, *, count: int) -> float:
    """Memory of `count` decoded samples in MB (10⁶ bytes): 4 bytes a pixel, each sized as the first image."""
    height, width = read_size(dataset.items[0].image)
    return count * height * width * 4 / 1e6


def eval_samples(dataset: SegmentationDataset, workers: int) -> Iterator[Sample]:
    """Every sample in order, decoded once, by `workers` threads a few samples ahead (0: when asked for).

    Threads, because decoding leaves the interpreter lock. Raises `DataError` at the sample that cannot be
    decoded.
    """
    if workers < 0:
        raise UsageError(f"workers={workers} does not fit: give 0 or more.")
    return iter(dataset) if workers == 0 else _read_ahead(dataset, workers)


def _read_ahead(dataset: SegmentationDataset, workers: int) -> Iterator[Sample]:
    pool = ThreadPoolExecutor(max_workers=workers)
    ahead: deque[Future[Sample]] = deque()
    try:
        for index in range(len(dataset)):
            ahead.append(pool.submit(dataset.__getitem__, index))
            if len(ahead) > 2 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        # Also reached when the consumer stops early: what was not begun is not decoded.
        pool.shutdown(cancel_futures=True)


@lru_cache(maxsize=8)
def _permutation(length: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    order = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, epoch))).permutation(length)
    order.setflags(write=False)
    return order


@dataclass(frozen=True)
class _Stream(TorchDataset[Batch | DynrouteError]):
    """Batch number → batch; what a worker process holds."""

    dataset: SegmentationDataset
    transform: Transform
    batch: int
    places: tuple[int, ...]
    seed: int
    keep: bool

    def index(self, position: int) -> int:
        epoch, place = divmod(position, len(self.dataset))
        return int(_permutation(len(self.dataset), self.seed, epoch)[place])

    def needed(self, start: int, stop: int) -> list[int]:
        """The indices of the samples that batches `start` to `stop` - 1 use."""
        if (stop - start) * len(self.places) >= 2 * len(self.dataset):
            return list(range(len(self.dataset)))
        return sorted({self.index(n * self.batch + place) for n in range(start, stop) for place in self.places})

    def sample(self, position: int) -> Sample:
        index = self.index(position)
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(1, position)))
        return self.transform(self.dataset.keep(index) if self.keep else self.dataset[index], rng)

    def __getitem__(self, number: int) -> Batch | DynrouteError:
        """The batch, or the error that a sample raised.

        Returned, not raised: the DataLoader would wrap its text into a worker's traceback.
        """
        try:
            samples = [self.sample(number * self.batch + place) for place in self.places]
        except DynrouteError as error:
            return error
        labels = np.stack([sample.label for sample in samples])
        images = np.empty((len(samples), 3, *labels.shape[1:]), dtype=np.uint8)
        # Plane by plane: less than half the time of one copy with permuted axes.
        for n, sample in enumerate(samples):
            for channel in range(3):
                images[n, channel] = sample.image[:, :, channel]
        whole = range(number * self.batch, (number + 1) * self.batch)
        names = tuple(self.dataset.items[self.index(position)].name for position in whole)
        return Batch(torch.from_numpy(images), torch.from_numpy(labels), names)


def _batches(stream: _Stream, numbers: range, workers: int, pin_memory: bool) -> Iterator[Batch]:
    fork = "fork" in multiprocessing.get_all_start_methods()
    loader: DataLoader[Batch | DynrouteError] = DataLoader(
        stream,
        sampler=numbers,
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=workers,
        pin_memory=pin_memory,
        worker_init_fn=_start_worker if workers else None,
        # The DataLoader draws a seed even if nobody uses it; not from the generator that the training draws
        # from.
        generator=torch.Generator(),
        # Forked workers share the kept samples; spawned ones (no fork on this system) get a copy each.
        multiprocessing_context="fork" if fork and workers else None,
    )
    ready = _start(loader, workers)
    try:
        while (found := _next(ready, workers)) is not None:
            if isinstance(found, DynrouteError):
                raise found
            yield found
    finally:
        # Ends the workers now, also where someone keeps the traceback and with it this frame.
        del ready


def _start(loader: DataLoader[Batch | DynrouteError], workers: int) -> Iterator[Batch | DynrouteError]:
    try:
        return iter(loader)
    except OSError as error:
        raise _lacking(f"data workers cannot start: {error}.", workers) from error


def _next(ready: Iterator[Batch | DynrouteError], workers: int) -> Batch | DynrouteError | None:
    try:
        return next(ready, None)
    except RuntimeError as error:
        if not any(words in str(error) for words in ("DataLoader worker", "Communication with the workers")):
            raise
        raise _lacking(f"a data worker died: {error}", workers) from error


def _lacking(what: str, workers: int) -> DynrouteError:
    return DynrouteError(
        f"{what} Memory, shared memory (/dev/shm) or open files (ulimit -n) may be too few for {workers} workers: "
        "give fewer (data.workers), or 0, which needs none of them."
    )


def _as_it_is(batch: object) -> object:
    return batch


def _start_worker(_: int) -> None:
    # Ctrl-C reaches the whole process group; the parent answers it and ends its workers. (Torch itself limits
    # each worker to one thread.)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
