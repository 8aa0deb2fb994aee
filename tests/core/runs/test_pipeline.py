"""The pipeline on a tiny generated data set: records, reuse, and an interruption at any moment that changes nothing."""

from __future__ import annotations

import fcntl
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dynroute_core.checkpoint import load_snapshot
from dynroute_core.cost import cost_table
from dynroute_core.data.dataset import read_label
from dynroute_core.data.datasets import open_dataset
from dynroute_core.data.labels import colorize, train_id_table
from dynroute_core.experiments import Experiment, experiment, with_settings
from dynroute_core.nonfinite import NonFiniteLossError
from dynroute_core.runs import pipeline
from dynroute_core.runs import plan as plan_module
from dynroute_core.runs.pipeline import RunProgress, plan, run
from dynroute_core.runs.record import CHECKPOINT, RECORD, ROUTES, example_names, read_curve, read_record, read_routes
from dynroute_core.system.errors import BlockedError, UsageError
from dynroute_core.train import Trainer
from support.sample_tiny_runs import TINY, StopHere, assert_same_run, essence


def test_a_run_leaves_a_checked_record(finished, tiny):
    record = read_record(finished.folder / RECORD)
    routes = read_routes(finished.folder / ROUTES)
    assert record == finished.record
    assert not finished.reused
    assert record.row == "dynamic-a" and record.profile == "smoke" and record.data.name == "streets"
    assert [image.name for image in record.images] == [image.name for image in routes.images]
    assert record.training.iterations == 8
    assert re.fullmatch(r"engine (torch|native) float32, .+ threads?", record.machine.backend)
    assert set(record.metrics.class_iou_percent) == set(record.data.class_names)
    assert len(read_curve(finished.folder / "curve.csv")) == 4
    for role in example_names(record):
        for kind in ("image", "truth", "prediction"):
            assert (finished.folder / "examples" / role / f"{kind}.png").stat().st_size > 0


def test_example_masks_can_be_seen_and_hold_train_ids(finished, smoke_streets):
    data = open_dataset("streets", smoke_streets, "val")
    truth = {item.name: sample.label for item, sample in zip(data.items, data, strict=True)}
    for role, name in example_names(finished.record).items():
        for kind in ("truth", "prediction"):
            path = finished.folder / "examples" / role / f"{kind}.png"
            with Image.open(path) as picture:
                values, seen = np.asarray(picture), np.asarray(picture.convert("RGB"))
            assert np.array_equal(seen, colorize(values, data.classes)) and seen.max() > 100
            assert np.array_equal(read_label(path, train_id_table(data.classes)), values)
            assert kind == "prediction" or np.array_equal(values, truth[name])


def test_records_add_up(finished):
    """mIoU from the stored counts of every image equals the record's."""
    record, routes = finished.record, read_routes(finished.folder / ROUTES)
    sums = [[sum(column) for column in zip(*(getattr(i, kind) for i in routes.images), strict=True)]
            for kind in ("true_positive", "false_positive", "false_negative")]  # fmt: skip
    iou = [hit / (hit + fp + fn) for hit, fp, fn in zip(*sums, strict=True) if hit + fp + fn]
    assert record.metrics.miou_percent == pytest.approx(100 * sum(iou) / len(iou), rel=1e-12)
    costs = [image.paper_macs for image in record.images]
    assert record.costs.paper.mean_macs == pytest.approx(sum(costs) / len(costs), rel=1e-12)


def test_a_finished_record_is_reused(finished, tiny, smoke_streets):
    said: list[RunProgress] = []
    again = run(tiny, data_root=smoke_streets, out=finished.folder.parents[1], device="cpu", report=said.append)
    assert again.reused and again.record == finished.record
    assert {progress.phase for progress in said} == {"data"}


def test_neutral_settings_keep_the_key_and_others_say_why_not(finished, tiny, smoke_streets):
    out = finished.folder.parents[1]
    assert plan(with_settings(tiny, {"data.workers": "1"}), data_root=smoke_streets, out=out).finished
    changed = plan(with_settings(tiny, {"train.lr": "0.5"}), data_root=smoke_streets, out=out)
    assert not changed.finished and changed.folder != finished.folder
    assert "train.lr" in changed.reason and "0.5" in changed.reason


