"""Files are whole: written or not, and nothing lies about after a failure."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from dynroute_core.system.errors import BlockedError
from dynroute_core.system.files import make_folder, remove_stale, visible, write_whole


def fail_with(number):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    return fail


def test_a_folder_that_cannot_be_made_is_an_error_with_a_next_step(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BlockedError, match=r"cannot make .*file/runs: Not a directory\. Choose another --out folder\."):
        make_folder(tmp_path / "file" / "runs")


def test_hidden_paths_are_not_visible_but_a_hidden_folder_above_hides_nothing(tmp_path):
    folder = tmp_path / ".cache" / "mine"
    for name in ("b/2.py", "a/1.py", "a/._1.py", "a/.ipynb_checkpoints/1-checkpoint.py", ".trash/3.py"):
        write_whole(folder / name, b"")
    (folder / "a" / ".#1.py").symlink_to("somebody@somewhere.1234")
    assert visible(folder, "**/*.py") == [folder / "a/1.py", folder / "b/2.py"]
    assert visible(folder, "*") == [folder / "a", folder / "b"]
    assert visible(folder / "nowhere", "*") == []


def test_writes_a_new_file_and_replaces_an_old_one(tmp_path):
    path = tmp_path / "deep" / "er" / "file.json"
    for content in (b"one", b"", b"\0" * 10**6):
        write_whole(path, content)
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600), (0o002, 0o664)])
def test_a_file_is_as_open_as_the_umask_lets_it_be(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_whole(tmp_path / "file", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


@pytest.mark.parametrize("place", ["os.fsync", "os.replace", "os.fdopen", "os.open"])
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
