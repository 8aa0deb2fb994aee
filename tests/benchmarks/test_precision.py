"""The benchmark of bfloat16's accuracy: its float32 line is the run's own record."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from dynroute_core.runs.finished import FinishedRun

PROGRAM = Path(__file__).resolve().parents[2] / "benchmarks" / "precision.py"


def call(*words: Path | str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, PROGRAM, *words], capture_output=True, text=True)


def test_float32_is_the_records(finished: FinishedRun, smoke_streets: Path) -> None:
    done = call(finished.folder, "--data", smoke_streets)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    (single,) = [line for line in lines if "torch float32" in line]
    assert f"mIoU {finished.record.metrics.miou_percent:.3f}" in single
    (half,) = [line for line in lines if "torch bfloat16" in line]
    assert "within 0.1" in half


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    done = call(tmp_path)
    assert done.returncode == 3
    assert "cannot read" in done.stderr
