"""The surroundings of a run's child: its log, its temporary folder, its environment, and signals kept from it."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import BinaryIO, TextIO

from dynroute_core.system.errors import BlockedError
from dynroute_core.system.locks import LOCK, locked
from dynroute_core.system.machine import say_once

LOG = "log.txt"
LAST_WORDS_S = 30.0  # for the checkpoint of a kernel whose command was killed
LOOK_EVERY_S = 0.1
GLANCE_S = 0.25  # for so long another process may look whether anybody is at work
PREFIX, IN_USE = "dynroute-", "in-use"
LOG_BYTES = 2**20
SHORT_PATH = 60  # sockets have paths of at most 107 bytes; the rest is ours and jupyter_client's


def environment(root: Path, scratch: Path) -> dict[str, str]:
    """The child's environment: this tree first, nothing of the user's Jupyter or IPython set-up."""
    kept = {name: value for name, value in os.environ.items() if name not in ("JUPYTER_PATH", "MPLBACKEND")}
    path = os.pathsep.join(part for part in (str(root), os.environ.get("PYTHONPATH", "")) if part)
    return kept | {
        "PYTHONPATH": path,
        "PYTHONIOENCODING": "utf-8",  # the log's, whatever the terminal takes
        "IPYTHONDIR": str(scratch / "ipython"),
        "JUPYTER_CONFIG_DIR": str(scratch / "jupyter"),
        "JUPYTER_DATA_DIR": str(scratch / "data"),  # by default these lie in a home, which not every user has
        "JUPYTER_RUNTIME_DIR": str(scratch / "runtime"),
    }


@contextmanager
def open_log(folder: Path) -> Iterator[BinaryIO]:
    """The folder's log, emptied, and locked as long as anybody writes to it: child and kernel inherit the lock.

    A command that is alive holds a lock of its own, and another says so at once. Where only the log's is held, the
    command was killed, and what it left running writes its last checkpoint: that is waited for.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BlockedError(f"cannot write to {folder}: {error.strerror}. Choose another --out folder.") from error
    with locked(folder, name=".command.lock"), _appended(folder / LOG) as log:
        _lock_log(log, folder)
        log.truncate(0)
        yield log


def _appended(path: Path) -> BinaryIO:
    try:
        return path.open("a+b")
    except OSError as error:
        raise BlockedError(f"cannot write {path}: {error.strerror}. Choose another --out folder.") from error


def _lock_log(log: BinaryIO, folder: Path) -> None:
    begin, told = time.monotonic(), False
    while True:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            waited = time.monotonic() - begin
            if waited > LAST_WORDS_S + 10.0:
                raise BlockedError(
                    f"another process is still writing to {folder / LOG}. End it, or give another --out folder."
                ) from error
            if waited > GLANCE_S and not told:
                print(f"waiting for what a killed command left at work on {folder}", file=sys.stderr, flush=True)
                told = True
            time.sleep(LOOK_EVERY_S)


def is_at_work(folder: Path) -> bool:
    """Whether a process, on this machine or another that shares the folder, holds the lock of a run there.

    Where locks cannot be looked at, says so and takes nobody to be: a run cannot start without one either.
    """
    for name in (LOG, LOCK):  # a notebook's, or of a run without one
        try:
            with (folder / name).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            continue
        except BlockingIOError:
            return True
        except OSError as error:
            say_once(f"cannot look at the locks of runs ({error.strerror}): one at work does not show here.")
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
    """A temporary folder. Those that killed commands left are removed first. Raises BlockedError where none can be
    made."""
    try:
        short = len(os.fsencode(tempfile.gettempdir())) <= SHORT_PATH
        place = tempfile.gettempdir() if short else "/tmp"
        for left in Path(place).glob(f"{PREFIX}*"):
            with suppress(OSError):
                _remove_unused(left)
        made = tempfile.TemporaryDirectory(prefix=PREFIX, dir=place)
    except OSError as error:
        raise BlockedError(
            f"cannot make a temporary folder: {error.strerror}. Set TMPDIR to a folder that can be written."
        ) from error
    with made as name:
        mark = Path(name, f".{IN_USE}")
        with mark.open("w") as file:
            _share_lock(file)
            mark.rename(mark.with_name(IN_USE))  # only now can another command find it, locked
            yield Path(name)


@contextmanager
def keep_scratch(folder: Path) -> Iterator[None]:
    """Keeps a scratch folder from being removed by other commands, should the one that made it be killed."""
    with (folder / IN_USE).open() as file:
        _share_lock(file)
        yield


def _share_lock(file: TextIO) -> None:
    """Locks the mark of a scratch folder. Where there are no locks, no other command can remove the folder either."""
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_SH)


def _remove_unused(folder: Path) -> None:
    """Raises OSError where somebody uses it, or it is not ours."""
    if folder.lstat().st_uid != os.getuid():
        return
    with (folder / IN_USE).open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)


@contextmanager
def collect_signals() -> Iterator[list[int]]:
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
