"""Weights that ship: what is written of a run, what `load` gives, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import dynroute_core
from dynroute_core.data.datasets import DATASETS
from dynroute_core.experiments import ROWS
from dynroute_core.runs import shipped as shipped_module
from dynroute_core.runs.finished import FinishedRun
from dynroute_core.runs.prediction import predict
from dynroute_core.runs.record import CHECKPOINT, RECORD, WEIGHTS, read_record, write_record
from dynroute_core.runs.shipped import FACTS, LICENCE, RESULTS, ShippedRun, find_shipped, shipped_rows, write_facts
from dynroute_core.runs.shipping import half, ship
from dynroute_core.system.errors import BlockedError, UsageError
from dynroute_core.weights.files import file_hash

ROOT = Path(__file__).resolve().parents[3]
MOST_BYTES, MOST_BYTES_TOGETHER = 3 << 20, 15 << 20  # what a clone may weigh by them


@pytest.fixture
def results(finished: FinishedRun, tmp_path: Path) -> Path:
    """A results folder with the run's record alone."""
    place = tmp_path / "results" / "dynamic-a" / "smoke-streets-seed0"
    place.mkdir(parents=True)
    shutil.copy(finished.folder / RECORD, place)
    return tmp_path / "results"


@pytest.fixture
def made(finished: FinishedRun, results: Path, smoke_streets: Path) -> ShippedRun:
    return ship(finished.folder, results, data_root=smoke_streets)


def test_they_are_the_runs_in_half_precision(made: ShippedRun, finished: FinishedRun, results: Path) -> None:
    ours, theirs = made.model(), finished.model()
    assert not ours.training
    for name, tensor in theirs.state_dict().items():
        if tensor.is_floating_point():
            found = ours.state_dict()[name]
            assert found.dtype == torch.float32 and torch.equal(found, tensor.half().float()), name
    with safe_open(made.path, framework="pt") as file:
        metadata = file.metadata()
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118 (no mapping)
    assert (metadata["row"], metadata["key"]) == ("dynamic-a", finished.record.key)
    assert (metadata["licence"], metadata["record_sha256"]) == (LICENCE, file_hash(made.path.with_name(RECORD)))


def test_facts_tell_what_the_stored_weights_reach(
    made: ShippedRun, finished: FinishedRun, results: Path, smoke_streets: Path, tmp_path: Path
) -> None:
    from dynroute_core.checkpoint import Weights
    from dynroute_core.runs.pipeline import run

    facts = made.facts
    assert facts.miou_percent == finished.record.metrics.miou_percent
    assert (facts.sha256, facts.size_bytes) == (file_hash(made.path), made.path.stat().st_size)
    given = replace(finished.experiment, weights=Weights(file=str(made.path)))
    evaluated = run(given, data_root=smoke_streets, out=tmp_path / "runs", device="cpu").record
    assert facts.stored_miou_percent == evaluated.metrics.miou_percent
    assert evaluated.marks == (f"weights of smoke-streets-seed0/{WEIGHTS}",)


def test_load_gives_the_row_by_name(made: ShippedRun, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped_module, "find_shipped", lambda row: find_shipped(row, results))
    model = dynroute_core.load("dynamic-a")
    assert model.experiment == made.run.experiment and model.classes is DATASETS["streets"].classes
    assert predict(model, torch.zeros(40, 60, 3, dtype=torch.uint8).numpy()).labels.shape == (40, 60)


def test_what_does_not_ship_is_told_with_what_does(made: ShippedRun, results: Path, tmp_path: Path) -> None:
    assert shipped_rows(results) == ["dynamic-a"]
    with pytest.raises(BlockedError, match=r"no weights of dynamic-c ship.*dynamic-a.*--weights FILE"):
        find_shipped("dynamic-c", results)
    with pytest.raises(UsageError, match="Did you mean 'dynamic-a'"):
        find_shipped("dynamic-aa", results)
    with pytest.raises(BlockedError, match="There are none in"):
        find_shipped("dynamic-a", tmp_path / "nothing")


def test_one_run_of_a_row_ships(made: ShippedRun, finished: FinishedRun, results: Path, smoke_streets: Path) -> None:
    again = ship(finished.folder, results, data_root=smoke_streets)  # the same run: anew
    assert replace(again.facts, sha256="") == replace(made.facts, sha256="")  # safetensors sorts no metadata
    other = results / "dynamic-a" / "smoke-streets-seed1"
    shutil.move(made.run.folder, other)
    made.run.folder.mkdir()
    write_record(made.run.folder / RECORD, finished.record)
    shutil.rmtree(other)
    other.mkdir()
    write_record(other / RECORD, replace(finished.record, key="1" * 64))
    write_facts(other, replace(made.facts, key="1" * 64, record_sha256=file_hash(other / RECORD)))
    with pytest.raises(BlockedError, match=r"seed1 ships weights of dynamic-a already"):
        ship(finished.folder, results, data_root=smoke_streets)
    write_facts(made.run.folder, made.facts)
    with pytest.raises(BlockedError, match=r"several runs \(smoke-streets-seed0, smoke-streets-seed1\)"):
        find_shipped("dynamic-a", results)


