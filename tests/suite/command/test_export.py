"""The export for the test server: what it holds, that it is whole or absent, and that the official script reads it."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import reproduce
from dynroute_core.data.datasets import open_dataset
from dynroute_core.data.labels import train_id_to_label_id
from dynroute_core.evaluate import ForcedPaths, predict_image
from dynroute_core.experiments import Experiment, experiment, with_settings
from dynroute_core.runs import pipeline
from dynroute_core.runs.finished import FinishedRun
from dynroute_core.runs.plan import RunPlan, plan
from dynroute_core.runs.record import CHECKPOINT, Record
from dynroute_core.system.errors import BlockedError, UsageError
from dynroute_suite.command import export as export_module
from dynroute_suite.command import run
from dynroute_suite.command.export import (
    ARCHIVE,
    FACTS,
    IMAGES,
    Target,
    export,
    file_name,
    parse_target,
)
from dynroute_suite.notebook.supervisor import Outcome
from support.official import official_scores

CPU = torch.device("cpu")
SETTINGS = {"model.layers": "3", "train.iterations": "4"}


@pytest.fixture(scope="module")
def tiny() -> Experiment:
    return with_settings(experiment("dynamic-a", profile="smoke"), SETTINGS)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def record(tiny: Experiment, smoke_streets: Path, out: Path) -> Record:
    return pipeline.run(tiny, data_root=smoke_streets, out=out, device="cpu").record


@pytest.fixture
def planned(tiny: Experiment, smoke_streets: Path, out: Path, record: Record) -> RunPlan:
    return plan(tiny, data_root=smoke_streets, out=out)


@pytest.fixture
def write(smoke_streets: Path, planned: RunPlan, tmp_path: Path) -> Callable[..., Path]:
    def call(**settings: bool) -> Path:
        return export(planned, Target(tmp_path / "to", "val"), data_root=smoke_streets, device=CPU, **settings)

    return call


def test_the_official_script_finds_and_scores_what_the_record_says(
    write: Callable[..., Path], smoke_streets: Path, record: Record
) -> None:
    folder = write()
    scores, mean = official_scores(folder, smoke_streets / "gtFine" / "val")
    ours = {name: np.nan if v is None else v / 100 for name, v in record.metrics.class_iou_percent.items()}
    assert scores == pytest.approx(ours, abs=1e-9, nan_ok=True)  # the same integers, divided once
    assert mean == pytest.approx(record.metrics.miou_percent / 100, abs=1e-9)


def test_files_are_the_networks_labels_at_the_images_size_as_label_ids(
    write: Callable[..., Path], tiny: Experiment, planned: RunPlan, smoke_streets: Path
) -> None:
    folder = write()
    dataset = open_dataset("streets", smoke_streets, "val")
    model = FinishedRun.open(planned.folder).model()
    assert sorted(os.listdir(folder)) == sorted([IMAGES, ARCHIVE, FACTS])
    assert sorted(os.listdir(folder / IMAGES)) == sorted(file_name(item.name) for item in dataset.items)
    for sample in dataset:
        written = Image.open(folder / IMAGES / file_name(sample.name))
        assert (written.mode, written.size[::-1]) == ("L", sample.label.shape)
        labels = predict_image(model, sample, tiny.evaluate, CPU).labels.numpy()
        assert np.array_equal(np.array(written), train_id_to_label_id[labels])


def test_names_are_the_servers() -> None:
    assert file_name("lindau/lindau_000000_000019") == "lindau_000000_000019_labelIds.png"


def test_the_zip_holds_the_same_files_and_the_same_bytes_each_time(write: Callable[..., Path]) -> None:
    folder = write()
    with zipfile.ZipFile(folder / ARCHIVE) as file:
        assert file.testzip() is None
        inside = {name: file.read(name) for name in file.namelist()}
    assert inside == {path.name: path.read_bytes() for path in (folder / IMAGES).iterdir()}
    before = (folder / ARCHIVE).read_bytes()
    assert (write(force=True) / ARCHIVE).read_bytes() == before


def test_facts_say_whose_predictions_these_are(write: Callable[..., Path], planned: RunPlan, record: Record) -> None:
    folder = write()
    facts = json.loads((folder / FACTS).read_text())
    assert folder.name == f"dynamic-a-{planned.folder.name}-val"
    assert (facts["row"], facts["profile"], facts["key"], facts["images"]) == ("dynamic-a", "smoke", record.key, 3)
    assert facts["evaluate"]["scales"] == [1.0]


def test_an_export_that_is_there_is_kept_unless_forced(write: Callable[..., Path]) -> None:
    marker = write() / "marker"
    marker.touch()
    assert write() == marker.parent and marker.exists()
    write(force=True)
    assert not marker.exists()


# Never half


@pytest.mark.parametrize("ending", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_export_that_is_stopped_leaves_nothing(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ending: BaseException
) -> None:
    real, calls = export_module._archive, []

    def stop(images: Path, path: Path) -> None:
        calls.append(sorted(os.listdir(images)))
        raise ending

    monkeypatch.setattr(export_module, "_archive", stop)
    with pytest.raises(KeyboardInterrupt if ending is KeyboardInterrupt else BlockedError):
        write()
    assert len(calls[0]) == 3  # the images were there
    assert os.listdir(tmp_path / "to") == []
    monkeypatch.setattr(export_module, "_archive", real)
    assert write().exists()


def test_a_forced_export_is_whole_by_its_name_at_every_moment(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The old one goes in one renaming, the new one comes in another; between them there is none, and never half."""
    folder = write()
    whole = sorted(path.name for path in folder.rglob("*"))
    rename, seen = os.rename, []

    def look(source: Path, target: Path) -> None:
        if folder.exists():
            seen.append(sorted(path.name for path in folder.rglob("*")))
        rename(source, target)
        seen.append(sorted(path.name for path in folder.rglob("*")) if folder.exists() else [])

    monkeypatch.setattr(os, "rename", look)
    write(force=True)
    assert seen == [whole, [], whole]
    seen.clear()

    def fail_to_come(source: Path, target: Path) -> None:
        if source.name.endswith(".tmp"):
            raise OSError(28, "No space left on device")
        look(source, target)

    monkeypatch.setattr(os, "rename", fail_to_come)
    with pytest.raises(BlockedError):
        write(force=True)
    assert sorted(path.name for path in folder.rglob("*")) == whole
    assert [path.name for path in (tmp_path / "to").iterdir()] == [folder.name]