def test_other_data_and_other_sources_change_the_key(finished, tiny, smoke_streets, monkeypatch):
    out = finished.folder.parents[1]
    fewer = plan(with_settings(tiny, {"data.val_images": "2"}), data_root=smoke_streets, out=out)
    assert not fewer.finished and "data" in fewer.reason
    monkeypatch.setattr(plan_module, "source_hash", lambda: "another")
    edited = plan(tiny, data_root=smoke_streets, out=out)
    assert not edited.finished and "source" in edited.reason


@pytest.mark.parametrize(
    "stop", [("train", 2), ("train", 6), ("train", 8), ("precise_bn", 1), ("evaluate", 1), ("evaluate", 3)]
)
@pytest.mark.parametrize("kind", [KeyboardInterrupt, StopHere])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(stop, kind, finished, tiny, smoke_streets, tmp_path):
    """KeyboardInterrupt writes a checkpoint; any other death leaves the last periodic one. Both must end alike."""

    def interrupt(progress: RunProgress) -> None:
        if (progress.phase, progress.done) == stop:
            raise kind

    with pytest.raises(kind):
        run(tiny, data_root=smoke_streets, out=tmp_path, device="cpu", report=interrupt)
    (folder,) = (tmp_path / "dynamic-a").iterdir()
    assert not (folder / RECORD).exists()
    resumed = run(tiny, data_root=smoke_streets, out=tmp_path, device="cpu")
    assert resumed.folder == folder
    assert_same_run(folder, finished.folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_mid_step_waits_for_its_end(number, finished, tiny, smoke_streets, tmp_path, monkeypatch):
    """Weights half updated, statistics moved: what a checkpoint taken at the signal itself would hold."""
    steps = 0
    step = Trainer._step

    def interrupted(self, batch):
        nonlocal steps
        steps += 1
        state = step(self, batch)
        if steps == 5:
            signal.raise_signal(number)
        return state

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(tiny, data_root=smoke_streets, out=tmp_path, device="cpu")
    (folder,) = (tmp_path / "dynamic-a").iterdir()
    assert load_snapshot(folder / CHECKPOINT).facts["iteration"] == 5
    resumed = run(tiny, data_root=smoke_streets, out=tmp_path, device="cpu")
    assert resumed.record.training.resumed_at == (5,)
    assert_same_run(folder, finished.folder)


def test_a_second_signal_ends_at_once(tiny, smoke_streets, tmp_path, monkeypatch):
    def twice(self, batch):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second signal did not end the step")

    monkeypatch.setattr(Trainer, "_step", twice)
    with pytest.raises(KeyboardInterrupt):
        run(tiny, data_root=smoke_streets, out=tmp_path, device="cpu")


def test_signal_handlers_are_put_back(finished, tiny, smoke_streets, tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    run(tiny, data_root=smoke_streets, out=tmp_path, device="cpu")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_run_that_diverges_says_where(tiny, smoke_streets, tmp_path):
    wild = with_settings(tiny, {"train.lr": "1e30", "train.clip_norm": "1e30"})
    with pytest.raises(NonFiniteLossError, match=r"iteration \d+ \(files: "):
        run(wild, data_root=smoke_streets, out=tmp_path, device="cpu")
    (folder,) = (tmp_path / "dynamic-a").iterdir()
    assert not (folder / RECORD).exists()


CHILD = """
import sys
from pathlib import Path
from dynroute_core.experiments import experiment, with_settings
from dynroute_core.runs.pipeline import run
settings = dict(item.split("=") for item in sys.argv[3:])
run(with_settings(experiment("dynamic-a", profile="smoke"), settings), data_root=Path(sys.argv[1]),
    out=Path(sys.argv[2]), device="cpu", report=lambda progress: print(progress.phase, progress.done, flush=True))
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_at_a_random_moment(number, finished, smoke_streets, tmp_path):
    seed = int(number) * 1009
    moment = random.Random(seed).randrange(2, 10)  # lines of progress to wait for
    arguments = [sys.executable, "-c", CHILD, str(smoke_streets), str(tmp_path), *(f"{k}={v}" for k, v in TINY.items())]
    environment = os.environ | {"PYTHONPATH": str(Path(pipeline.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True
    ) as child:
        assert child.stdout is not None
        for _ in range(moment):
            child.stdout.readline()
        child.send_signal(number)
        child.stdout.read()
        assert child.wait() != 0, f"seed {seed}: ended before the signal"
    subprocess.run(arguments, env=environment, check=True, stdout=subprocess.DEVNULL, timeout=300)
    (folder,) = (tmp_path / "dynamic-a").iterdir()
    assert_same_run(folder, finished.folder)
    assert not list(folder.glob(".*.tmp"))


def test_force_starts_anew_and_gives_the_same(finished, tiny, smoke_streets, tmp_path):
    first = run(tiny, data_root=smoke_streets, out=tmp_path, device="cpu")
    forced = run(tiny, data_root=smoke_streets, out=tmp_path, device="cpu", force=True)
    assert not forced.reused
    assert essence(forced.record) == essence(first.record)


def test_a_run_at_work_is_not_disturbed(tiny, smoke_streets, tmp_path):
    folder = plan(tiny, data_root=smoke_streets, out=tmp_path).folder
    folder.mkdir(parents=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(BlockedError, match="another process"):
            run(tiny, data_root=smoke_streets, out=tmp_path, device="cpu")


def test_a_broken_checkpoint_is_named(tiny, smoke_streets, tmp_path):
    folder = plan(tiny, data_root=smoke_streets, out=tmp_path).folder
    folder.mkdir(parents=True)
    (folder / CHECKPOINT).write_bytes(b"not a checkpoint")
    with pytest.raises(BlockedError, match=CHECKPOINT):
        run(tiny, data_root=smoke_streets, out=tmp_path, device="cpu")


def test_a_checkpoint_of_another_run_is_refused(finished, tiny, smoke_streets, tmp_path):
    other = with_settings(tiny, {"train.lr": "0.5"})
    folder = plan(other, data_root=smoke_streets, out=tmp_path).folder
    folder.mkdir(parents=True)
    (folder / CHECKPOINT).write_bytes((finished.folder / CHECKPOINT).read_bytes())
    with pytest.raises(BlockedError, match="another run"):
        run(other, data_root=smoke_streets, out=tmp_path, device="cpu")


def test_data_that_are_not_there(tmp_path):
    with pytest.raises(BlockedError, match="--data camvid=FOLDER"):
        run(experiment("dynamic-c", profile="smoke", data="camvid"), out=tmp_path)
    with pytest.raises(BlockedError, match="nowhere"):
        run(experiment("dynamic-c", profile="smoke", data="camvid"), data_root=tmp_path / "nowhere", out=tmp_path)


def test_rows_that_need_weights_say_so(tmp_path):
    with pytest.raises(BlockedError, match="never released"):
        run(experiment("dynamic-raw-imagenet", profile="full"), out=tmp_path)


def test_classes_must_fit_the_data(tiny, smoke_streets, tmp_path):
    with pytest.raises(UsageError, match="19 classes"):
        run(with_settings(tiny, {"model.classes": "5"}), data_root=smoke_streets, out=tmp_path)


def test_an_augmented_evaluation_is_recorded_as_such(tiny: Experiment, smoke_streets: Path, tmp_path: Path) -> None:
    changed = with_settings(tiny, {"evaluate.scales": "[0.5, 1.0]", "evaluate.flip": "true", "train.iterations": "1"})
    record = run(changed, data_root=smoke_streets, out=tmp_path, device="cpu").record
    assert record.marks == ("test-time augmentation: scales 0.5 1.0, flipped",)
    assert read_record(tmp_path / "dynamic-a" / f"smoke-streets-seed0-{record.key[:8]}" / RECORD) == record
    sizes = [(32, 64), (64, 128)]
    tables = [cost_table(changed.model, height=h, width=w, accounting="paper") for h, w in sizes]
    assert record.costs.paper.all_open_macs == 2 * sum(table.all_open for table in tables)  # each view is shown twice
    assert record.costs.paper.all_closed_macs <= record.costs.paper.min_macs
