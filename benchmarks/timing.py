"""What the benchmarks share: alternating runs, the machine, tables, files."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from dynroute_core.system.machine import device_name, keep_freed_memory, versions  # noqa: E402
from dynroute_core.system.provenance import commit  # noqa: E402
from dynroute_kernels import instruction_sets  # noqa: E402
from dynroute_suite.report.speed_record import (  # noqa: E402
    SPEED_SCHEMA,
    BenchMachine,
    Goal,
    Kind,
    Measurement,
    SpeedRecord,
    write_speed,
)

RESULTS = ROOT / "results" / "speed"


@dataclass(frozen=True)
class Times:
    """Seconds of one subject's runs, the first one dropped (memory is faulted in then)."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def measurement(
        self, part: str, subject: str, size: tuple[int, int], items: int, *, macs: float, share: float = 1.0
    ) -> Measurement:
        return Measurement(
            part=part,
            subject=subject,
            height=size[0],
            width=size[1],
            items=items,
            share=share,
            macs=macs,
            median_ms=1e3 * self.median,
            low_ms=1e3 * min(self.seconds),
            high_ms=1e3 * max(self.seconds),
            runs=len(self.seconds),
        )


def alternate(
    subjects: Mapping[str, Callable[[], object]],
    runs: int,
    device: torch.device,
    *,
    prepare: Mapping[str, Callable[[], object]] | None = None,
) -> dict[str, Times]:
    """Each subject once per round, `runs` rounds after one to warm up: what disturbs one disturbs all.

    prepare: what comes before a subject's run, outside the clock.
    """
    found: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(runs + 1):
        for name, subject in subjects.items():
            if prepare is not None:
                prepare[name]()
            begin = time.perf_counter()
            subject()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            found[name].append(time.perf_counter() - begin)
    return {name: Times(tuple(seconds[1:])) for name, seconds in found.items()}


def peak_gmacs(device: torch.device) -> dict[str, float]:
    """GMAC/s of a product of 1024³, on a GPU of 8192³, by dtype: the best of twenty, or of what a second has room
    for (without instructions for it, torch takes two seconds over one in bfloat16)."""
    found = {}
    side = 8192 if device.type == "cuda" else 1024  # a GPU is through the smaller one before its launch pays
    for dtype in (torch.float32, torch.bfloat16):
        one, other = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        subject = {"product": lambda one=one, other=other: one @ other}
        best, begin = math.inf, time.perf_counter()
        for _ in range(20):
            best = min(best, *alternate(subject, 1, device)["product"].seconds)
            if time.perf_counter() - begin > 1:
                break
        found[str(dtype).removeprefix("torch.")] = side**3 / 1e9 / best
    return found


def machine(device: torch.device, allocator: str) -> BenchMachine:
    """The machine, its peak measured now. allocator: `keep` tells glibc so, for the rest of the process."""
    if allocator == "keep" and not keep_freed_memory():
        raise SystemExit("--allocator keep needs glibc.")
    revision, dirty = commit()
    return BenchMachine(
        device=str(device),
        device_name=device_name(device),
        threads=torch.get_num_threads(),
        allocator=allocator,
        versions=versions(),
        commit=revision,
        dirty=dirty,
        peak_gmacs_per_s=peak_gmacs(device),
        instruction_set=instruction_sets() if device.type == "cpu" else None,
    )


def finish(
    kind: Kind,
    title: str,
    *,
    short: bool,
    machine: BenchMachine,
    measurements: Sequence[Measurement],
    goals: Sequence[Goal],
    out: Path,
) -> None:
    """Prints the table and the goals, and writes the record."""
    record = SpeedRecord(
        schema=SPEED_SCHEMA,
        kind=kind,
        title=title,
        short=short,
        machine=machine,
        measurements=tuple(measurements),
        goals=tuple(goals),
    )
    show(record)
    write_speed(out, record)
    print(f"written: {out}")


def show(record: SpeedRecord) -> None:
    here = record.machine
    peaks = ", ".join(f"{name} {value:.0f}" for name, value in here.peak_gmacs_per_s.items())
    print(f"\n{record.title}\n{here.device_name}, {here.device}, {here.threads} threads, allocator {here.allocator}")
    print(f"instruction set: {here.instruction_set or 'that of the device'}")
    print(f"torch {here.versions['torch']}; a matrix product's peak, GMAC/s: {peaks}")
    columns = f"{'part':<10} {'subject':<28} {'size':>10} {'items':>5} {'share':>6}"
    print(f"{columns} {'median ms':>10} {'spread':>17} {'GMAC/s':>7} {'peak MB':>8}")
    for one in record.measurements:
        rate = f"{one.macs / one.median_ms / 1e6:.0f}" if one.macs else "-"
        peak = "-" if one.peak_mb is None else f"{one.peak_mb:.0f}"
        print(
            f"{one.part:<10} {one.subject:<28} {f'{one.height}x{one.width}':>10} {one.items:>5} {one.share:>6.2f} "
            f"{one.median_ms:>10.1f} {f'{one.low_ms:.1f}..{one.high_ms:.1f}':>17} {rate:>7} {peak:>8}"
        )
    for goal in record.goals:
        sign = "≥" if goal.higher else "≤"
        print(f"{'met    ' if goal.met else 'NOT MET'} {goal.text}: {goal.measured:.2f} (goal {sign} {goal.wanted:g})")
