"""What guards a run at work: a lock on its folder, and signals that wait for the end of an iteration."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Self

from dynroute_core.system.runtime import BlockedError

LOCK = ".lock"
_held: set[int] = set()  # the open lock files of this process


@contextmanager
def locked(folder: Path, *, name: str = LOCK, wait: bool = False) -> Iterator[None]:
    """Holds a lock on a folder, which the system frees however the process ends.

    wait: for another process that holds it, where otherwise BlockedError says so; without limit. Raises BlockedError
    also where the folder cannot be written or its file system has no locks.
    """
    try:
        handle = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise BlockedError(f"cannot write to {folder}: {error.strerror}. Choose another folder.") from error
    _held.add(handle)
    try:
        _lock(handle, folder, wait)
        yield
    finally:
        if handle in _held:  # else this is a forked child, whose copy is closed
            _held.remove(handle)
            os.close(handle)


def _lock(handle: int, folder: Path, wait: bool) -> None:
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if not wait:
                raise BlockedError(
                    f"another process is at work on {folder}. Wait for it to end, then run this again."
                ) from error
            print(f"waiting for another process at work on {folder}", file=sys.stderr)
            fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:
        raise BlockedError(
            f"cannot lock {folder}: {error.strerror}. Choose a folder on a file system that has locks."
        ) from error


def _let_go() -> None:
    """In a forked child, such as a data worker: it may outlive a killed parent by seconds, and must not keep the lock
    that long."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)


class Signals:
    """SIGINT (Ctrl-C) and SIGTERM (a cluster's time limit) end a run with KeyboardInterrupt.

    While held, the first one waits for the end of the iteration, so that the checkpoint it leads to lies between two
    iterations; a second one raises at once. Outside the main thread, signals stay as they are.
    """

    def __init__(self) -> None:
        self.pending = False
        self._held = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._held and not self.pending:
            self.pending = True
            return
        raise KeyboardInterrupt

    def hold(self) -> None:
        self._held = True

    def release(self) -> None:
        self._held = False

    def raise_pending(self) -> None:
        if self.pending:
            raise KeyboardInterrupt
