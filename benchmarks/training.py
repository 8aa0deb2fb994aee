"""How long is a training step? Forward, backward and update on crops: the plain network, channels-last, bf16 autocast.

Runs `train.Trainer` itself on one batch of random crops; every subject is a network of its own.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from timing import RESULTS, alternate, finish, machine

from dynroute_core.cost import cost_table
from dynroute_core.experiments import experiment
from dynroute_core.model import Segmenter
from dynroute_core.recipe import TrainConfig
from dynroute_core.space import ModelConfig
from dynroute_core.system.machine import pick_device
from dynroute_core.train import StepState, Trainer
from dynroute_suite.report.speed_record import Goal, Measurement

SUBJECTS = {
    "plain NCHW float32": (False, False),
    "channels-last float32": (True, False),
    "channels-last bf16 autocast": (True, True),
}
GOAL_SIDE = 768  # of the published crops, which the goals are set for
GOALS = {"cpu": (1.45, 2.1), "cuda": (1.0, 2.5)}


@dataclass(frozen=True)
class Crops:
    """A `TrainingBatch` of random crops."""

    images: torch.Tensor
    labels: torch.Tensor
    names: tuple[str, ...]


def crops(count: int, side: int, classes: int) -> Crops:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8)
    labels = torch.randint(0, classes, (count, side, side), dtype=torch.uint8)
    return Crops(images, labels, tuple(f"crop {k}" for k in range(count)))


def step(name: str, config: ModelConfig, batch: Crops, side: int, device: torch.device) -> Callable[[], StepState]:
    """A function that takes one step of the subject's own network."""
    channels_last, amp = SUBJECTS[name]
    torch.manual_seed(0)
    model = Segmenter(config).to(device)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    recipe = TrainConfig(
        batch=len(batch.names), crop_height=side, crop_width=side, channels_last=channels_last, amp=amp, log_every=1000
    )
    steps = Trainer(model, recipe).steps(itertools.repeat(batch))
    return lambda: next(steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="crops of 256x256 and the demo's, few runs")
    parser.add_argument("--side", type=int, help="of the crops (768; short: 256)")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--runs", type=int, help="rounds after the warm-up (5; short: 2)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--allocator", choices=("default", "keep"), default="keep", help="keep: as the pipeline trains")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON files")
    given = parser.parse_args()
    side, runs = given.side or (256 if given.short else 768), given.runs or (2 if given.short else 5)
    device = pick_device(given.device)
    here = machine(device, given.allocator)
    demo = experiment("dynamic-raw", profile="demo", data="camvid").model
    measurements: list[Measurement] = []
    goals: list[Goal] = []
    for part, config, count, size in (
        ("published", ModelConfig(channels=given.channels), given.batch, side),
        ("demo", demo, 8, 160),
    ):
        batch = crops(count, size, config.classes)
        times = alternate({name: step(name, config, batch, size, device) for name in SUBJECTS}, runs, device)
        macs = 3 * count * cost_table(config, height=size, width=size, accounting="paper").all_open
        for name, found in times.items():
            measurements.append(found.measurement(part, name, (size, size), count, macs=macs))
        if part == "published" and size == GOAL_SIDE:
            plain, *ours = SUBJECTS
            for name, wanted in zip(ours, GOALS[device.type], strict=True):
                ratio = times[plain].median / times[name].median
                goals.append(
                    Goal(text=f"{name}: times the plain step's speed", wanted=wanted, measured=ratio, higher=True)
                )
    finish(
        "training", f"Training step, Layer16, C = {given.channels}, {given.batch} crops of {side}x{side}; the demo's",
        short=given.short, machine=here, measurements=measurements, goals=goals,
        out=given.out / f"training-{side}x{side}-{device.type}-{given.allocator}.json",
    )  # fmt: skip


if __name__ == "__main__":
    main()