def test_what_a_killed_export_left_is_replaced(write: Callable[..., Path], tmp_path: Path, planned: RunPlan) -> None:
    left = tmp_path / "to" / f".dynamic-a-{planned.folder.name}-val.tmp" / IMAGES
    left.mkdir(parents=True)
    (left / "half.png").write_bytes(b"x")
    assert "half.png" not in os.listdir(write() / IMAGES)
    assert [path.name for path in (tmp_path / "to").iterdir()] == [f"dynamic-a-{planned.folder.name}-val"]


def test_a_full_disk_is_a_block_not_a_crash(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "to").write_text("a file where the folder should be")
    with pytest.raises(BlockedError, match="choose another --export folder"):
        write()


# Runs that cannot be exported


def test_a_run_that_is_not_finished_has_no_export(planned: RunPlan, smoke_streets: Path, tmp_path: Path) -> None:
    for folder, key in ((tmp_path, planned.key), (planned.folder, "0" * 64)):
        with pytest.raises(BlockedError):
            export(RunPlan(folder, key, False, ""), Target(tmp_path, "val"), data_root=smoke_streets, device=CPU)


def test_a_forced_route_is_exported_as_it_was_evaluated(tiny: Experiment, smoke_streets: Path, tmp_path: Path) -> None:
    """The official script still gives the record's scores: the network's own gates would give others."""
    paths = ("init>keep", "0.0>keep", "1.0>keep", "2.0>keep")
    forced = replace(tiny, evaluate=replace(tiny.evaluate, route=ForcedPaths(name="finest", paths=paths)))
    pipeline.run(tiny, data_root=smoke_streets, out=tmp_path / "runs", device="cpu")  # whose weights are evaluated
    made = pipeline.run(forced, data_root=smoke_streets, out=tmp_path / "runs", device="cpu")
    folder = export(
        plan(forced, data_root=smoke_streets, out=tmp_path / "runs"),
        Target(tmp_path, "val"),
        data_root=smoke_streets,
        device=CPU,
    )
    _, mean = official_scores(folder, smoke_streets / "gtFine" / "val")
    assert mean == pytest.approx(made.record.metrics.miou_percent / 100, abs=1e-9)


# The command line


@pytest.mark.parametrize(
    ("text", "data", "said"),
    [
        ("train=out", "cityscapes", "one of val, test"),
        ("val=", "cityscapes", "names no folder"),
        ("test=out", "streets", "there is no test split"),
        ("out", "camvid", "CamVid has other classes"),
    ],
)
def test_targets_that_cannot_be_are_refused(text: str, data: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_target(text, data)
    assert reproduce.main(["--row", "dynamic-a", "--data", data, "--export", text]) == 2


def test_targets() -> None:
    assert parse_target("out", "cityscapes") == Target(Path.cwd() / "out", "val")
    assert parse_target("test=out/a", "cityscapes") == Target(Path.cwd() / "out" / "a", "test")


def test_the_command_exports_a_finished_row(
    smoke_streets: Path,
    out: Path,
    planned: RunPlan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(Path.cwd())  # the command changes it
    done = Outcome(state="done", exit_code=0, error="", message="", notebook=None, interrupted=False, seconds=0.0)
    monkeypatch.setattr(run, "run_row", lambda *_: done)  # the notebook; the record is there already
    settings = [f"{key}={value}" for key, value in SETTINGS.items()]
    words = ["--row", "dynamic-a", "--profile", "smoke", "--data", f"streets={smoke_streets}", "--device", "cpu"]
    words += ["--set", *settings, "--out", str(out), "--json", "--export", str(tmp_path)]
    assert reproduce.main(words) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert Path(row["export"]) == tmp_path / f"dynamic-a-{planned.folder.name}-val"
    assert len(list((Path(row["export"]) / IMAGES).iterdir())) == 3

    (planned.folder / CHECKPOINT).rename(tmp_path / "aside")
    try:
        assert reproduce.main([*words, "--force"]) == 3
    finally:
        (tmp_path / "aside").rename(planned.folder / CHECKPOINT)
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["state"], row["export"]) == ("blocked", "")
    assert row["record"]  # which stays
