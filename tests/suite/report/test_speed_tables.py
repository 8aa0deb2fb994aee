"""The gain of each compiled operation: the page says what the record says."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dynroute_kernels.cpu import build
from dynroute_suite.report.speed_record import read_speed
from dynroute_suite.report.speed_tables import gain_range, operations_table
from support.sample_speed import RECORD, TIME

ROOT = Path(__file__).resolve().parents[3]
MEASURED = ROOT / "results" / "speed" / "operations-1024x2048-cpu-default.json"


def of(subject: str, ms: float, height: int = 8):
    return replace(TIME, part="cell", subject=subject, height=height, median_ms=ms, low_ms=ms, high_ms=ms)


SMALL = replace(
    RECORD,
    kind="operations",
    measurements=(
        of("eager float32", 9.0),
        of("torch float32", 6.0),
        of("native float32", 2.0),
        of("torch float32", 6.0, height=4),
        of("native float32", 1.5, height=4),
    ),
)


def test_gains_are_over_plain_torch_at_each_size():
    assert gain_range(SMALL, "cell", "float32") == "3.0–4.0×"
    assert gain_range(SMALL, "cell", "bfloat16") == gain_range(SMALL, "stem", "float32") == "–"
    assert "| cell | 8×128 | 9.00 | 6.00 | 2.00 | – | – | 3.0 | – |" in operations_table(SMALL)


@pytest.mark.skipif(build.built() is None and bool(build.missing()), reason="the kernels are not compiled")
def test_the_benchmark_at_a_tiny_size(tmp_path):
    small = ("--size", "64", "96", "--channels", "8", "--runs", "1", "--out", str(tmp_path))
    command = [sys.executable, "benchmarks/operations.py", *small]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    record = read_speed(tmp_path / "operations-64x96-cpu-default.json")
    parts = {one.part for one in read_speed(MEASURED).measurements}
    assert {one.part for one in record.measurements} == parts
    differences = [one.difference for one in record.measurements if one.subject.startswith("native")]
    assert None not in differences and max(differences) < 0.03  # what the benchmark itself allows bfloat16
