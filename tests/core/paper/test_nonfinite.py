"""Losses that are not finite, through a whole run: where it stops, what it names, what is left out and counted."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dynroute_core import train
from dynroute_core.engine.training import CompiledTrainingStep
from dynroute_core.experiments import experiment, with_settings
from dynroute_core.nonfinite import LONGEST_SKIP, NonFiniteLossError, Watch
from dynroute_core.runs.pipeline import RunProgress, run
from dynroute_core.runs.record import CHECKPOINT, read_curve, read_record, write_record
from dynroute_core.step import EagerStep
from dynroute_core.system.errors import EXIT_FAILED
from support.sample_records import sample_record
from support.sample_tiny_runs import TINY, StopHere, assert_same_run

ROW = with_settings(experiment("dynamic-a", profile="smoke"), TINY)  # 8 iterations; points at every 2nd
SKIPPING = replace(ROW, train=replace(ROW.train, skip_nonfinite=True))


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Iterations whose loss is NaN. Found by the schedule's learning rate, so that it holds after a resumption too."""
    poisoned: list[int] = []
    rate, now = train.learning_rate, [0]

    def learning_rate(config: train.TrainConfig, iteration: int) -> float:
        now[0] = iteration
        return rate(config, iteration)

    def poisoning(losses: Callable[..., tuple[object, torch.Tensor]]) -> Callable[..., tuple[object, torch.Tensor]]:
        def wrapped(*given: object) -> tuple[object, torch.Tensor]:
            output, found = losses(*given)
            return output, found * float("nan") if now[0] in poisoned else found

        return wrapped

    monkeypatch.setattr(train, "learning_rate", learning_rate)
    for kind in (EagerStep, CompiledTrainingStep):  # whichever this machine has
        monkeypatch.setattr(kind, "losses", poisoning(kind.losses))
    return poisoned


def test_a_loss_that_is_not_finite_names_iteration_files_and_checkpoint(
    poison: list[int], smoke_streets: Path, tmp_path: Path
) -> None:
    poison.append(4)
    with pytest.raises(NonFiniteLossError) as raised:
        run(ROW, data_root=smoke_streets, out=tmp_path, device="cpu")
    assert raised.value.exit_code == EXIT_FAILED
    said = str(raised.value)
    (folder,) = (tmp_path / "dynamic-a").iterdir()
    assert f"The last good checkpoint, of iteration 3, is {folder / CHECKPOINT}." in said
    assert f"train.lr={ROW.train.lr:g} with train.batch={ROW.train.batch};" in said
    named = re.search(r"not finite at iteration 4 \(files: (.+?)\)", said)
    assert named is not None
    for name in (names := named[1].split(", ")):
        assert list(smoke_streets.rglob(f"{name}_leftImg8bit.png")), f"{name} is no file"
    assert len(names) == ROW.train.batch
    assert train_iteration(folder) == 3


def train_iteration(folder: Path) -> object:
    from dynroute_core.checkpoint import load_snapshot

    return load_snapshot(folder / CHECKPOINT).facts["iteration"]


def test_before_the_first_checkpoint_there_is_none_to_name(
    poison: list[int], smoke_streets: Path, tmp_path: Path
) -> None:
    poison.append(0)
    with pytest.raises(NonFiniteLossError, match=r"iteration 0 .*There is no checkpoint yet\."):
        run(ROW, data_root=smoke_streets, out=tmp_path, device="cpu")


def test_batches_left_out_are_counted_across_an_interruption(
    poison: list[int], smoke_streets: Path, tmp_path: Path
) -> None:
    """Left out are a first iteration, two in a row around a checkpoint (one of them logged), and one after it."""
    poison += [0, 2, 3, 6]
    said: list[str] = []
    whole = run(
        SKIPPING, data_root=smoke_streets, out=tmp_path / "whole", device="cpu", report=lambda p: said.append(p.text)
    )
    assert whole.record.training.skipped == 4
    assert whole.record.marks == ("4 batches with a loss that is not finite left out",)
    assert "4 batches" in whole.record.label
    assert read_record(whole.folder / "record.json") == whole.record
    assert sum(text.startswith("not finite, left out: ") for text in said) == 4
    curve = read_curve(whole.folder / "curve.csv")
    assert [point.iteration for point in curve] == [1, 5, 7], "the logged iteration 3 was left out"

    def stop(progress: RunProgress) -> None:
        if (progress.phase, progress.done) == ("train", 6):
            raise StopHere

    with pytest.raises(StopHere):
        run(SKIPPING, data_root=smoke_streets, out=tmp_path / "cut", device="cpu", report=stop)
    resumed = run(SKIPPING, data_root=smoke_streets, out=tmp_path / "cut", device="cpu")
    assert resumed.record.training.resumed_at == (3,)
    assert_same_run(resumed.folder, whole.folder)


def test_what_is_not_poisoned_trains_as_without_the_option(smoke_streets: Path, tmp_path: Path) -> None:
    plain, skipping = (
        run(chosen, data_root=smoke_streets, out=tmp_path, device="cpu").record for chosen in (ROW, SKIPPING)
    )
    assert plain.key != skipping.key
    assert (plain.metrics, plain.training) == (skipping.metrics, skipping.training)


def test_too_many_in_a_row_stop_the_run(poison: list[int], smoke_streets: Path, tmp_path: Path) -> None:
    longer = replace(SKIPPING, train=replace(SKIPPING.train, iterations=LONGEST_SKIP + 6))
    poison += range(4, LONGEST_SKIP + 4)
    last = LONGEST_SKIP + 3
    with pytest.raises(
        NonFiniteLossError, match=rf"{LONGEST_SKIP} batches in a row, the last at iteration {last} \(fi"
    ):
        run(longer, data_root=smoke_streets, out=tmp_path, device="cpu")
    poison.pop()
    assert run(longer, data_root=smoke_streets, out=tmp_path, device="cpu").record.training.skipped == LONGEST_SKIP - 1


def test_a_watch_that_looks_late_names_the_first_iteration_and_its_files() -> None:
    """As on a GPU, where no step waits for the device."""
    watch = Watch(torch.device("cpu"))
    watch.note(torch.tensor(True), 0, ("fine",))
    watch.require()
    for iteration, finite in ((1, True), (2, False), (3, True), (4, False)):
        watch.note(torch.tensor(finite), iteration, (f"a{iteration}", f"b{iteration}"))
    with pytest.raises(NonFiniteLossError, match=r"at iteration 2 \(files: a2, b2\)"):
        watch.require()


def test_records_from_before_the_count_are_read_and_counts_must_fit(tmp_path: Path) -> None:
    record = sample_record()
    write_record(tmp_path / "record.json", record)
    text = (tmp_path / "record.json").read_text()
    assert '"skipped": 0' in text
    (tmp_path / "old.json").write_text(re.sub(r',\s*"skipped": 0', "", text))
    assert read_record(tmp_path / "old.json") == record
    wrong = replace(record, training=replace(record.training, skipped=record.training.iterations + 1))
    with pytest.raises(ValueError, match="batches left out"):
        write_record(tmp_path / "wrong.json", wrong)
