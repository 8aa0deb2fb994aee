"""How long is a training step, eager and compiled? Alternating in one process; next to the arithmetic floor.

The floor: three times the forward convolutions' multiply-accumulates over what the cores attain in registers in the
same run (beside it, a matrix product's, which has to be near it). Both are `train.Trainer`, with torch's step and with
the compiled one. Gains and shares of the floor are given by the wall's clock and, for a machine that others use too, by
the processor's. Memory: the most that a process of its own held above its start.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from timing import machine
from torch import nn

from dynroute_core.engine.training import CompiledTrainingStep
from dynroute_core.experiments import experiment
from dynroute_core.model import Segmenter
from dynroute_core.optimizer import make_optimizer
from dynroute_core.recipe import TrainConfig
from dynroute_core.space import ModelConfig
from dynroute_core.system.machine import keep_freed_memory
from dynroute_core.train import Trainer
from dynroute_kernels.cpu import training

CASES = ("camvid", "streets", "published")


@dataclass(frozen=True)
class Crops:
    """A `TrainingBatch`."""

    images: torch.Tensor
    labels: torch.Tensor
    names: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    config: ModelConfig
    recipe: TrainConfig

    @classmethod
    def named(cls, name: str, side: int) -> Case:
        """The demos' as they train; the published network on two crops of `side`."""
        if name == "published":
            return cls(ModelConfig(), TrainConfig(batch=2, crop_height=side, crop_width=side, log_every=10**6))
        chosen = experiment({"camvid": "dynamic-raw", "streets": "dynamic-c"}[name], profile="demo", data=name)
        size = chosen.train.crop_height, chosen.train.crop_width
        recipe = TrainConfig(batch=chosen.train.batch, crop_height=size[0], crop_width=size[1], log_every=10**6)
        return cls(chosen.model, recipe)

    def crops(self) -> Crops:
        """Smooth images, whose neighbours are alike as in photographs, and labels in patches."""
        torch.manual_seed(0)
        count, height, width = self.recipe.batch, self.recipe.crop_height, self.recipe.crop_width
        coarse = 255 * torch.rand(count, 3, height // 8, width // 8)
        images = nn.functional.interpolate(coarse, size=(height, width), mode="bilinear").round().to(torch.uint8)
        labels = torch.randint(0, self.config.classes, (count, height // 16, width // 16), dtype=torch.uint8)
        labels = labels.repeat_interleave(16, 1).repeat_interleave(16, 2)
        return Crops(images, labels, tuple(map(str, range(count))))

    def model(self) -> Segmenter:
        torch.manual_seed(0)
        return Segmenter(self.config).to(memory_format=torch.channels_last).train()

    def macs(self) -> float:
        """Of a step's convolutions: as many again for the gradients of inputs, and of weights."""
        found = 0

        def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
            nonlocal found
            assert isinstance(module, nn.Conv2d)
            found += module.weight.numel() * output.shape[-2] * output.shape[-1]

        model = self.model()
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(count)
        with torch.no_grad():
            model(self.crops().images[:2])
        return 3.0 * found * self.recipe.batch


def eager(case: Case) -> Callable[[], object]:
    steps = Trainer(case.model(), case.recipe).steps(itertools.repeat(case.crops()))
    return lambda: next(steps)


def compiled(case: Case) -> Callable[[], object]:
    model = case.model()
    steps = Trainer(model, case.recipe, step=CompiledTrainingStep(model)).steps(itertools.repeat(case.crops()))
    return lambda: next(steps)


SUBJECTS = {"eager": eager, "compiled": compiled}


def peak_mb(name: str, side: int, subject: str, threads: int) -> float:
    """10⁶ bytes that three steps of a subject take above what its process held before."""
    command = [sys.executable, __file__, "--case", name, "--side", str(side), "--alone", subject, "--threads"]
    done = subprocess.run([*command, str(threads)], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def alone(case: Case, subject: str) -> None:
    case.crops()
    make_optimizer(case.model(), case.recipe)  # imports much, whichever step follows
    before = most_held()
    step = SUBJECTS[subject](case)
    for _ in range(3):
        step()
    print(most_held() - before)


def most_held() -> float:
    """The most that this process ever held, in 10⁶ bytes (not `getrusage`: that begins with its parent's)."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024 / 1e6


@contextmanager
def neighbour(busy: bool) -> Iterator[None]:
    """A process that keeps a core busy meanwhile."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
    try:
        yield
    finally:
        if process is not None:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Clocks:
    """Milliseconds of a subject's steps: on the wall, and of the processor, all threads together."""

    wall: list[float]
    processor: list[float]


def alternate(steps: Mapping[str, Callable[[], object]], runs: int) -> dict[str, Clocks]:
    """Each subject once per round, `runs` rounds after one to warm up: what disturbs one disturbs all."""
    found = {subject: Clocks([], []) for subject in steps}
    for number in range(runs + 1):
        for subject, step in steps.items():
            begin = time.perf_counter(), time.process_time()
            step()
            if number > 0:
                found[subject].wall.append(1e3 * (time.perf_counter() - begin[0]))
                found[subject].processor.append(1e3 * (time.process_time() - begin[1]))
    return found


def measure(name: str, case: Case, given: argparse.Namespace) -> None:
    macs = case.macs()
    for threads in given.threads:
        torch.set_num_threads(threads)
        steps = {subject: make(case) for subject, make in SUBJECTS.items()}
        with neighbour(given.neighbour):
            times = alternate(steps, given.runs)
        floor = 1e3 * macs / training.peak_macs() / threads
        theirs = times["eager"]
        for subject, found in times.items():
            wall, processor = median(found.wall), median(found.processor)
            memory = f"{peak_mb(name, given.side, subject, threads):.0f}" if given.memory else "-"
            print(
                f"{name:<10} {threads:>7} {subject:<9} {wall:>8.1f} {min(found.wall):>8.1f} {max(found.wall):>8.1f} "
                f"{processor:>8.1f} {median(theirs.wall) / wall:>6.2f} {median(theirs.processor) / processor:>6.2f} "
                f"{floor:>8.1f} {wall / floor:>8.2f} {processor / threads / floor:>8.2f} {memory:>8}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--runs", type=int, default=9, help="rounds after the warm-up")
    parser.add_argument("--side", type=int, default=768, help="of the published network's crops")
    parser.add_argument("--neighbour", action="store_true", help="beside a process that keeps a core busy")
    parser.add_argument("--memory", action="store_true", help="peak memory too, each subject in its own process")
    parser.add_argument("--alone", choices=tuple(SUBJECTS), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.alone:
        keep_freed_memory()
        torch.set_num_threads(given.threads[0])
        alone(Case.named(given.case[0], given.side), given.alone)
        return
    here = machine(torch.device("cpu"), "keep")
    print(f"{here.device_name}, {training.isa()}, load {os.getloadavg()[0]:.1f}, torch {here.versions['torch']}")
    product, peak = here.peak_gmacs_per_s["float32"], training.peak_macs() / 1e9
    print(f"a core's multiply-adds {peak:.1f} GMAC/s; a matrix product on {here.threads} threads {product:.1f}")
    heads = f"{'wall ms':>8} {'least':>8} {'most':>8} {'cpu ms':>8} {'gain':>6} {'cpu':>6}"
    print(f"{'case':<10} {'threads':>7} {'step':<9} {heads} {'floor ms':>8} {'x floor':>8} {'cpu':>8} {'peak MB':>8}")
    for name in given.case:
        measure(name, Case.named(name, given.side), given)


if __name__ == "__main__":
    main()