def _other_bytes(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes() + b" ")


def _other_record(folder: Path) -> None:
    write_record(folder / RECORD, replace(read_record(folder / RECORD), started="yesterday"))


def _facts(**wrong: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / FACTS).read_text()
        for name, value in wrong.items():
            before = next(line for line in text.splitlines() if f'"{name}"' in line)
            comma = "," if before.endswith(",") else ""
            text = text.replace(before, f'"{name}": {value}{comma}')
        (folder / FACTS).write_text(text)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_other_bytes, "is not the file that weights.json tells of"),
        (lambda folder: (folder / WEIGHTS).unlink(), "cannot read"),
        (_other_record, "record.json is not the one"),
        (lambda folder: (folder / RECORD).unlink(), "record.json"),
        (_facts(key=f'"{"0" * 64}"'), "is not the run 00000000's"),
        (_facts(schema=2), "schema 2, this version reads 1"),
        (_facts(sha256='"x"'), "sha256 is 'x'"),
        (_facts(licence='"none"'), "the licence is 'none'"),
        (_facts(stored_miou_percent=101), "stored_miou_percent is 101"),
        (_facts(miou_percent=99.5), "says other things"),
        (_facts(row='"dynamic-c"'), "says other things"),
        (_facts(size_bytes=0), "0 bytes"),
        (_facts(size_bytes='"many"'), "size_bytes"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(
    made: ShippedRun, results: Path, change: Callable[[Path], None], said: str
) -> None:
    change(made.run.folder)
    with pytest.raises(BlockedError, match=said):
        find_shipped("dynamic-a", results).model()


def test_weights_of_licensed_data_do_not_ship(made: ShippedRun, finished: FinishedRun, tmp_path: Path) -> None:
    """Neither written nor read."""
    record = replace(finished.record, data=replace(finished.record.data, name="camvid"))
    write_record(tmp_path / RECORD, record)
    with pytest.raises(UsageError, match=r"CamVid do not ship: its licence"):
        ship(tmp_path, tmp_path / "results")
    write_record(made.run.folder / RECORD, record)
    write_facts(made.run.folder, replace(made.facts, record_sha256=file_hash(made.run.folder / RECORD)))
    with pytest.raises(BlockedError, match="trained on camvid may not ship"):
        ShippedRun.open(made.run.folder)


def test_a_run_that_trained_nothing_and_one_without_a_record_do_not_ship(
    finished: FinishedRun, results: Path, tmp_path: Path
) -> None:
    facts = replace(finished.record.training, iterations=0, final_loss=None, final_expected_macs=None)
    write_record(tmp_path / RECORD, replace(finished.record, training=facts))
    with pytest.raises(UsageError, match="trained nothing"):
        ship(tmp_path, results)
    with pytest.raises(BlockedError, match=r"Copy its record.json.*smoke-streets-seed0 first"):
        ship(finished.folder, tmp_path / "elsewhere")


def test_other_images_than_the_records_are_refused(
    finished: FinishedRun, results: Path, smoke_streets: Path, tmp_path: Path
) -> None:
    other = tmp_path / "streets"
    shutil.copytree(smoke_streets, other)
    first, second = sorted(other.glob("leftImg8bit/val/*/*.png"))[:2]
    shutil.copy(first, second)
    with pytest.raises(BlockedError, match="does not hold the images"):
        ship(finished.folder, results, data_root=other)
    assert not list(results.rglob(WEIGHTS)) and not list(results.rglob(FACTS))


@pytest.mark.parametrize("value", [70000.0, float("nan")])
def test_what_half_precision_cannot_hold_is_refused(finished: FinishedRun, value: float) -> None:
    model = finished.model()
    name, tensor = next((n, t) for n, t in model.named_buffers() if n.endswith("running_var"))
    tensor[0] = value
    with pytest.raises(BlockedError, match=f"{name} has values up to .* cannot ship"):
        half(model)


def test_weights_need_the_runs_own_checkpoint(finished: FinishedRun, results: Path, tmp_path: Path) -> None:
    shutil.copy(finished.folder / RECORD, tmp_path / RECORD)
    with pytest.raises(BlockedError, match=rf"{CHECKPOINT} is missing"):
        ship(tmp_path, results)


def test_what_ships_here_is_whole_and_small() -> None:
    """Every committed file of weights: one run of a row, its facts true, its bytes within what a clone should weigh."""
    sizes = [find_shipped(row).path.stat().st_size for row in shipped_rows() if find_shipped(row).model()]
    assert all(size <= MOST_BYTES for size in sizes) and sum(sizes) <= MOST_BYTES_TOGETHER
    assert {path.parents[1].name for path in RESULTS.rglob(WEIGHTS)} == set(shipped_rows()) <= set(ROWS)
