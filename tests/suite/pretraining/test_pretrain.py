"""Pre-training on a tiny generated image folder: the loss falls, a stopped run ends alike, the weights start a row."""

from __future__ import annotations

import json
import re
import shutil
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from dynroute_core.checkpoint import Weights
from dynroute_core.experiments import experiment, with_settings
from dynroute_core.model import Segmenter
from dynroute_core.nonfinite import NonFiniteLossError
from dynroute_core.runs.pipeline import run
from dynroute_core.runs.record import CHECKPOINT
from dynroute_core.system.errors import EXIT_BLOCKED, EXIT_DONE, EXIT_USAGE, BlockedError, UsageError
from dynroute_core.weights.files import give_weights
from dynroute_suite.pretraining import pretrain as module
from dynroute_suite.pretraining.photographs import TrainPhotographs, ValPhotographs, open_folder
from dynroute_suite.pretraining.pretrain import BACKBONE, RESULT, Classifier, PretrainConfig, learning_rate, pretrain

SMOKE = experiment("dynamic-raw-imagenet", profile="smoke")
MODEL = replace(SMOKE.model, layers=3)
CONFIG = PretrainConfig(epochs=12, batch=8, lr=0.05, crop=32, resize=36, workers=0, checkpoint_every=5)
FORMS: tuple[tuple[str, Literal["NFC", "NFD"]], ...] = (("train", "NFC"), ("val", "NFD"))
COLOURS = {"blue": (20, 40, 220), "green": (30, 200, 40), "red": (220, 30, 20)}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of noisy colour, which any network can tell apart."""
    root, random = tmp_path_factory.mktemp("imagenet"), np.random.default_rng(0)
    for split, count in (("train", 9), ("val", 3)):
        for name, colour in COLOURS.items():
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = np.clip(np.array(colour) + random.normal(0, 25, (40, 48, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def done(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float], module.Pretrained]:
    out, losses = tmp_path_factory.mktemp("pretrained"), []
    result = pretrain(
        MODEL, CONFIG, data=photographs, out=out, device="cpu", report=lambda done, total, loss: losses.append(loss)
    )
    return out, losses, result


def test_hidden_folders_are_no_classes_and_hidden_files_no_photographs(photographs: Path, tmp_path: Path) -> None:
    shutil.copytree(photographs / "val", tmp_path / "val")
    (tmp_path / "val/.ipynb_checkpoints").mkdir()
    (tmp_path / "val/red/._0.png").write_bytes(b"left by another system")
    found = open_folder(tmp_path, "val")
    assert found.classes == tuple(COLOURS) and len(found.samples) == 9


def test_a_class_spelled_as_macos_does_is_the_same_class(photographs: Path, tmp_path: Path) -> None:
    for split, form in FORMS:
        shutil.copytree(photographs / "val/red", tmp_path / split / unicodedata.normalize(form, "café"))
    assert open_folder(tmp_path, "train").classes == open_folder(tmp_path, "val").classes == ("café",)


def test_it_learns_and_says_what_it_did(done) -> None:
    out, losses, result = done
    assert len(losses) == result.iterations == 12 * (27 // 8)
    late = losses[-3:]
    assert result.final_loss == pytest.approx(sum(late) / len(late), rel=1e-12)
    assert result.final_loss < 0.5 * losses[0], "the loss has not fallen by half"
    assert result.top1_percent > 100 / len(COLOURS), "no better than chance"
    kept = json.loads((out / RESULT).read_text())
    assert (kept["classes"], kept["train_images"], kept["val_images"]) == (3, 27, 9)
    assert kept["config"]["lr"] == 0.05 and kept["model"]["layers"] == 3


def test_the_backbone_starts_a_row(done, smoke_streets, tmp_path) -> None:
    out, _, _ = done
    tensors = load_file(out / BACKBONE)
    assert tensors and all(name.startswith(("stem.", "cells.")) for name in tensors)
    model = Segmenter(MODEL)
    head = {name: tensor.clone() for name, tensor in model.head.state_dict().items()}
    assert give_weights(model, out / BACKBONE, use="start").words == f"backbone alone of {BACKBONE}"
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in tensors.items())
    assert all(torch.equal(head[name], tensor) for name, tensor in model.head.state_dict().items())
    with pytest.raises(BlockedError, match="without a head"):
        give_weights(model, out / BACKBONE, use="evaluate")
    chosen = with_settings(SMOKE, {"model.layers": "3", "train.iterations": "2"})
    needy = replace(chosen, train=replace(chosen.train, needs_weights=True))
    given = replace(needy, weights=Weights(file=str(out / BACKBONE), use="start"))
    record = run(given, data_root=smoke_streets, out=tmp_path, device="cpu").record
    assert record.marks == (f"started from {BACKBONE}",)


class StopHere(Exception):
    pass


@pytest.mark.parametrize(("moment", "kind"), [(7, KeyboardInterrupt), (7, StopHere), (36, StopHere)])
def test_a_stopped_run_ends_as_a_whole_one(done, photographs, tmp_path, moment, kind) -> None:
    """Whatever stops it, the last checkpoint is taken up and nothing of what was lost changes a bit."""
    out, _, result = done

    def stop(done: int, total: int, loss: float) -> None:
        if done == moment:
            raise kind

    with pytest.raises(kind):
        pretrain(MODEL, CONFIG, data=photographs, out=tmp_path, device="cpu", report=stop)
    assert not (tmp_path / BACKBONE).exists()
    seen: list[int] = []
    again = pretrain(
        MODEL, CONFIG, data=photographs, out=tmp_path, device="cpu", report=lambda done, total, loss: seen.append(done)
    )
    assert seen[0] > 5, "it began anew"
    assert again == result
    assert (tmp_path / BACKBONE).read_bytes() == (out / BACKBONE).read_bytes()


def test_a_loss_that_is_not_finite_names_its_files_and_the_checkpoint(photographs, tmp_path, monkeypatch) -> None:
    factors, entropy = iter([1.0] * 6 + [float("nan")]), module.F.cross_entropy
    monkeypatch.setattr(module.F, "cross_entropy", lambda *given: entropy(*given) * next(factors))
    with pytest.raises(NonFiniteLossError) as raised:
        pretrain(MODEL, CONFIG, data=photographs, out=tmp_path, device="cpu")
    named = re.search(r"at iteration 6 \(files: (.+?)\)", str(raised.value))
    assert named is not None
    stream = TrainPhotographs(open_folder(photographs, "train"), crop=CONFIG.crop, seed=CONFIG.seed)
    (positions,) = stream.batches(CONFIG.batch, 6, 7)
    classes = [stream.folder.classes[stream[position][1]] for position in positions]
    assert [name.split("/")[0] for name in named[1].split(", ")] == classes
    assert all((photographs / "train" / name).is_file() for name in named[1].split(", "))
    assert f"The last good checkpoint is {tmp_path / CHECKPOINT}." in str(raised.value)
    assert "Lower --lr, which is 0.05 with --batch 8 " in str(raised.value)


@pytest.mark.parametrize(("lr", "warned"), [("0.1", True), ("0.003125", False)])
def test_a_rate_that_does_not_fit_the_batch_is_warned_of_at_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lr: str, warned: bool
) -> None:
    module.main(["--data", str(tmp_path), "--out", str(tmp_path), "--batch", "8", "--lr", lr])
    said = "--lr 0.1 with --batch 8 may diverge after hours: the recipe's rate for this batch is 0.003125"
    assert (said in capsys.readouterr().err) is warned


def test_another_recipe_does_not_take_up_this_ones_checkpoint(done, photographs) -> None:
    out, _, _ = done
    with pytest.raises(BlockedError, match="other settings"):
        pretrain(MODEL, replace(CONFIG, lr=0.1), data=photographs, out=out, device="cpu")


def test_the_stream_is_a_function_of_seed_and_position(photographs) -> None:
    folder = open_folder(photographs, "train")
    one, other = (TrainPhotographs(folder, crop=16, seed=3) for _ in range(2))
    position = 30
    one[2], one[60]
    before = torch.get_rng_state()
    (image, label), (same, also) = one[position], other[position]
    assert torch.equal(before, torch.get_rng_state()), "augmentation disturbs the training's own random numbers"
    assert torch.equal(image, same) and label == also
    assert not torch.equal(image, TrainPhotographs(folder, crop=16, seed=4)[position][0])
    epochs = [list(one.batches(8, start, start + 3)) for start in (0, 3)]
    assert [len({p for batch in batches for p in batch}) for batches in epochs] == [24, 24]
    assert epochs[1][0][0] == len(folder.samples), "the second epoch begins with a permutation of its own"


def test_images_are_bgr_and_cropped(photographs) -> None:
    image, label = ValPhotographs(open_folder(photographs, "val"), resize=36, crop=32)[0]
    assert image.shape == (3, 32, 32) and image.dtype == torch.uint8
    assert label == 0 and image[0].float().mean() > image[2].float().mean() + 100, "blue comes first"


def test_every_scale_reaches_the_classifier() -> None:
    torch.manual_seed(0)
    network = Classifier(MODEL, 3)
    network(torch.rand(2, 3, 64, 64) * 255).sum().backward()
    space = network.network.space
    for cell in space.last_cells:
        gradients = [p.grad for p in network.network.cell(cell).parameters()]
        assert any(g is not None and g.abs().max() > 0 for g in gradients), cell
    assert network.linear.in_features == sum(space.channels_at(cell.scale) for cell in space.last_cells)
    assert all(p.grad is None for p in network.network.head.parameters())


def test_the_schedule_has_three_thirds() -> None:
    lrs = [learning_rate(PretrainConfig(), epoch * 5004, 90 * 5004) for epoch in (0, 29, 30, 59, 60, 89)]
    assert lrs == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_bad_folders(photographs, tmp_path) -> None:
    def attempt(data: Path, said: str, **changes: int) -> None:
        with pytest.raises((BlockedError, UsageError), match=said):
            pretrain(MODEL, replace(CONFIG, **changes), data=data, out=tmp_path / "out", device="cpu")

    attempt(tmp_path / "nowhere", "there is no folder .*nowhere/train")
    (tmp_path / "train" / "empty").mkdir(parents=True)
    attempt(tmp_path, "Every class needs a folder with at least one image")
    attempt(photographs, "give a smaller --batch", batch=64)
    for split in ("train", "val"):
        (tmp_path / "odd" / split / split).mkdir(parents=True)
        (tmp_path / "odd" / split / split / "a.png").write_bytes((photographs / "val" / "red" / "0.png").read_bytes())
    attempt(tmp_path / "odd", "other classes", batch=2)
    (tmp_path / "odd" / "train" / "val").mkdir()
    for split in ("train", "val"):
        (tmp_path / "odd" / split / "val" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
        (tmp_path / "odd" / split / "train").mkdir(exist_ok=True)
        (tmp_path / "odd" / split / "train" / "a.png").write_bytes((photographs / "val" / "red" / "0.png").read_bytes())
    attempt(tmp_path / "odd", "a.png is not a readable PNG or JPEG file", batch=2)
    with pytest.raises(UsageError, match="batch of at least 2"):
        PretrainConfig(batch=1)
    with pytest.raises(UsageError, match="fixed network"):
        pretrain(experiment("static-unet", profile="smoke").model, CONFIG, data=photographs, out=tmp_path / "out")


def test_the_command(photographs, tmp_path, capsys) -> None:
    words = ["--profile", "smoke", "--out", str(tmp_path / "out"), "--device", "cpu", "--workers", "0"]
    recipe = ["--epochs", "1", "--batch", "8", "--crop", "32", "--resize", "36"]
    assert module.main([*words, "--data", str(tmp_path)]) == EXIT_BLOCKED
    assert "train/CLASS/" in capsys.readouterr().err
    assert module.main([*words, "--data", str(photographs), "--row", "dynamic-rw"]) == EXIT_USAGE
    assert module.main([*words, *recipe, "--data", str(photographs)]) == EXIT_DONE
    assert f"--init {tmp_path / 'out' / BACKBONE}" in capsys.readouterr().out
    assert (tmp_path / "out" / CHECKPOINT).exists()
