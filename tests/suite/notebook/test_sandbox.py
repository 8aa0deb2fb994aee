"""What runs leave in the file system while they are at work, and what killed commands leave behind."""

from __future__ import annotations

import fcntl
import tempfile
from pathlib import Path

import pytest

from dynroute_core.system.errors import (
    BlockedError,
)
from dynroute_suite.notebook.sandbox import LOG, is_at_work, open_log, scratch_folder


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
