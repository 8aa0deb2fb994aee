"""The training curve: means since the last point, interruption, the last tenth."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dynroute_core.runs.curve import Meter, late_mean, tensorboard
from dynroute_core.runs.record import CurvePoint
from dynroute_core.train import StepState


def state(iteration, *, logged, right=True):
    """A step whose numbers follow from its iteration; its two-class predictions are all right or all wrong."""
    confusion = torch.tensor([[4, 0], [0, 4]] if right else [[0, 4], [4, 0]])
    values = [torch.tensor(float(iteration) * k) for k in (1, 2, 3, 4)]
    return StepState(iteration, 0.1 * iteration, *values, confusion if logged else None)


def states(iterations, every=5, right=lambda _: True):
    return [state(i, logged=(i + 1) % every == 0, right=right(i)) for i in range(iterations)]


def points(meter, steps):
    return [p for p in (meter.add(s, seconds=float(s.iteration)) for s in steps) if p is not None]


def make_meter(iterations=100):
    return Meter(2, iterations, torch.device("cpu"))


def test_points_are_means_since_the_last_one():
    found = points(make_meter(), states(10))
    assert [p.iteration for p in found] == [4, 9]
    assert [p.loss for p in found] == [2.0, 7.0]
    assert [p.segmentation_loss for p in found] == [4.0, 14.0]
    assert [p.budget_loss for p in found] == [6.0, 21.0]
    assert [p.expected_macs for p in found] == [8.0, 28.0]
    assert [p.seconds for p in found] == [4.0, 9.0]
    assert [p.lr for p in found] == pytest.approx([0.4, 0.9], rel=1e-12)


def test_large_costs_are_summed_in_float64():
    """MACs of 1e11 and losses of 1e-3 share a sum; float32 would lose the seventh digit of a long mean."""
    meter = make_meter()
    big = StepState(0, 0.1, *[torch.tensor(1e11 + 1, dtype=torch.float64)] * 4, torch.eye(2).long())
    assert meter.add(big, 0.0).expected_macs == 1e11 + 1


def test_training_miou_starts_anew_every_tenth():
    """100 iterations: tenths of 10. Wrong in the first, right from then on."""
    found = points(make_meter(), states(30, right=lambda i: i >= 10))
    assert [p.train_miou_percent for p in found] == [0, 0, 100, 100, 100, 100]
    half = points(make_meter(), states(10, right=lambda i: i >= 5))
    assert half[1].train_miou_percent == pytest.approx(100 / 3)  # of 16 pixels 8 right: IoU 4 / 12 each


def test_an_interrupted_curve_equals_a_whole_one():
    steps = states(30, every=7, right=lambda i: i % 2 == 0)
    whole = points(make_meter(), steps)
    for cut in (1, 6, 7, 8, 13, 20):
        first = make_meter()
        begun = points(first, steps[:cut])
        saved = {name: tensor.clone() for name, tensor in first.tensors().items()}
        second = make_meter()
        second.restore(saved)
        assert begun + points(second, steps[cut:]) == whole, cut


def test_restoring_from_too_little_raises():
    with pytest.raises(KeyError):
        make_meter().restore({})


def point(iteration, loss):
    return CurvePoint(
        iteration=iteration,
        loss=loss,
        segmentation_loss=0.0,
        budget_loss=0.0,
        lr=0.0,
        expected_macs=0.0,
        train_miou_percent=0.0,
        seconds=0.0,
    )


def test_late_mean_is_over_the_last_tenth():
    curve = [point(10 * k + 9, float(k)) for k in range(60)]  # 600 iterations, logged every 10
    assert late_mean(curve, "loss", 600) == sum(range(54, 60)) / 6


@pytest.mark.parametrize("iterations", [1, 2, 6, 9, 10])
def test_late_mean_of_a_short_run_is_its_last_point(iterations):
    curve = [point(i, float(i)) for i in range(iterations)]
    assert late_mean(curve, "loss", iterations) == iterations - 1
    assert late_mean([], "loss", iterations) is None


def test_tensorboard_gets_every_point(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with tensorboard(tmp_path, 0) as log:
        for k in range(3):
            log(point(k, float(k)))
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert set(events.Tags()["scalars"]) >= {"train/expected_mmacs", "train/lr", "train/train_miou_percent"}


def test_without_tensorboard_there_is_no_writer(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with tensorboard(tmp_path, 0) as log:
        log(point(0, 1.0))
    assert not list(tmp_path.iterdir())


def test_batches_left_out_have_no_part_in_a_point():
    """Their losses are NaN. A logged iteration among them gives no point; the next one covers both spans."""
    steps = [
        replace(s, loss=torch.tensor(float("nan")), confusion=None, skipped=("a",)) if s.iteration in (1, 4) else s
        for s in states(10)
    ]
    (found,) = points(make_meter(), steps)
    assert (found.iteration, found.loss) == (9, sum((0, 2, 3, 5, 6, 7, 8, 9)) / 8)
    meter, later = make_meter(), make_meter()
    assert points(meter, steps[:6]) == []
    later.restore(meter.tensors())
    assert points(later, steps[6:]) == [found]
