"""Whole files, devices, provenance, errors."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
import torch

from dynroute_core.system import runtime
from dynroute_core.system.runtime import (
    BlockedError,
    DynrouteError,
    UsageError,
    commit,
    device_name,
    keep_freed_memory,
    pick_device,
    remove_stale,
    source_hash,
    suggest,
    versions,
    write_whole,
)


def fail_with(number):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    return fail


# --- files -----------------------------------------------------------------------------------------------------------


def test_writes_a_new_file_and_replaces_an_old_one(tmp_path):
    path = tmp_path / "deep" / "er" / "file.json"
    for content in (b"one", b"", b"\0" * 10**6):
        write_whole(path, content)
        assert path.read_bytes() == content
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("place", ["os.fsync", "os.replace", "os.chmod", "os.fdopen", "tempfile.mkstemp"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_any_failure_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch, place, number):
    path = tmp_path / "file"
    write_whole(path, b"old")
    monkeypatch.setattr(place, fail_with(number))
    with pytest.raises(BlockedError, match=os.strerror(number)) as error:
        write_whole(path, b"new")
    monkeypatch.undo()
    assert str(path) in str(error.value)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BlockedError, match="cannot write"):
        write_whole(tmp_path / "file" / "inner" / "file", b"")


def test_an_interruption_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_whole(path, b"old")

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path, monkeypatch):
    """Until the renaming, the old bytes are in place and the new ones are whole beside them."""
    path = tmp_path / "file"
    write_whole(path, b"old")
    seen = []
    original = os.replace

    def look(source, target):
        seen.append((path.read_bytes(), Path(source).read_bytes(), Path(source).parent))
        original(source, target)

    monkeypatch.setattr(os, "replace", look)
    write_whole(path, b"new")
    assert seen == [(b"old", b"new", tmp_path)]  # in one folder, so that the renaming is atomic


def test_stale_temporary_files_are_removed_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    write_whole(path, b"old")
    (tmp_path / ".lock").write_bytes(b"")
    (tmp_path / "notes.tmp").write_bytes(b"")
    # As after a power cut: neither renamed nor unlinked.
    monkeypatch.setattr(os, "replace", fail_with(errno.EIO))
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    for _ in range(2):
        with pytest.raises(BlockedError):
            write_whole(path, b"new")
    monkeypatch.undo()
    assert len(list(tmp_path.iterdir())) == 5
    assert remove_stale(tmp_path) == 2
    assert {p.name for p in tmp_path.iterdir()} == {"record.json", ".lock", "notes.tmp"}
    assert remove_stale(tmp_path) == remove_stale(tmp_path / "none") == 0


# --- names and devices -----------------------------------------------------------------------------------------------


def test_suggestions():
    error = suggest("row", "dynamc-a", ["dynamic-a", "dynamic-b", "network-fix"])
    assert isinstance(error, UsageError)
    assert str(error).startswith("unknown row 'dynamc-a'. Did you mean 'dynamic-a'")
    assert str(error).endswith("Known: dynamic-a, dynamic-b, network-fix.")
    assert "Did you mean" not in str(suggest("row", "zzz", iter(["dynamic-a"])))


def test_exit_codes():
    assert [kind.exit_code for kind in (DynrouteError, UsageError, BlockedError)] == [1, 2, 3]
    assert issubclass(UsageError, ValueError)


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


# --- provenance ------------------------------------------------------------------------------------------------------


def test_versions_name_what_can_change_a_number():
    found = versions()
    assert found["torch"] == torch.__version__.split("+")[0] or found["torch"] == torch.__version__
    assert {"python", "torch", "torchvision", "numpy", "pillow", "opencv-python"} <= set(found)
    assert "absent" not in (found["torch"], found["numpy"])


@pytest.fixture
def copied_sources(tmp_path, monkeypatch):
    """The package's sources elsewhere, outside any checkout; `runtime` takes them for its own."""
    package = Path(runtime.__file__).parent
    shutil.copytree(package, tmp_path / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(runtime, "__file__", str(tmp_path / package.name / "runtime.py"))
    return tmp_path / package.name


SILENT = ("report", "launch", "book", "published.py")


def test_the_sources_hash_changes_with_every_source_that_makes_numbers(copied_sources):
    first = source_hash()
    assert first == source_hash()
    silent = []
    for path in sorted(copied_sources.rglob("*.py")):
        before = path.read_bytes()
        path.write_bytes(before + b"# changed\n")
        if source_hash() == first:
            silent.append(path.relative_to(copied_sources))
        path.write_bytes(before)
    # These cannot: tables and figures, processes and notebooks, the numbers that we are compared with.
    assert {path.parts[0] for path in silent} == set(SILENT)
    everything = {path.relative_to(copied_sources) for path in copied_sources.rglob("*.py")}
    assert set(silent) == {p for p in everything if p.parts[0] in SILENT}
    assert source_hash() == first


def test_the_sources_hash_sees_the_kernels(copied_sources):
    first = source_hash()
    kernel = copied_sources.parent / "kernels" / "csrc" / "cpu" / "cell.cpp"
    kernel.parent.mkdir(parents=True)
    kernel.write_text("// a kernel")
    assert source_hash() != first
    (kernel.parent / "README.md").write_text("no source")
    (kernel.parent / "cell.cpp").unlink()
    assert source_hash() == first


def test_the_sources_hash_sees_names_new_files_and_nothing_but_python(copied_sources):
    first = source_hash()
    (copied_sources / "notes.txt").write_text("no source")
    (copied_sources / "__pycache__").mkdir(exist_ok=True)
    (copied_sources / "__pycache__" / "model.cpython-311.pyc").write_bytes(b"\0")
    assert source_hash() == first
    (copied_sources / "metrics.py").rename(copied_sources / "metrics_2.py")
    assert source_hash() != first
    (copied_sources / "metrics_2.py").rename(copied_sources / "metrics.py")
    (copied_sources / "new.py").touch()
    assert source_hash() != first


def test_commit_outside_a_checkout_is_unknown(copied_sources):
    assert commit() == ("unknown", False)


def test_commit_and_whether_tracked_files_differ(copied_sources):
    root = copied_sources.parent

    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", "-C", str(root), *identity, *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "--quiet")
    assert commit() == ("unknown", False)  # no commit yet
    git("add", "--all")
    git("commit", "--quiet", "--message", "first")
    head = git("rev-parse", "HEAD")
    assert commit() == (head, False)
    (root / "untracked.txt").touch()
    assert commit() == (head, False)
    (copied_sources / "model.py").write_text("")
    assert commit() == (head, True)


def test_commit_without_git_is_unknown(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert commit() == ("unknown", False)


def test_freed_memory_is_kept_or_not_but_it_is_said():
    assert keep_freed_memory() in (True, False)
