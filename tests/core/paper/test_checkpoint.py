"""Checkpoints: round trips, and files that are cut off, damaged or foreign."""

from __future__ import annotations

import errno
import os
import pickle
import random

import pytest
import torch
from safetensors.torch import save_file

from dynroute_core.checkpoint import FORMAT, Snapshot, load_snapshot, restore_rng, rng_tensors, save_snapshot
from dynroute_core.system.errors import BlockedError


def snapshot(seed=0):
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        "model/weight": torch.randn(3, 4, 5, generator=generator),
        "model/half": torch.randn(6, generator=generator).to(torch.bfloat16),
        "model/counter": torch.tensor(seed),
        "model/empty": torch.zeros(0, 3),
        "rng/cpu": torch.get_rng_state()[:64],
    }
    return Snapshot(tensors, {"iteration": seed, "key": "abc", "durations": {"train_s": 0.1}, "resumed_at": [1, 2]})


def assert_same(one, other):
    assert one.facts == other.facts
    assert set(one.tensors) == set(other.tensors)
    for name, tensor in one.tensors.items():
        assert tensor.dtype == other.tensors[name].dtype
        assert torch.equal(tensor, other.tensors[name])


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    save_snapshot(path, snapshot())
    return path


def test_round_trip(saved):
    assert_same(load_snapshot(saved), snapshot())


def test_tensors_in_any_memory_layout(tmp_path):
    x = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    tensors = {"channels_last": x, "view": torch.arange(10.0)[2:7], "transposed": torch.randn(3, 4).T}
    save_snapshot(tmp_path / "c", Snapshot(tensors, {}))
    assert_same(load_snapshot(tmp_path / "c"), Snapshot(tensors, {}))


def test_nothing_but_the_file_is_left(saved):
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_a_file_cut_off_anywhere_is_refused(saved):
    whole = saved.read_bytes()
    cuts = {0, 1, 7, 8, 9, *range(10, len(whole), 37), len(whole) - 1}
    for length in sorted(cuts):
        saved.write_bytes(whole[:length])
        with pytest.raises(BlockedError, match="not a readable checkpoint"):
            load_snapshot(saved)
    saved.write_bytes(whole + b"\0")
    with pytest.raises(BlockedError):
        load_snapshot(saved)


def test_a_flipped_bit_is_noticed_or_harmless(saved):
    whole = saved.read_bytes()
    dice = random.Random(5)
    header = 8 + int.from_bytes(whole[:8], "little")
    bits = [dice.randrange(8 * header) for _ in range(100)] + [dice.randrange(8 * len(whole)) for _ in range(50)]
    bits += [8 * header + dice.randrange(8 * (len(whole) - header)) for _ in range(50)]
    refused = 0
    for bit in bits:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        saved.write_bytes(damaged)
        try:
            assert_same(load_snapshot(saved), snapshot())
        except BlockedError:
            refused += 1
    assert refused > 150  # the rest fell on the header's padding


def test_every_bit_of_the_values_counts(saved):
    """safetensors alone loads a file whose last byte differs."""
    damaged = bytearray(saved.read_bytes())
    damaged[-1] ^= 1
    saved.write_bytes(damaged)
    with pytest.raises(BlockedError, match="checksum"):
        load_snapshot(saved)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "no checkpoint of this suite"),
        ({"format": "pt"}, "no checkpoint of this suite"),
        ({"format": FORMAT}, "not a readable checkpoint"),
        ({"format": FORMAT, "facts": "{}"}, "not a readable checkpoint"),
        ({"format": FORMAT, "facts": "[1]", "sha256": ""}, "not a readable checkpoint"),
        ({"format": FORMAT, "facts": "{", "sha256": ""}, "not a readable checkpoint"),
        ({"format": FORMAT, "facts": "[" * 10**5, "sha256": ""}, "not a readable checkpoint"),
    ],
)
def test_foreign_safetensors_are_refused(tmp_path, metadata, message):
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2)}, path, metadata=metadata)
    with pytest.raises(BlockedError, match=message):
        load_snapshot(path)


class Trap:
    def __reduce__(self):
        return (os.mkdir, (self.folder,))

    def __init__(self, folder):
        self.folder = folder


def test_nothing_is_unpickled(tmp_path):
    sprung = tmp_path / "sprung"
    for path, write in (
        (tmp_path / "plain", lambda p: p.write_bytes(pickle.dumps(Trap(str(sprung))))),
        (tmp_path / "torch", lambda p: torch.save({"model": Trap(str(sprung))}, p)),
    ):
        write(path)
        with pytest.raises(BlockedError):
            load_snapshot(path)
    assert not sprung.exists()
    pickle.loads((tmp_path / "plain").read_bytes())
    assert sprung.exists()  # the trap does spring


def test_missing_files_and_folders_are_refused(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(BlockedError):
            load_snapshot(path)


@pytest.mark.parametrize("broken", ["replace", "fsync", "open"])
def test_a_full_disk_leaves_the_previous_checkpoint(saved, monkeypatch, broken):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, broken, full)
    with pytest.raises(BlockedError, match="No space left"):
        save_snapshot(saved, snapshot(1))
    monkeypatch.undo()
    assert_same(load_snapshot(saved), snapshot(0))
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
    save_snapshot(saved, snapshot(1))
    assert_same(load_snapshot(saved), snapshot(1))


def test_random_state_comes_back():
    states = rng_tensors()
    first = torch.rand(5)
    torch.rand(100)
    restore_rng(states)
    assert torch.equal(torch.rand(5), first)
