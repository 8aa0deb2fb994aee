"""Weights from files: every format that fits gives the same network, everything else one clear refusal."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dynroute_core.checkpoint import Snapshot, Weights, save_snapshot
from dynroute_core.model import Segmenter
from dynroute_core.system.errors import BlockedError, UsageError
from dynroute_core.weights.files import give_weights, hashed
from dynroute_core.weights.released_names import original_name
from dynroute_core.weights.wrapping import unwrapped
from support.sample_checkpoints import Malicious
from support.sample_models import mixed_model, small_config

CONFIG = small_config(gate="small")


@pytest.fixture(scope="module")
def source() -> Segmenter:
    return mixed_model(CONFIG, seed=1).float()


def fresh() -> Segmenter:
    return Segmenter(CONFIG).eval()


def released(model: Segmenter) -> dict[str, torch.Tensor]:
    return {original_name(name): tensor.clone() for name, tensor in model.state_dict().items()}


def equal(a: Segmenter, b: Segmenter, part: str = "") -> bool:
    theirs = b.state_dict()
    return all(
        torch.equal(tensor, theirs[name])
        for name, tensor in a.state_dict().items()
        if name.startswith(part) and not name.endswith("num_batches_tracked")
    )


def without_counters(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


def as_downloaded(state: dict[str, torch.Tensor], path: Path) -> None:
    """With everything that training leaves beside the network."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1, momentum=0.9)
    beside = {
        "optimizer": optimizer.state_dict(),
        "scheduler": {"last_epoch": 3, "base_lrs": [0.1]},
        "iteration": 185_999,
    }
    torch.save({"model": OrderedDict(state)} | beside, path)


WRITERS = {
    "as downloaded": as_downloaded,
    "without counters": lambda state, path: as_downloaded(without_counters(state), path),
    "data-parallel prefix": lambda state, path: torch.save({"module." + n: t for n, t in state.items()}, path),
    "data-parallel and compiled": lambda state, path: torch.save(
        {"model_state_dict": {"module._orig_mod." + n: t for n, t in state.items()}, "epoch": 3}, path
    ),
    "Lightning": lambda state, path: torch.save(
        {"state_dict": {"net." + n: t for n, t in state.items()}, "epoch": 3, "hyper_parameters": {"lr": 0.05}}, path
    ),
    "Lightning, compiled": lambda state, path: torch.save(
        {"state_dict": {"model._orig_mod." + n: t for n, t in state.items()}}, path
    ),
    "bare": torch.save,
    "numpy numbers beside": lambda state, path: torch.save(
        {"model": state, "scheduler": {"lr": np.float64(0.05), "last": np.int64(3)}, "best": np.float32(1)}, path
    ),
    "legacy format": lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False),
    "safetensors": save_file,
}


@pytest.mark.parametrize("writer", WRITERS)
def test_released_names_in_every_wrapping(source: Segmenter, tmp_path: Path, writer: str) -> None:
    path = tmp_path / "model_final.pth"
    WRITERS[writer](released(source), path)
    model = fresh()
    assert give_weights(model, path, use="evaluate").words == "weights of model_final.pth"
    assert equal(source, model)


def test_our_own_names_in_the_wrappers_that_training_leaves(source: Segmenter, tmp_path: Path) -> None:
    path, stem = tmp_path / "own.pth", Segmenter(CONFIG)
    stem.load_state_dict(source.state_dict())
    stem.stem = torch.compile(stem.stem)  # type: ignore[assignment]  # a part of it alone
    wrapped = (torch.nn.DataParallel(source), torch.compile(source), torch.nn.DataParallel(torch.compile(source)), stem)
    for network in wrapped:
        assert source.state_dict().keys() != network.state_dict().keys()
        torch.save(network.state_dict(), path)
        model = fresh()
        give_weights(model, path, use="evaluate")
        assert equal(source, model)


