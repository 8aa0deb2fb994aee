"""The controls of a run's routes: the gates' line is the record's, costs stay within their bounds, the best is best."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from controls import ORDERS, Tried

from dynroute_core.evaluate import ImageMacs, ImageResult, RouteTaken
from dynroute_core.runs.finished import FinishedRun

PROGRAM = Path(__file__).resolve().parents[2] / "benchmarks" / "controls.py"


def call(*words: Path | str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, PROGRAM, *words], capture_output=True, text=True)


def result(right: int, macs: float) -> ImageResult:
    """An image of ten pixels of each of two classes, `right` of each hit."""
    route = RouteTaken(ImageMacs(macs, macs, macs), np.zeros(0, np.uint8), np.zeros(0, np.float32))
    return ImageResult("an image", np.array([[right, 10 - right], [10 - right, right]]), route)


def tried() -> Tried:
    """Three images; a cheap, a middle and a dear route, the dearer the better for all but the second image."""
    cheap = (result(4, 1e9), result(8, 1e9), result(4, 1e9))
    middle = (result(6, 2e9), result(6, 2e9), result(6, 2e9))
    dear = (result(9, 3e9), result(5, 3e9), result(9, 3e9))
    return Tried(own=(1, 2, 0), results=(cheap, middle, dear))


def test_the_best_costs_an_image_no_more_than_its_own_route() -> None:
    assert tried().best() == (1, 0, 0)


def test_a_choice_is_measured_over_the_whole_split() -> None:
    miou, macs = tried().chosen((0, 1, 2))
    right = 4 + 6 + 9  # of thirty: what is wrong counts in both classes' unions
    assert miou == pytest.approx(100 * right / (30 + 30 - right))
    assert macs == pytest.approx(2e9)


def test_orders_are_random_repeat_and_cost_the_same() -> None:
    orders = tried().random_orders()
    assert len(orders) == ORDERS and orders == tried().random_orders()
    assert len({round(miou, 6) for miou, _ in orders}) > 1
    assert [macs for _, macs in orders] == pytest.approx([2e9] * ORDERS)


def test_the_gates_line_is_the_records(finished: FinishedRun, smoke_streets: Path) -> None:
    done = call(finished.folder, "--data", smoke_streets)
    assert done.returncode == 0, done.stderr
    (gates,) = re.findall(r"the gates +mIoU +(\S+)", done.stdout)
    assert gates == f"{finished.record.metrics.miou_percent:.3f}"
    for name in ("own route", "another's route", "best observed route"):
        assert len(re.findall(rf"(?m)^{name} +mIoU +[0-9.]+  [0-9.]+ GFLOPs", done.stdout)) == 2


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    done = call(tmp_path)
    assert done.returncode == 3
    assert "cannot read" in done.stderr
