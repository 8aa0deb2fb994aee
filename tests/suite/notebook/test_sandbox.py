"""What runs leave in the file system while they are at work, and what killed commands leave behind."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from pathlib import Path

import pytest

from dynroute_core.system.errors import (
    BlockedError,
)
from dynroute_core.system.machine import say_once
from dynroute_suite.notebook.sandbox import LOG, is_at_work, keep_scratch, open_log, scratch_folder


def test_what_a_killed_command_left_at_work_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its command lock is free, its log is not yet: here for three looks, then for longer than it may take."""
    with (tmp_path / LOG).open("w") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        looks: list[float] = []

        def look_away(seconds: float) -> None:
            looks.append(seconds)
            if len(looks) == 3:
                fcntl.flock(log, fcntl.LOCK_UN)

        monkeypatch.setattr("dynroute_suite.notebook.sandbox.time.sleep", look_away)
        monkeypatch.setattr("dynroute_suite.notebook.sandbox.time.monotonic", lambda: float(len(looks)))
        with open_log(tmp_path):
            assert len(looks) == 3
        assert capsys.readouterr().err.count("waiting for what a killed command left") == 1
        fcntl.flock(log, fcntl.LOCK_EX)
        ticks = iter(range(0, 1000, 10))
        monkeypatch.setattr("dynroute_suite.notebook.sandbox.time.monotonic", lambda: float(next(ticks)))
        with pytest.raises(BlockedError, match="still writing to"), open_log(tmp_path):
            pytest.fail("the log was taken from its writer")


def test_scratch_folders_of_killed_commands_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("dynroute_suite.notebook.sandbox.SHORT_PATH", 1000)  # no sockets here
    with scratch_folder() as used:
        left, foreign = tmp_path / "dynroute-left", tmp_path / "dynroute-foreign"
        for folder in (left, foreign):
            folder.mkdir()
        (left / "in-use").touch()
        (left / "k.json").touch()
        with scratch_folder() as other:
            assert used.exists() and other.exists() and foreign.exists() and not left.exists()
    assert list(tmp_path.iterdir()) == [foreign]


def test_looking_at_a_lock_is_no_reason_for_a_run_to_fail(tmp_path: Path) -> None:
    assert not is_at_work(tmp_path)
    with open_log(tmp_path):
        assert is_at_work(tmp_path)
    (tmp_path / ".lock").touch()
    assert not is_at_work(tmp_path)


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("no_locks")
def test_without_locks_status_says_once_that_it_cannot_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    say_once.cache_clear()
    (tmp_path / LOG).touch()
    assert [is_at_work(tmp_path), is_at_work(tmp_path)] == [False, False]
    assert capsys.readouterr().err.count("No locks available") == 1
    with pytest.raises(BlockedError, match="cannot lock"), open_log(tmp_path):
        pytest.fail("a run began without a lock")


@pytest.mark.usefixtures("no_locks")
def test_without_locks_no_scratch_folder_is_removed_but_by_who_made_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("dynroute_suite.notebook.sandbox.SHORT_PATH", 1000)  # no sockets here
    with scratch_folder() as used, keep_scratch(used), scratch_folder():
        assert used.exists()
    assert not list(tmp_path.iterdir())


def test_without_a_temporary_folder_the_way_out_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    monkeypatch.setattr("dynroute_suite.notebook.sandbox.SHORT_PATH", 1000)
    with pytest.raises(BlockedError, match="Set TMPDIR"), scratch_folder():
        pytest.fail("there is no such folder")


def test_a_log_that_cannot_be_written_blocks(tmp_path: Path) -> None:
    (tmp_path / LOG).mkdir()
    with pytest.raises(BlockedError, match=r"cannot write .*log\.txt"), open_log(tmp_path):
        pytest.fail("a folder is no log")
