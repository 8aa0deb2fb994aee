"""Where a run's data are: given, or generated here or where a folder for them is given."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from dynroute_core.data.streets import generate
from dynroute_core.experiments import experiment
from dynroute_core.runs.plan import find_data, open_data
from dynroute_core.system import locks
from dynroute_core.system.errors import EXIT_BLOCKED, BlockedError

SMOKE = experiment("dynamic-a", profile="smoke")


def refuse(*_: object, **__: object) -> None:
    raise OSError(errno.EROFS, "Read-only file system")


def test_a_checkout_that_cannot_be_written_names_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    says = r"cannot make generated streets in data/.*: .*Read-only file system.*empty folder.*--data streets=FOLDER"
    with monkeypatch.context() as broken:
        broken.setattr(Path, "mkdir", refuse)
        with pytest.raises(BlockedError, match=says) as raised:
            find_data(SMOKE.data, None)
    assert raised.value.exit_code == EXIT_BLOCKED
    with monkeypatch.context() as broken:  # the folder can be made, but nothing in it
        broken.setattr(locks.fcntl, "flock", refuse)
        with pytest.raises(BlockedError, match=says):
            find_data(SMOKE.data, None)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert find_data(SMOKE.data, elsewhere) == elsewhere
    assert len(open_data(SMOKE, elsewhere).train) == SMOKE.data.train_images


def test_a_given_folder_that_was_being_filled_is_filled_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
        broken.setattr(generate, "_make", interrupted)
        find_data(SMOKE.data, tmp_path)
    assert (tmp_path / generate.UNFINISHED).exists()
    find_data(SMOKE.data, tmp_path)
    assert not (tmp_path / generate.UNFINISHED).exists() and (tmp_path / generate.MANIFEST).exists()


def test_a_given_folder_with_anything_in_it_or_none_at_all_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    assert find_data(SMOKE.data, tmp_path) == tmp_path
    assert find_data(SMOKE.data, tmp_path / "mistyped") == tmp_path / "mistyped"
    camvid = replace(SMOKE.data, name="camvid")
    (tmp_path / "empty").mkdir()
    find_data(camvid, tmp_path / "empty")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["empty", "mine.txt"]
