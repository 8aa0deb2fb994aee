"""How many images a second does the loader give? Decoding, resizing whole or only what the crop needs, kept arrays.

On generated streets, made once under `data/` by the size asked for.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from timing import RESULTS, alternate, finish, machine

from dynroute_core.data.dataset import Sample, SegmentationDataset
from dynroute_core.data.datasets import open_dataset
from dynroute_core.data.loader import train_batches
from dynroute_core.data.transforms import TrainTransform, crop_pad, resize_shortest
from dynroute_core.experiments import DataConfig
from dynroute_core.runs.plan import find_data
from dynroute_suite.report.speed_record import Goal

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)


def whole(sample: Sample, transform: TrainTransform, rng: np.random.Generator) -> Sample:
    """As the transform does, but every image is resized whole before it is cut."""
    shortest = transform.scales[int(rng.random() * len(transform.scales))]
    resized = resize_shortest(sample, shortest, transform.max_size)
    free = [max(have - want, 0) for have, want in zip(resized.label.shape, transform.crop, strict=True)]
    return crop_pad(resized, transform.crop, top=int(rng.random() * free[0]), left=int(rng.random() * free[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="images of 256x512, few runs")
    parser.add_argument("--size", type=int, nargs=2, help="of the images (1024 2048; short: 256 512)")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--runs", type=int, help="rounds after the warm-up (5; short: 3)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON files")
    given = parser.parse_args()
    height, width = given.size or ((256, 512) if given.short else (1024, 2048))
    count = given.images
    data = DataConfig(name="streets", height=height, width=width, train_images=count, val_images=1)
    dataset = open_dataset("streets", find_data(data, None, progress=True), "train")
    crop = height * 3 // 4
    transform = TrainTransform(tuple(round(s * height) for s in SCALES), 4 * height, (crop, crop))
    kept = [dataset.keep(index) for index in range(count)]

    def batches(workers: int, cache: bool | None, one: SegmentationDataset = dataset) -> None:
        for _ in train_batches(one, transform, batch=4, seed=0, start=0, stop=count // 4, workers=workers, cache=cache):
            pass

    subjects = {
        "decode": lambda: [dataset[index] for index in range(count)],
        "kept, resized whole": lambda: [whole(s, transform, np.random.default_rng(k)) for k, s in enumerate(kept)],
        "kept, window resized": lambda: [transform(s, np.random.default_rng(k)) for k, s in enumerate(kept)],
        "batches, decoding": lambda: batches(0, False),
        "batches, cached": lambda: batches(0, True),
    }
    device = torch.device("cpu")
    here = machine(device, "default")
    times = alternate(subjects, given.runs or (3 if given.short else 5), device)
    measurements = [
        found.measurement("loading", name, (height, width), count, macs=0.0) for name, found in times.items()
    ]
    for name, found in times.items():
        print(f"{name}: {count / found.median:.1f} images/s")
    ratio = times["batches, decoding"].median / times["batches, cached"].median
    gain = times["kept, resized whole"].median / times["kept, window resized"].median
    goals = [
        Goal(text="cached: times the speed of decoding anew", wanted=1.0, measured=ratio, higher=True),
        Goal(text="window resized: times the speed of resizing whole", wanted=1.0, measured=gain, higher=True),
    ]
    finish(
        "loading", f"Loading, {count} images of {height}x{width}, crops of {crop}x{crop}, one process",
        short=given.short, machine=here, measurements=measurements, goals=goals,
        out=given.out / f"loading-{height}x{width}.json",
    )  # fmt: skip


if __name__ == "__main__":
    main()