def test_a_loss_beside_the_network_in_lightnings_module_is_extra_to_evaluate_but_not_to_start(
    source: Segmenter, tmp_path: Path
) -> None:
    path = tmp_path / "last.ckpt"
    state = {"net." + name: tensor for name, tensor in source.state_dict().items()}
    torch.save({"state_dict": state | {"loss.weight": torch.ones(4)}}, path)
    with pytest.raises(BlockedError, match=r"its names without net\..*1 extra: loss\.weight"):
        give_weights(fresh(), path, use="evaluate")
    model = fresh()
    give_weights(model, path, use="start")
    assert equal(source, model)


def test_a_foreign_network_is_refused_by_the_names_in_its_file(tmp_path: Path) -> None:
    path = tmp_path / "resnet.pth"
    torch.save({"layer1.0.conv1.weight": torch.ones(3)}, path)
    with pytest.raises(BlockedError, match=r"1 extra: layer1\.0\.conv1\.weight"):
        give_weights(fresh(), path, use="evaluate")


def test_names_that_would_collide_without_wrappers_stay(source: Segmenter) -> None:
    state = {"module.stem.x": torch.ones(1), "stem.x": torch.zeros(1)}
    assert unwrapped(state, {"stem.x"}) == (state, "")


def test_our_own_files(source: Segmenter, tmp_path: Path) -> None:
    plain, checkpoint = tmp_path / "plain.safetensors", tmp_path / "checkpoint.safetensors"
    save_file(source.state_dict(), plain)
    tensors = {f"model/{name}": tensor for name, tensor in source.state_dict().items()}
    save_snapshot(checkpoint, Snapshot(tensors | {"rng/cpu": torch.get_rng_state()}, {"iteration": 3}))
    for path in (plain, checkpoint):
        model = fresh()
        give_weights(model, path, use="evaluate")
        assert equal(source, model)


def backbone_of(model: Segmenter) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in released(model).items() if name.startswith("backbone.")}


@pytest.mark.parametrize("prefix", ["backbone.", ""])
def test_a_backbone_starts_a_row_and_is_not_evaluated(source: Segmenter, tmp_path: Path, prefix: str) -> None:
    path = tmp_path / "imagenet.pth"
    backbone = {prefix + name.removeprefix("backbone."): tensor for name, tensor in backbone_of(source).items()}
    torch.save({"model": backbone | {prefix + "linear.weight": torch.ones(1000, 4)}}, path)
    model, before = fresh(), fresh()
    before.load_state_dict(model.state_dict())
    taken = give_weights(model, path, use="start")
    assert (taken.words, taken.head) == ("backbone alone of imagenet.pth", False)
    assert taken.tensors == len(backbone)
    assert equal(source, model, "cells.") and equal(source, model, "stem.") and equal(before, model, "head.")
    torch.save({"model": backbone}, path)
    with pytest.raises(BlockedError, match=r"backbone without a head.*--init"):
        give_weights(model, path, use="evaluate")


def test_a_head_of_other_classes_is_left_out(source: Segmenter, tmp_path: Path) -> None:
    path = tmp_path / "whole.pth"
    torch.save(released(source), path)
    model = fresh()
    taken = give_weights(model, path, use="start")
    assert (taken.words, taken.head) == ("backbone and head of whole.pth", True)
    assert taken.tensors == len(model.state_dict())
    assert equal(source, model)
    other = Segmenter(small_config(gate="small", classes=7))
    assert give_weights(other, path, use="start").words == "backbone alone of whole.pth"


def test_what_does_not_fit_is_listed_by_the_files_names(source: Segmenter, tmp_path: Path) -> None:
    path = tmp_path / "odd.pth"
    state = released(source)
    gone = state.pop("sem_seg_head.predictor.bias")
    state["backbone.more"] = gone
    state["sem_seg_head.predictor.weight"] = torch.ones(1, 2, 3)
    torch.save(state, path)
    model, before = fresh(), fresh()
    before.load_state_dict(model.state_dict())
    with pytest.raises(BlockedError) as said:
        give_weights(model, path, use="evaluate")
    for words in ("1 missing: sem_seg_head.predictor.bias", "1 extra: backbone.more", "1 misshaped: sem_seg_head"):
        assert words in str(said.value)
    assert equal(before, model)
    with pytest.raises(BlockedError, match="does not hold this row's backbone"):
        give_weights(Segmenter(small_config(gate="small", channels=8)), path, use="start")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("where", ["beside", "inside"])
