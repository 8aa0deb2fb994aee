"""`--weights`, `--init`, `--convert` and `--route` on the command line, with real runs of a tiny network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import reproduce
from dynroute_core.checkpoint import load_snapshot
from dynroute_core.evaluate import ForcedPaths
from dynroute_core.experiments import experiment, with_settings
from dynroute_core.model import Segmenter
from dynroute_core.runs.plan import plan
from dynroute_core.runs.record import CHECKPOINT, Record, read_record
from dynroute_core.system.errors import EXIT_BLOCKED, EXIT_DONE, EXIT_USAGE, BlockedError
from dynroute_core.weights.files import give_weights
from dynroute_core.weights.released_names import original_name
from support.sample_checkpoints import Malicious

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = {"model.layers": "3", "train.iterations": "4"}
WORDS = (
    "--row",
    "dynamic-c",
    "--profile",
    "smoke",
    "--device",
    "cpu",
    "--set",
    *(f"{k}={v}" for k, v in SETTINGS.items()),
)
CHOSEN = with_settings(experiment("dynamic-c", profile="smoke"), SETTINGS)


@dataclass(frozen=True)
class Answer:
    """What a command said: its code, the one row's result, the page's cells as text."""

    code: int
    row: dict[str, str]
    error: str

    @property
    def record(self) -> Record:
        return read_record(Path(self.row["record"]))

    @property
    def page(self) -> str:
        return Path(self.row["notebook"]).read_text()


def command(*words: str) -> Answer:
    done = subprocess.run(
        [sys.executable, str(ROOT / "reproduce.py"), *WORDS, "--json", *words],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    found = json.loads(done.stdout)["rows"] or [{}]
    return Answer(done.returncode, found[-1], done.stderr)  # of a forced route the second


def call(*words: str) -> int:
    try:
        return reproduce.main([*WORDS, *words])
    except SystemExit as error:  # argparse leaves by itself
        return int(error.code or 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Answer:
    answer = command("--out", str(tmp_path_factory.mktemp("runs")))
    assert answer.code == EXIT_DONE, answer.error
    return answer


@pytest.fixture(scope="module")
def released(trained: Answer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained network as the authors' code would have saved it."""
    model = Segmenter(CHOSEN.model)
    give_weights(model, Path(trained.row["folder"]) / CHECKPOINT, use="evaluate")
    path = tmp_path_factory.mktemp("download") / "model_final.pth"
    state = {original_name(name): tensor for name, tensor in model.state_dict().items()}
    torch.save({"model": state, "optimizer": {"state": {}}, "iteration": 3}, path)
    return path


@pytest.mark.suite
@pytest.mark.slow
def test_a_released_checkpoint_is_evaluated_as_downloaded(trained: Answer, released: Path, tmp_path: Path) -> None:
    answer = command("--weights", str(released), "--out", str(tmp_path))
    assert answer.code == EXIT_DONE, answer.error
    record, own = answer.record, trained.record
    assert (record.metrics, record.costs, record.images) == (own.metrics, own.costs, own.images)
    assert (record.training.iterations, record.training.final_loss) == (0, None)
    assert (record.data.train_images, record.data.train_fingerprint) == (0, "")
    assert record.marks == ("weights of model_final.pth",)
    assert "weights-" in Path(answer.row["folder"]).name
    assert r"# Dynamic-C: smoke profile on streets, weights of model\\_final.pth" in answer.page
    assert "Nothing was trained here" in answer.page


@pytest.mark.suite
@pytest.mark.slow
def test_a_forced_route_takes_the_rows_own_weights(trained: Answer) -> None:
    out = str(Path(trained.row["folder"]).parents[1])
    answer = command("--route", "all-open", "--route-factors", "gate", "--out", out)
    assert answer.code == EXIT_DONE, answer.error
    run = Path(trained.row["folder"]).name
    assert answer.record.marks[0] == f"weights of {run}/{CHECKPOINT}"
    assert answer.record.marks[1].startswith("forced route all-open: ")
    assert answer.record.marks[1].endswith("the gates' factors")
    assert "route-all-open-" in Path(answer.row["folder"]).name
    assert "forced route all-open" in answer.page.split("## The claim")[0], "the heading does not name the route"
    again = command("--out", out)
    assert again.row["state"] == "reused" and again.row["folder"] == trained.row["folder"]


