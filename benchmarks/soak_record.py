"""What `benchmarks/soak.py` leaves: what the process held after each of many runs, and the rule that calls it flat.

The rule looks at the second half of the runs, when every cache is filled. Settings alternate in a cycle, and each takes
its own share of memory; so whole cycles are averaged, in at most `BLOCKS` blocks (neighbours are not independent),
and a straight line is laid through these by least squares. Flat: even the upper end of the slope's 95 % interval makes
less than the series' limit over that half. A series without a limit is shown, and decides nothing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dynroute_core.system.strict_json import read_checked, write_checked

SOAK_SCHEMA = 1
BLOCKS = 10
FEWEST_BLOCKS = 3  # a line and its interval need a degree of freedom
# Student's t, two-sided 95 %, by degrees of freedom from 1.
STUDENT_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306)

Unit = Literal["bytes", "count"]


@dataclass(frozen=True, kw_only=True)
class Series:
    """One thing that a process holds, after each run. limit: growth over the second half of the runs from which on it
    counts as a leak, in the series' unit; None where others have a say in it, such as the allocator, the system and
    its other processes in resident memory."""

    name: str
    unit: Unit
    limit: float | None
    values: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class SoakRecord:
    """Many runs in one process. cycle: after how many runs the settings repeat; settings: each of them in words;
    leaks: what was leaked on purpose, to see the rule fire (empty in a real one)."""

    schema: int
    runs: int
    cycle: int
    settings: tuple[str, ...]
    leaks: tuple[str, ...]
    seconds: float
    device_name: str
    threads: int
    versions: dict[str, str]
    commit: str
    dirty: bool
    series: tuple[Series, ...]

    @property
    def flat(self) -> bool:
        return all(growth(one, self.cycle).flat for one in self.series)


@dataclass(frozen=True)
class Growth:
    """Growth of a series over the second half of the runs. per_run: the slope; low, high: its 95 % interval; total:
    what `high` makes over that half."""

    per_run: float
    low: float
    high: float
    total: float
    limit: float | None

    @property
    def flat(self) -> bool:
        return self.limit is None or self.total < self.limit


def fewest_runs(cycle: int) -> int:
    """How many runs the rule needs."""
    return 2 * FEWEST_BLOCKS * cycle


def growth(series: Series, cycle: int) -> Growth:
    """Raises ValueError for fewer runs than `fewest_runs`."""
    if len(series.values) < fewest_runs(cycle):
        raise ValueError(f"{len(series.values)} runs: the rule needs {fewest_runs(cycle)}.")
    half = len(series.values) // 2
    cycles = half // cycle
    wide = cycle * max(cycles // BLOCKS, 1)  # runs of a block
    count = min(half // wide, BLOCKS)
    late = series.values[len(series.values) - count * wide :]
    means = [statistics.fmean(late[start : start + wide]) for start in range(0, len(late), wide)]
    slope, error = _line(means)
    low, high = ((slope + side * STUDENT_T[count - 3] * error) / wide for side in (-1, 1))
    return Growth(slope / wide, low, high, high * half, series.limit)


def _line(values: Sequence[float]) -> tuple[float, float]:
    """(slope, its standard error) of a straight line through values at 0, 1, 2, …"""
    places = range(len(values))
    slope, start = statistics.linear_regression(places, values)
    middle = statistics.fmean(places)
    left = sum((value - start - slope * place) ** 2 for place, value in enumerate(values))
    return slope, math.sqrt(left / (len(values) - 2) / sum((place - middle) ** 2 for place in places))


def read_soak(path: Path) -> SoakRecord:
    """The record in a file, checked. Raises BlockedError naming file and reason."""
    return read_checked(SoakRecord, path, _problems, again="Run benchmarks/soak.py again.")


def write_soak(path: Path, record: SoakRecord) -> None:
    """Writes a record whole or not at all, after checking it as `read_soak` does."""
    write_checked(path, record, _problems, what="a soak")


def _problems(record: SoakRecord) -> list[str]:
    found = []
    if record.schema != SOAK_SCHEMA:
        found.append(f"schema {record.schema}, this version reads {SOAK_SCHEMA}")
    if record.cycle < 1 or len(record.settings) != record.cycle or record.runs < fewest_runs(record.cycle):
        found.append(f"{record.runs} runs of {len(record.settings)} settings in cycles of {record.cycle}")
    if all(one.limit is None for one in record.series):
        found.append("no series that decides")
    for one in record.series:
        if len(one.values) != record.runs or min(one.values, default=0) < 0:
            found.append(f"{one.name}: {len(one.values)} values for {record.runs} runs, or one is negative")
        if one.limit is not None and not 0 < one.limit < math.inf:
            found.append(f"{one.name}: a limit of {one.limit}")
    return found
