"""What does each compiled operation gain? One by one, at the sizes that they have in the published network.

Subjects: `eager float32`, the model's own modules (NCHW, norms by themselves); `torch`, the plain torch engine's way
(norms folded, channels-last, strips of rows); `native`, compiled. By itself an operation reads its input from memory,
which in a whole image may still lie in the cache: `up` and `down` do there. Each compiled result is compared with
`kernels/cpu/reference.py` before anything is timed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from operation_tasks import Task, every_task
from timing import RESULTS, alternate, finish, machine

from dynroute_suite.report.speed_record import Measurement

# Of the largest value. Sums in another order; bfloat16 holds eight bits, and an operation rounds a few times.
LARGEST = {"native float32": 1e-4, "native bfloat16": 0.03}


def difference(task: Task, name: str) -> float | None:
    """Of a compiled result from the reference, over the largest value (of labels: their share that differs); None for
    other subjects. Ends the program where it is too large."""
    subject = task.subjects[name]
    if subject.result is None:
        return None
    subject.prepare()
    subject.run()
    ours, theirs = subject.result(), task.meaning()
    if ours.dtype == torch.uint8:  # ties may fall either way
        found = (ours != theirs).float().mean()
    else:
        found = (ours.float().reshape(theirs.shape) - theirs).abs().max() / theirs.abs().max()
    if not found.item() < LARGEST[name]:
        raise SystemExit(
            f"{task.part}, {task.size}, {name}: {found.item()} from the reference, at most {LARGEST[name]}"
        )
    return found.item()


def measured(task: Task, runs: int) -> list[Measurement]:
    """The task's subjects: compared, then timed."""
    differences = {name: difference(task, name) for name in task.subjects}
    prepare = {name: subject.prepare for name, subject in task.subjects.items()}
    times = alternate(
        {name: subject.run for name, subject in task.subjects.items()}, runs, torch.device("cpu"), prepare=prepare
    )
    return [
        replace(found.measurement(task.part, name, task.size, 1, macs=task.macs), difference=differences[name])
        for name, found in times.items()
    ]


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="512x1024, few runs")
    parser.add_argument(
        "--size", type=int, nargs=2, help="height and width, multiples of 32 (1024 2048; short: 512 1024)"
    )
    parser.add_argument("--runs", type=int, help="rounds after the warm-up (5; short: 3)")
    parser.add_argument("--allocator", choices=("default", "keep"), default="default")
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON file")
    given = parser.parse_args(words)
    height, width = given.size or ([512, 1024] if given.short else [1024, 2048])
    here = machine(torch.device("cpu"), given.allocator)
    with torch.inference_mode():
        measurements = [
            one
            for task in every_task(given.channels, height, width)
            for one in measured(task, given.runs or (3 if given.short else 5))
        ]
    finish(
        "operations", f"Operations, C = {given.channels}, {height}x{width}",
        short=given.short, machine=here, measurements=measurements, goals=(),
        out=given.out / f"operations-{height}x{width}-cpu-{given.allocator}.json",
    )  # fmt: skip


if __name__ == "__main__":
    main()