def test_a_malicious_pickle_is_refused_and_never_run(
    source: Segmenter, tmp_path: Path, where: str, legacy: bool
) -> None:
    marker, path = tmp_path / "owned", tmp_path / "trojan.pth"
    state: dict[str, object] = dict(released(source))
    whole: dict[str, object] = {"model": state}
    (whole if where == "beside" else state)["payload"] = Malicious(marker)
    torch.save(whole, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(BlockedError, match="refused"):
        give_weights(fresh(), path, use="evaluate")
    assert not marker.exists()
    torch.load(path, weights_only=False)  # the payload is real: without care it runs
    assert marker.exists()


def test_a_bare_malicious_pickle_is_refused(tmp_path: Path) -> None:
    marker, path = tmp_path / "owned", tmp_path / "trojan.pkl"
    path.write_bytes(pickle.dumps(Malicious(marker)))
    with pytest.raises(BlockedError):
        give_weights(fresh(), path, use="evaluate")
    assert not marker.exists()


def test_arrays_and_objects_of_numpy_are_refused_by_name(source: Segmenter, tmp_path: Path) -> None:
    path = tmp_path / "arrays.pth"
    for value, name in ((np.ones(3), "_reconstruct"), (np.random.default_rng(0), "numpy.random")):
        torch.save({"model": released(source), "beside": value}, path)
        with pytest.raises(BlockedError, match=name):
            give_weights(fresh(), path, use="evaluate")


@pytest.mark.parametrize("legacy", [False, True])
def test_damage_anywhere_is_a_refusal_or_harmless(source: Segmenter, tmp_path: Path, legacy: bool) -> None:
    """Single bytes changed at random, in the pickle above all: never another error, never a half-loaded model."""
    whole, damaged = tmp_path / "whole.pth", tmp_path / "damaged.pth"
    torch.save(released(source), whole, _use_new_zipfile_serialization=not legacy)
    content, random = whole.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        raw = bytearray(content)
        for place in random.integers(0, min(len(raw), 20_000), 3):
            raw[place] ^= int(random.integers(1, 256))
        damaged.write_bytes(bytes(raw))
        try:
            give_weights(fresh(), damaged, use="evaluate")
        except BlockedError:
            refused += 1
    assert refused, "no damage was noticed at all"


def test_files_that_are_no_weights(source: Segmenter, tmp_path: Path) -> None:
    whole = tmp_path / "whole.pth"
    torch.save(released(source), whole)
    content = whole.read_bytes()
    cases = {
        "truncated.pth": (content[: len(content) // 2], "truncated or damaged"),
        "text.pth": (b"not found: 404", "neither a PyTorch nor a safetensors file"),
        "empty.pth": (b"", "neither"),
        "broken.safetensors": (b"\xff" * 8 + b"{" + b"x" * 100, "truncated or damaged"),
    }
    for name, (raw, said) in cases.items():
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(BlockedError, match=said):
            give_weights(fresh(), tmp_path / name, use="evaluate")
    with pytest.raises(BlockedError, match="is a folder"):
        give_weights(fresh(), tmp_path, use="evaluate")
    with pytest.raises(BlockedError, match="cannot read"):
        give_weights(fresh(), tmp_path / "missing.pth", use="evaluate")
    for value, said in ((torch.ones(3), "not a state dict"), ({}, "no tensors"), ({"a": 1}, "is no tensor")):
        torch.save(value, whole)
        with pytest.raises(BlockedError, match=said):
            give_weights(fresh(), whole, use="evaluate")


def test_a_hash_that_is_asked_for_is_checked(source: Segmenter, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save(released(source), path)
    found = hashed(Weights(file=str(path)))
    assert len(found.sha256) == 64 and hashed(found) == found
    with pytest.raises(UsageError, match="asks for 0000"):
        hashed(Weights(file=str(path), sha256="0000"))
    with pytest.raises(ValueError, match="empty"):
        Weights(file="")
