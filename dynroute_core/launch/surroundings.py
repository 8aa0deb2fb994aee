"""What a run's child stands in: log, folder for passing things, environment, and the signals kept off it."""

from __future__ import annotations

import fcntl
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from dynroute_core.runtime import BlockedError

LOG = "log.txt"
LOG_BYTES = 2**20
LOCK_TRIES, LOCK_AGAIN_S = 5, 0.05
SHORT_PATH = 60  # sockets have paths of at most 107 bytes; the rest is ours and jupyter_client's


def environment(root: Path, scratch: Path) -> dict[str, str]:
    """The child's environment: this tree first, nothing of the user's Jupyter or IPython set-up."""
    kept = {name: value for name, value in os.environ.items() if name not in ("JUPYTER_PATH", "MPLBACKEND")}
    path = os.pathsep.join(part for part in (str(root), os.environ.get("PYTHONPATH", "")) if part)
    return kept | {
        "PYTHONPATH": path,
        "IPYTHONDIR": str(scratch / "ipython"),
        "JUPYTER_CONFIG_DIR": str(scratch / "jupyter"),
    }


@contextmanager
def open_log(folder: Path) -> Iterator[BinaryIO]:
    """The folder's log, emptied, and locked as long as anybody writes to it: child and kernel inherit the lock."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        log = (folder / LOG).open("a+b")
    except OSError as error:
        raise BlockedError(f"cannot write to {folder}: {error.strerror}. Choose another --out folder.") from error
    with log:
        if not _locked(log):
            raise BlockedError(
                f"another process is running this row in {folder}. Wait for it, or give another --out folder."
            )
        log.truncate(0)
        yield log


def _locked(log: BinaryIO) -> bool:
    """Locks the log; several tries, since `is_at_work` of another process holds it for a moment."""
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(LOCK_AGAIN_S)
    return False


def is_at_work(folder: Path) -> bool:
    """Whether a process, on this machine or another that shares the folder, holds the lock of a run there."""
    for name in (LOG, ".lock"):  # a notebook's, or of a run without one
        with suppress(FileNotFoundError), (folder / name).open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


def shorten(log: BinaryIO) -> None:
    """Keeps the end of a long log."""
    size = log.seek(0, os.SEEK_END)
    if size > LOG_BYTES:
        log.seek(size - LOG_BYTES)
        kept = log.read()
        log.truncate(0)
        log.write(f"[{size - LOG_BYTES} bytes before this were dropped]\n".encode() + kept)
        log.flush()


@contextmanager
def scratch_folder() -> Iterator[Path]:
    short = len(os.fsencode(tempfile.gettempdir())) <= SHORT_PATH
    with tempfile.TemporaryDirectory(prefix="dynroute-", dir=None if short else "/tmp") as name:
        yield Path(name)


@contextmanager
def collected_signals() -> Iterator[list[int]]:
    """Collects the signals that ask to stop, instead of dying of them; one that is ignored (nohup) stays ignored."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    asking = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    old = {number: signal.signal(number, note) for number in asking if signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield received
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
