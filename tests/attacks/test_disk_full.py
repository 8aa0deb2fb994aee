"""A disk without room: what was there stays, the error says what to do, and with room again the same command finishes.

The error is injected where a file's bytes, or its name, go to the disk; and where a tiny file system can be mounted, it
is a real one.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dynroute_core.checkpoint import load_snapshot
from dynroute_core.data.streets.generate import generate_streets
from dynroute_core.experiments import experiment, with_settings
from dynroute_core.runs import attempt
from dynroute_core.runs.pipeline import run
from dynroute_core.runs.record import CHECKPOINT, CURVE, RECORD, ROUTES
from dynroute_core.system import files
from dynroute_core.system.errors import EXIT_BLOCKED, BlockedError
from dynroute_core.system.files import remove_stale
from support.sample_tiny_runs import TINY, assert_same_run

ROW = with_settings(experiment("dynamic-a", profile="smoke"), TINY)
NO_ROOM = "No space left on device.*run the same command again"


@pytest.fixture(scope="module")
def finished(smoke_streets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run's folder."""
    return run(ROW, data_root=smoke_streets, out=tmp_path_factory.mktemp("whole"), device="cpu").folder


def without_room(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    """The disk is full when the file `name` is synced for the number-th time."""
    sync, seen = os.fsync, []

    def full(handle: int) -> None:
        if f"/.{name}." in os.readlink(f"/proc/self/fd/{handle}"):
            seen.append(handle)
            if len(seen) == number:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    monkeypatch.setattr(files.os, "fsync", full)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "events" not in path.parts}


# In this order every attempt comes further than the one before.
@pytest.mark.slow
def test_a_full_disk_at_any_file_keeps_what_was_there(
    finished: Path,
    smoke_streets: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    places = [
        ("plan.json", 1),
        (CURVE, 2),
        (CHECKPOINT, 1),
        (CHECKPOINT, 2),
        (ROUTES, 1),
        ("truth.png", 2),
        (RECORD, 1),
    ]
    iteration = 0
    for name, number in places:
        with monkeypatch.context() as patched:
            without_room(patched, name, number)
            with pytest.raises(BlockedError, match=f"{name}: {NO_ROOM}") as raised:
                run(ROW, data_root=smoke_streets, out=tmp_path, device="cpu")
        assert raised.value.exit_code == EXIT_BLOCKED
        (folder,) = (tmp_path / "dynamic-a").iterdir()
        assert remove_stale(folder) == 0
        assert not (folder / RECORD).exists()
        if (folder / CHECKPOINT).exists():
            reached = load_snapshot(folder / CHECKPOINT).facts["iteration"]
            assert isinstance(reached, int) and reached >= iteration, "a checkpoint was lost"
            iteration = reached
    assert iteration == ROW.train.iterations
    run(ROW, data_root=smoke_streets, out=tmp_path, device="cpu")
    assert_same_run(folder, finished)


def test_a_full_disk_keeps_the_bytes_of_the_previous_checkpoint(
    smoke_streets: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one of iteration 3 is replaced at iteration 6: with the disk full it is still there, byte by byte."""
    kept: list[bytes] = []
    save = attempt.save_snapshot

    def keep(path: Path, snapshot: object) -> None:
        if path.exists():
            kept.append(path.read_bytes())
        save(path, snapshot)  # type: ignore[arg-type]

    monkeypatch.setattr(attempt, "save_snapshot", keep)
    without_room(monkeypatch, CHECKPOINT, 2)
    with pytest.raises(BlockedError, match=NO_ROOM):
        run(ROW, data_root=smoke_streets, out=tmp_path, device="cpu")
    (folder,) = (tmp_path / "dynamic-a").iterdir()
    assert [(folder / CHECKPOINT).read_bytes()] == kept
    assert load_snapshot(folder / CHECKPOINT).facts["iteration"] == 3


def test_a_full_disk_leaves_streets_that_can_be_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(name: str) -> dict[str, bytes]:
        root = generate_streets(tmp_path / name, train=1, val=1, height=32, width=64, seed=3, workers=1, progress=False)
        return {str(path.relative_to(root)): content for path, content in contents(root).items()}

    with monkeypatch.context() as patched:
        without_room(patched, "ivenstadt_000000_000019_leftImg8bit.png", 1)
        with pytest.raises(BlockedError, match="No space left"):
            make("set")
    assert remove_stale(tmp_path) == 0
    assert make("set") == make("fresh")


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts a file system of so many bytes."""
    mounted = tmp_path / "disk"

    def mount(size: int) -> Path:
        mounted.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(mounted)]
        try:
            done = subprocess.run(words, capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip("there is no mount command here")
        if done.returncode:
            pytest.skip(f"this user may not mount a file system: {done.stderr.strip()}")
        return mounted

    yield mount
    if os.path.ismount(mounted):
        subprocess.run(["umount", str(mounted)], check=True)


def test_a_really_full_disk(
    finished: Path,
    smoke_streets: Path,
    tiny_disk: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Something else fills it after the first checkpoint; then there is room again."""
    out = tiny_disk(16 * 2**20)
    ballast = out / "ballast"
    save = attempt.save_snapshot

    def then_fill(path: Path, snapshot: object) -> None:
        save(path, snapshot)  # type: ignore[arg-type]
        with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
            while True:
                file.write(bytes(4096))

    with monkeypatch.context() as patched:
        patched.setattr(attempt, "save_snapshot", then_fill)
        with pytest.raises(BlockedError, match=f"cannot write (to )?{out}.*No space left"):
            run(ROW, data_root=smoke_streets, out=out, device="cpu")
    (folder,) = (out / "dynamic-a").iterdir()
    assert load_snapshot(folder / CHECKPOINT).facts["iteration"] == 3
    ballast.unlink()
    resumed = run(ROW, data_root=smoke_streets, out=out, device="cpu")
    assert resumed.record.training.resumed_at == (3,)
    assert_same_run(folder, finished)
