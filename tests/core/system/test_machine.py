"""Devices, versions, and memory that is kept."""

from __future__ import annotations

import sys
from importlib import metadata
from types import SimpleNamespace

import pytest
import torch

from dynroute_core.system import machine
from dynroute_core.system.errors import UsageError
from dynroute_core.system.machine import device_name, keep_freed_memory, pick_device, processor_quota, versions


def test_devices(monkeypatch):
    assert pick_device("cpu") == torch.device("cpu")
    for there in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert pick_device("auto").type == ("cuda" if there else "cpu")


@pytest.mark.parametrize(("gpus", "name"), [(0, "cuda"), (0, "cuda:0"), (2, "cuda:2"), (2, "cuda:17")])
def test_a_gpu_that_is_not_there(monkeypatch, gpus, name):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(UsageError, match=f"{name!r} is not here: torch sees {gpus} GPUs"):
        pick_device(name)
    if gpus:
        assert pick_device("cuda:1") == torch.device("cuda:1")


@pytest.mark.parametrize("name", ["", "gpu", "cuda:", "cuda:x", "cpu cuda", "meta", "mps"])
def test_devices_that_are_none(name):
    with pytest.raises(UsageError, match="Give auto, cpu, cuda or cuda:N"):
        pick_device(name)


def test_the_processor_has_a_name():
    assert device_name(torch.device("cpu")).strip()


def test_versions_name_what_can_change_a_number():
    found = versions()
    assert found["torch"] == torch.__version__.split("+")[0] or found["torch"] == torch.__version__
    assert {"python", "torch", "torchvision", "numpy", "pillow"} <= set(found)
    assert {"opencv", *machine.OPENCV} & set(found)
    assert "absent" not in (found["torch"], found["numpy"])


@pytest.mark.parametrize(
    ("installed", "named"),
    [
        ({"opencv-python-headless": "4.12.0"}, {"opencv-python-headless": "4.12.0"}),
        ({"opencv-python": "4.11.0", "opencv-python-headless": "4.12.0"},) * 2,
        ({}, {"opencv": "5.0.1"}),  # a module without a package's metadata
    ],
)
def test_versions_name_the_opencv_that_is_installed(monkeypatch, installed, named):
    def version(name: str) -> str:
        if name not in installed and name.startswith("opencv"):
            raise metadata.PackageNotFoundError(name)
        return installed.get(name, "1")

    monkeypatch.setattr(machine.metadata, "version", version)
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(__version__="5.0.1"))
    assert {name: found for name, found in versions().items() if name.startswith("opencv")} == named
    monkeypatch.setitem(sys.modules, "cv2", None)  # as where it is not installed
    assert installed or versions()["opencv"] == "absent"


@pytest.mark.parametrize(("answers", "kept"), [((1, 1), True), ((1, 0), False), ((0, 1), False)])
def test_freed_memory_is_kept_where_both_thresholds_are_taken(monkeypatch, answers, kept):
    asked = []

    def mallopt(which: int, value: int) -> int:
        asked.append((which, value))
        return answers[len(asked) - 1]

    monkeypatch.setattr(machine.ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=mallopt))
    assert keep_freed_memory() is kept
    assert [which for which, _ in asked] == [-1, -3]
    assert all(value >= 2**30 for _, value in asked)


def test_a_c_library_without_thresholds_is_told_apart(monkeypatch):
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda _: SimpleNamespace())
    assert keep_freed_memory() is False


@pytest.mark.parametrize(
    ("groups", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/outer/inner\n", {"outer/cpu.max": "200000 100000", "outer/inner/cpu.max": "max 100000"}, 2.0),
        ("0::/\n", {"cpu.max": "max 100000"}, None),
        ("3:cpu,cpuacct:/\n1:memory:/\n", {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 0.5),
        ("3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("0::/elsewhere\n", {}, None),
        ("nonsense\n", {}, None),
    ],
)
def test_the_limit_of_a_container_on_processors(tmp_path, groups, files, quota):
    (tmp_path / "groups").write_text(groups)
    for name, text in files.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert processor_quota(tmp_path / "groups", tmp_path / "tree") == quota
    assert processor_quota(tmp_path / "missing", tmp_path / "tree") is None
