"""Speed records: read back as written, refused where they cannot be true; the benchmarks write them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dynroute_core.runtime import BlockedError
from dynroute_core.speed_record import (
    SPEED_SCHEMA,
    BenchMachine,
    Goal,
    Measurement,
    SpeedRecord,
    read_speed,
    write_speed,
)

ROOT = Path(__file__).resolve().parents[1]
TIME = Measurement(
    part="open",
    subject="model",
    height=64,
    width=128,
    items=1,
    share=1.0,
    macs=1e9,
    median_ms=2.0,
    low_ms=1.0,
    high_ms=3.0,
    runs=3,
)
MACHINE = BenchMachine(
    device="cpu",
    device_name="a processor",
    threads=2,
    allocator="default",
    versions={"torch": "2.14.1"},
    commit="0" * 40,
    dirty=False,
    peak_gmacs_per_s={"float32": 100.0},
    instruction_set="torch AVX2, kernels avx2",
)
RECORD = SpeedRecord(
    schema=SPEED_SCHEMA,
    kind="inference",
    title="Inference",
    short=True,
    machine=MACHINE,
    measurements=(TIME,),
    goals=(Goal(text="speed", wanted=2.0, measured=2.5, higher=True),),
)


def test_a_record_comes_back(tmp_path):
    write_speed(tmp_path / "one.json", RECORD)
    assert read_speed(tmp_path / "one.json") == RECORD


@pytest.mark.parametrize(
    "wrong",
    [
        {"schema": 99},
        {"measurements": (replace(TIME, low_ms=2.5),)},
        {"measurements": (replace(TIME, share=1.2),)},
        {"measurements": (replace(TIME, runs=0),)},
    ],
)
def test_what_cannot_be_true_is_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match="cannot be true"):
        write_speed(tmp_path / "one.json", replace(RECORD, **wrong))


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "one.json").write_text("{}")
    with pytest.raises(BlockedError, match=r"one\.json"):
        read_speed(tmp_path / "one.json")


@pytest.mark.parametrize(("measured", "higher", "met"), [(3, True, True), (1, True, False), (1, False, True)])
def test_goals(measured, higher, met):
    assert Goal(text="", wanted=2, measured=measured, higher=higher).met is met


def run(*words: str) -> str:
    command = [sys.executable, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout


def test_the_inference_benchmark_at_a_tiny_size(tmp_path):
    small = ("--size", "64", "128", "--channels", "4", "--layers", "3", "--runs", "1", "--out", str(tmp_path))
    shown = run("benchmarks/inference.py", "--parts", "open", "routes", *small)
    assert "torch float32: time share over MAC share" in shown
    assert "times the plain model's speed" not in shown, "that goal is set for 1024×2048"
    opened = read_speed(tmp_path / "inference-open-64x128-cpu-default.json")
    assert {"model", "torch float32", "torch bfloat16, labels"} <= {one.subject for one in opened.measurements}
    routes = read_speed(tmp_path / "inference-routes-64x128-cpu-default.json")
    shares = [one.share for one in routes.measurements if one.subject == "model"]
    assert shares[-1] == 1 and shares == sorted(shares) and shares[0] < 0.7


def test_the_training_benchmark_at_a_tiny_size(tmp_path):
    shown = run("benchmarks/training.py", "--side", "64", "--runs", "1", "--channels", "4", "--out", str(tmp_path))
    assert "channels-last" in shown
    (path,) = tmp_path.glob("training-*.json")
    assert len(read_speed(path).measurements) == 6