def test_a_forced_route_alone_trains_nothing(tmp_path: Path) -> None:
    """In the library, where no command runs the row first."""
    route = ForcedPaths(name="closed", paths=())
    chosen = replace(CHOSEN, evaluate=replace(CHOSEN.evaluate, route=route))
    with pytest.raises(BlockedError, match="without --route first, or give another run's checkpoint with --weights"):
        plan(chosen, out=tmp_path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--weights a.pth --init b.pth", "not both"),
        ("--weights a.pth --row dynamic-a", "give one --row"),
        ("--route all-open --route-factors two", "invalid choice: 'two'"),
        ("--route al-open", "Did you mean 'all-open'"),
        ("--row network-fix --route all-open --route-factors gate", "has no gates"),
        ("--convert x.safetensors", "--weights or --init FILE"),
    ],
)
def test_usage_errors(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*words.split()) == EXIT_USAGE
    assert said in capsys.readouterr().err


def test_a_malicious_file_is_refused_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    marker, path = tmp_path / "owned", tmp_path / "trojan.pth"
    torch.save({"model": {"payload": Malicious(marker)}}, path)
    for option in ("--weights", "--init"):
        assert call(option, str(path), "--out", str(tmp_path / "runs")) == EXIT_BLOCKED
        shown = capsys.readouterr()
        assert "is refused" in shown.err and "system" in shown.err and "Traceback" not in shown.err
    assert not marker.exists() and not (tmp_path / "runs").exists()


@pytest.mark.suite
def test_the_profile_is_the_published_one_with_weights(
    released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the issue of users asks: `--row dynamic-c --weights FILE --data cityscapes=...` and nothing else."""
    assert reproduce.main(["--row", "dynamic-c", "--weights", str(released), "--data", "cityscapes=x"]) == EXIT_BLOCKED
    shown = capsys.readouterr().err
    assert "misshaped" in shown and "at the full profile has 16 layers, 64 channels and 19 classes" in shown


@pytest.mark.suite
def test_convert_writes_plain_safetensors(released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "plain.safetensors"
    assert call("--weights", str(released), "--convert", str(target)) == EXIT_DONE
    with safe_open(target, framework="pt") as file:
        assert all(name.startswith(("stem.", "cells.", "head.")) for name in file.keys())  # noqa: SIM118 (no mapping)
    models = [Segmenter(CHOSEN.model) for _ in range(2)]
    for model, path in zip(models, (released, target), strict=True):
        give_weights(model, path, use="evaluate")
    one, other = (model.state_dict() for model in models)
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    assert call("--weights", str(released), "--convert", str(tmp_path / "plain.pth")) == EXIT_USAGE


@pytest.mark.suite
def test_convert_keeps_the_head_whatever_the_file_is_called(released: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "backbone alone.pth", tmp_path / "plain.safetensors"
    source.write_bytes(released.read_bytes())
    assert call("--weights", str(source), "--convert", str(target)) == EXIT_DONE
    give_weights(Segmenter(CHOSEN.model), target, use="evaluate")


@pytest.mark.suite
@pytest.mark.slow
def test_init_trains_from_a_backbone(released: Path, trained: Answer, tmp_path: Path) -> None:
    state = torch.load(released, weights_only=True)["model"]
    backbone = tmp_path / "imagenet.pth"
    torch.save({name: t for name, t in state.items() if name.startswith("backbone.")}, backbone)
    answer = command("--init", str(backbone), "--set", "train.lr=1e-12", "train.budget=null", "--out", str(tmp_path))
    assert answer.code == EXIT_DONE, answer.error
    assert answer.record.marks == ("started from imagenet.pth",)
    assert answer.record.training.iterations == 4
    ours = load_snapshot(Path(answer.row["folder"]) / CHECKPOINT).tensors
    theirs = load_snapshot(Path(trained.row["folder"]) / CHECKPOINT).tensors
    names = [name for name in ours if name.startswith("model/cells.") and name.endswith("conv.weight")]
    # Four steps at a learning rate of 1e-12 with gradients clipped at 5 move nothing by more than 1e-10.
    assert names and all(torch.allclose(ours[name], theirs[name], rtol=0, atol=1e-10) for name in names)
