"""Many runs in one process leave nothing behind; and the rule that says so can say the opposite."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from soak_record import SOAK_SCHEMA, Series, SoakRecord, fewest_runs, growth, read_soak, write_soak

from dynroute_kernels.cpu.build import missing

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "benchmarks" / "soak.py"
COMMITTED = ROOT / "results" / "soak"
CYCLE = 6


def series(values: list[int], limit: float | None = 1000) -> Series:
    return Series(name="memory", unit="bytes", limit=limit, values=tuple(values))


def record_of(*several: Series) -> SoakRecord:
    return SoakRecord(
        schema=SOAK_SCHEMA,
        runs=len(several[0].values),
        cycle=CYCLE,
        settings=("one",) * CYCLE,
        leaks=(),
        seconds=1.0,
        device_name="here",
        threads=1,
        versions={},
        commit="0",
        dirty=False,
        series=several,
    )


def noise(runs: int, size: int = 100) -> list[int]:
    dice = random.Random(3)
    return [10**6 + 1000 * (run % CYCLE) + dice.randrange(size) for run in range(runs)]


def test_a_level_that_wavers_is_flat() -> None:
    """Settings of a cycle differ by far more than the limit, and the first half may do what it likes."""
    values = noise(1000)
    assert growth(series(values), CYCLE).flat
    warming = [value - max(0, 400 - run) * 500 for run, value in enumerate(values)]
    assert growth(series(warming), CYCLE).flat


@pytest.mark.parametrize("runs", [36, 60, 1000])
def test_a_leak_is_found_whatever_the_number_of_runs(runs: int) -> None:
    leak = 4000 // runs + 3  # a run; over the half it is about twice the limit
    found = growth(series([value + leak * run for run, value in enumerate(noise(runs))]), CYCLE)
    assert not found.flat
    assert found.per_run == pytest.approx(leak, rel=0.2)  # the noise of blocks of six or more over so few blocks


def test_a_leak_in_every_hundredth_run_is_found() -> None:
    values = [value + 400 * (run // 100) for run, value in enumerate(noise(1000))]
    assert not growth(series(values), CYCLE).flat


def test_a_count_that_grows_once_is_no_level() -> None:
    handles = [8] * 600 + [9] * 400
    assert not growth(series(handles, limit=0.5), CYCLE).flat
    assert growth(series([8] * 1000, limit=0.5), CYCLE).total == 0


def test_what_has_no_limit_decides_nothing() -> None:
    """Resident memory may grow by what the allocator keeps free; what is held may not."""
    grown = [value + 10**5 * run for run, value in enumerate(noise(60))]
    assert growth(series(grown, limit=None), CYCLE).flat
    assert record_of(series(grown, limit=None), series(noise(60))).flat
    assert not record_of(series(noise(60), limit=None), series(grown)).flat


def test_the_interval_is_students() -> None:
    """By hand: block means 0, 1, 5 → slope 2.5, squares left 1.5 on one degree of freedom, sum of squares 2."""
    found = growth(series([0] * 3 + [0, 1, 5]), 1)
    assert found.per_run == pytest.approx(2.5)
    assert found.high - found.per_run == pytest.approx(12.706 * (1.5 / 2) ** 0.5)


def test_too_few_runs_are_refused() -> None:
    with pytest.raises(ValueError, match="needs 36"):
        growth(series(noise(35)), CYCLE)


def soak(out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PROGRAM), "--out", str(out), *words], capture_output=True, text=True, check=False
    )


@pytest.mark.suite
@pytest.mark.slow
@pytest.mark.skipif(bool(missing()), reason="no C++ compiler for the native engine")
def test_runs_in_one_process_leave_nothing_behind(tmp_path: Path) -> None:
    done = soak(tmp_path, "--runs", "48")
    assert done.returncode == 0, done.stdout + done.stderr
    record = read_soak(tmp_path / "soak.json")
    assert record.flat and record.runs == 48
    held = {one.name: one.values for one in record.series}
    assert min(held["resident memory"]) > 0 and min(held["allocated from glibc"]) > 0
    assert set(held["arenas of the compiled engine"]) == {0} and min(held["open files"]) > 3


@pytest.mark.suite
@pytest.mark.slow
@pytest.mark.skipif(bool(missing()), reason="no C++ compiler for the native engine")
def test_leaks_are_found(tmp_path: Path) -> None:
    """64 KiB, an engine, a file and a thread are kept of every run: every series that decides must tell."""
    leaks = ("memory", "engine", "file", "thread")
    done = soak(tmp_path, "--runs", str(fewest_runs(CYCLE)), *(word for leak in leaks for word in ("--leak", leak)))
    assert done.returncode == 1, done.stdout + done.stderr
    record = read_soak(tmp_path / "soak.json")
    assert record.leaks == leaks
    assert [one.name for one in record.series if growth(one, record.cycle).flat] == ["resident memory"]


@pytest.mark.suite
def test_the_committed_soak() -> None:
    from soak_figures import soak_figure

    record = read_soak(COMMITTED / "soak.json")
    assert record.runs >= 1000 and record.flat and not record.leaks and not record.dirty
    shown = soak_figure(record)
    assert shown.alt.startswith(f"What one process held after each of {record.runs} runs. Flat")
    file = (COMMITTED / "soak.svg").read_text()
    assert len(file) < 60_000  # a page of text should not wait for it
    assert f"<title>What one process held after each of {record.runs} runs. Flat" in file


@pytest.mark.suite
def test_no_line_is_lost_beside_another() -> None:
    from soak_figures import _groups

    many, few, fewer = (
        Series(name=name, unit="count", limit=1, values=(value,) * 36)
        for name, value in (("objects", 10**6), ("files", 8), ("threads", 2))
    )
    assert _groups([many, few, fewer]) == [[many], [few, fewer]]


def test_impossible_records_are_refused(tmp_path: Path) -> None:
    good = record_of(series(noise(36)))
    write_soak(tmp_path / "soak.json", good)
    assert read_soak(tmp_path / "soak.json") == good
    with pytest.raises(ValueError, match="35 runs"):
        write_soak(tmp_path / "soak.json", replace(good, runs=35))
    for undecided in ((), (series(noise(36), limit=None),)):
        with pytest.raises(ValueError, match="no series that decides"):
            write_soak(tmp_path / "soak.json", replace(good, series=undecided))
    with pytest.raises(ValueError, match="a limit of 0"):
        write_soak(tmp_path / "soak.json", replace(good, series=(series(noise(36), limit=0),)))
