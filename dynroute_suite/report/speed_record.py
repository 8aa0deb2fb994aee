"""What a benchmark leaves: `results/speed/*.json`, with everything a time depends on. Written by `benchmarks/`, read by
the report. Times are medians of alternating runs with the fastest and the slowest beside them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dynroute_core.system.strict_json import read_checked, write_checked

SPEED_SCHEMA = 1
Kind = Literal["inference", "training", "loading", "operations"]


@dataclass(frozen=True, kw_only=True)
class BenchMachine:
    """Where and how it was measured. allocator: `default`, or `keep`: glibc keeps freed memory. peaks: what a matrix
    product of 1024³ (on a GPU 8192³) reached in the same run, GMAC/s by dtype. instruction_set: of the CPU, as torch
    and the compiled kernels chose it; None of a GPU, and in records from before it was kept."""

    device: str
    device_name: str
    threads: int
    allocator: str
    versions: dict[str, str]
    commit: str
    dirty: bool
    peak_gmacs_per_s: dict[str, float]
    instruction_set: str | None = None


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One subject at one task. share: of the all-open MACs, where a route was forced. macs: per run, 0 where none are
    counted. items: images or crops per run. peak_mb: 10⁶ bytes above what the process held before its first run.
    difference: of a compiled operation's result from its meaning's, over the largest value (of labels: the share)."""

    part: str
    subject: str
    height: int
    width: int
    items: int
    share: float
    macs: float
    median_ms: float
    low_ms: float
    high_ms: float
    runs: int
    peak_mb: float | None = None
    difference: float | None = None


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A goal and what came out. higher: whether more is better."""

    text: str
    wanted: float
    measured: float
    higher: bool

    @property
    def met(self) -> bool:
        return self.measured >= self.wanted if self.higher else self.measured <= self.wanted


@dataclass(frozen=True, kw_only=True)
class SpeedRecord:
    """One run of one benchmark. short: few runs, small sizes."""

    schema: int
    kind: Kind
    title: str
    short: bool
    machine: BenchMachine
    measurements: tuple[Measurement, ...]
    goals: tuple[Goal, ...]


def read_speed(path: Path) -> SpeedRecord:
    """The record in a file, checked. Raises BlockedError naming file and reason."""
    return read_checked(SpeedRecord, path, _problems, again="Measure again with `make bench`.")


def write_speed(path: Path, record: SpeedRecord) -> None:
    """Writes a record whole or not at all, after checking it as `read_speed` does."""
    write_checked(path, record, _problems, what="measurements")


def _problems(record: SpeedRecord) -> list[str]:
    found = []
    if record.schema != SPEED_SCHEMA:
        found.append(f"schema {record.schema}, this version reads {SPEED_SCHEMA}")
    for one in record.measurements:
        name = f"{one.part}, {one.subject}"
        if not 0 < one.low_ms <= one.median_ms <= one.high_ms:
            found.append(f"{name}: times {one.low_ms}, {one.median_ms}, {one.high_ms} are out of order")
        if not 0 <= one.share <= 1 + 1e-6 or one.macs < 0 or min(one.height, one.width, one.items, one.runs) < 1:
            found.append(f"{name}: a share, count or size is out of range")
    peaks = record.machine.peak_gmacs_per_s
    if "torch" not in record.machine.versions or "float32" not in peaks or min(peaks.values()) <= 0:
        found.append("torch's version or the machine's float32 peak is missing, or a peak is not above 0")
    if any((one.peak_mb or 0) < 0 for one in record.measurements):
        found.append("a peak of memory is negative")
    found += [f"goal {goal.text!r} is {goal.measured}" for goal in record.goals if not math.isfinite(goal.measured)]
    return found
